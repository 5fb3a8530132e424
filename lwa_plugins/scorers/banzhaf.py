"""`banzhaf`: what a layer adds to a random set of the others."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from lwa_core import setting
from lwa_plugins.scorers._values import (
    UNITS,
    UTILITIES,
    UTILITY_HELP,
    by_example,
    tell_sampling_of_examples,
    utilities,
)

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray

    from lwa_core import Probe


@attrs.frozen
class Banzhaf:
    """Banzhaf value: E_S v(S ∪ l) − v(S), where each other layer is in S with probability ½; v(S) is the utility of S.

    Its ranking withstands noise in the utility better than that of any other such value (Wang & Jia 2023, Data
    Banzhaf). The values do not add up to v(all) − v(none), and sets of half the layers weigh most.

    `method = "exact"` asks for all 2^L sets. A row is an example with the values of its own utility, as in `shapley`;
    the interaction of every two layers is told besides.

    `method = "samples"` draws sets, and takes the mean utility of those with the layer less that of those without it
    (maximum sample reuse, Wang & Jia 2023, equation 5). A row is one set: the estimate, plus what this set moved it by
    (its influence), so that mean and standard error of the rows are those of the difference of two means. All rows are
    of the same examples; the standard error over examples is told besides.
    """

    method: str = setting(
        "samples",
        help="samples: an estimate from random layer subsets; exact: from all of them, for at most 16 layers",
        choices=("samples", "exact"),
    )
    subsets: int = setting(256, help="random layer subsets; for samples", minimum=32)
    utility: str = setting("", help=UTILITY_HELP, choices=UTILITIES)

    @property
    def unit(self) -> str:
        """Of the scores."""
        return UNITS[self.utility]

    def score(self, probe: Probe) -> torch.Tensor:
        import torch

        return torch.from_numpy(self._exact(probe) if self.method == "exact" else self._samples(probe))

    def _exact(self, probe: Probe) -> NDArray[np.float64]:
        from lwa_core.statistics import interactions, marginal_weights

        depth = probe.depth
        values = utilities(probe, probe.subsets(), self.utility)  # (subsets, examples)
        pairs = interactions(values.mean(axis=1), depth, lambda _: 0.5 ** (depth - 2))
        probe.tell("interactions", pairs.tolist())
        return by_example(marginal_weights(depth, lambda _: 0.5 ** (depth - 1)), values)

    def _samples(self, probe: Probe) -> NDArray[np.float64]:
        import numpy as np

        holds = probe.generator.random((self.subsets, probe.depth)) < 0.5  # (subsets, layers)
        while not (holds.any(axis=0) & ~holds.all(axis=0)).all():
            holds = probe.generator.random((self.subsets, probe.depth)) < 0.5
        values = utilities(probe, [tuple(np.flatnonzero(row).tolist()) for row in holds], self.utility)
        # Weight of each subset in the estimate of each layer: one over how many have it, or minus one over the others.
        share = np.where(holds, 1 / holds.sum(axis=0), -1 / (~holds).sum(axis=0))  # (subsets, layers)
        means = values.mean(axis=1)
        scores = means @ share
        within = np.where(holds, means @ np.where(holds, share, 0), -(means @ np.where(holds, 0, share)))
        tell_sampling_of_examples(probe, by_example(share.T, values))
        table: NDArray[np.float64] = scores + len(holds) * share * (means[:, None] - within)
        return table
