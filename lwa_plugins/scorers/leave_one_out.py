"""`leave-one-out`: what is lost when one layer is skipped and all others stay."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from lwa_core import setting
from lwa_plugins.scorers._values import UNITS, UTILITIES, UTILITY_HELP, assert_fewer, utilities, without

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray

    from lwa_core import Probe

START = 64
"""Examples at the first look, where it is looked whether the kept layers are settled."""


@attrs.frozen
class LeaveOneOut:
    """v(all) − v(all without layer l), paired example by example; v is the utility.

    With the utility `loss` it is the rise of the cross-entropy. Negative where the model is better off without the
    layer. It is the first of the marginal gains that `shapley` averages, and says nothing of layers that can stand in
    for each other: each of two equal layers can be spared, and not both.

    With `until = "stable"` it takes growing parts of a random order of the examples, and stops as soon as the `keep`
    layers that score highest are, at 95 % over all looks together, those that would do so with examples without end.
    It tells how many examples that took.
    """

    utility: str = setting("", help=UTILITY_HELP, choices=UTILITIES)
    until: str = setting(
        "all",
        help="all: every calibration example; stable: as many as it takes to be sure which layers are the highest",
        choices=("all", "stable"),
    )
    keep: int = setting(0, help="how many layers are to be told from the others; for until = 'stable'", minimum=0)

    def __attrs_post_init__(self) -> None:
        if (self.until == "stable") != (self.keep > 0):
            raise ValueError("until = 'stable' and keep = 1 or more go together")

    @property
    def unit(self) -> str:
        """Of the scores."""
        return UNITS[self.utility]

    def score(self, probe: Probe) -> torch.Tensor:
        import torch

        return torch.from_numpy(self._rows(probe) if self.until == "all" else self._until_stable(probe))

    def _rows(self, probe: Probe) -> NDArray[np.float64]:
        layers = range(probe.depth)
        values = utilities(probe, [tuple(layers), *(without(layer, layers) for layer in layers)], self.utility)
        table: NDArray[np.float64] = (values[0] - values[1:]).T  # (examples, layers)
        return table

    def _until_stable(self, probe: Probe) -> NDArray[np.float64]:
        import numpy as np

        from lwa_core.statistics import until_settled

        assert_fewer(self.keep, probe.depth)
        order = probe.generator.permutation(probe.examples)
        parts: list[NDArray[np.float64]] = []

        def draw(count: int) -> NDArray[np.float64]:
            part = probe.part(order[sum(map(len, parts)) : count].tolist())
            parts.append(self._rows(part))
            probe.count_passes(part.cost * part.examples / probe.examples)
            return np.concatenate(parts)

        table, settled = until_settled(draw, self.keep, START, probe.examples)
        probe.tell("examples", len(table))
        probe.tell("settled", settled)
        return table
