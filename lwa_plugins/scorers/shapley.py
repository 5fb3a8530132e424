"""`shapley`: each layer's fair share of what all layers together add to the utility."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

import attrs

from lwa_core.settings import setting

if TYPE_CHECKING:
    import torch

    from lwa_core.modeling.probe import Probe


@attrs.frozen
class Shapley:
    """Shapley values from random orders of the layers, each taken forwards and backwards (antithetic pairs).

    The value of a set of layers is the mean utility with all others skipped. One sample is one pair of orders: the
    average of a layer's gain when it joins in the order and in its reverse. The halves of a pair depend on each other,
    the pairs do not, so that the standard error over pairs is right (Mitchell et al. 2022, section 4.2). In every
    sample the values add up to v(all) − v(none).
    """

    unit: ClassVar[str] = "utility"

    pairs: int = setting(64, help="pairs of an order and its reverse", minimum=2)

    def score(self, probe: Probe) -> torch.Tensor:
        import numpy as np
        import torch

        orders = [probe.generator.permutation(probe.depth).tolist() for _ in range(self.pairs)]
        walks = [walk for order in orders for walk in (order, order[::-1])]
        keeps = sorted({kept for walk in walks for kept in _prefixes(walk)})
        values = dict(zip(keeps, probe.evaluate(keeps).mean(axis=1), strict=True))
        table = np.zeros((self.pairs, probe.depth))
        for number, walk in enumerate(walks):
            prefixes = _prefixes(walk)
            for layer, before, after in zip(walk, prefixes[:-1], prefixes[1:], strict=True):
                table[number // 2, layer] += (values[after] - values[before]) / 2
        return torch.from_numpy(table)


def _prefixes(order: Sequence[int]) -> list[tuple[int, ...]]:
    """The sets that arise as the layers join one by one, from none to all."""
    return [tuple(sorted(order[:n])) for n in range(len(order) + 1)]
