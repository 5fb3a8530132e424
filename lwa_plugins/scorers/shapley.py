"""`shapley`: each layer's fair share of what all layers together add to the utility."""

from __future__ import annotations

from functools import partial
from math import comb
from typing import TYPE_CHECKING

import attrs

from lwa_core import setting
from lwa_plugins.scorers._values import (
    UNITS,
    UTILITIES,
    UTILITY_HELP,
    assert_fewer,
    by_example,
    tell_sampling_of_examples,
    tell_sum,
    utilities,
)

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray

    from lwa_core import Probe

START = 64
"""Pairs at the first look, where it is looked whether the kept layers are settled."""


@attrs.frozen
class Shapley:
    """Shapley value: a layer's gain Σ_S |S|! (L − |S| − 1)! / L! (v(S ∪ l) − v(S)); v(S) is the utility of S alone.

    The layers that are not in a set are skipped: the state passes by them. The values add up to v(all) − v(none).

    `method = "exact"` asks for all 2^L sets of layers. A row is an example, with the Shapley values of its own utility;
    the value is linear in the utility, so the mean of the rows is the Shapley value of the mean utility, and the
    standard error is that of other examples. It also tells the interaction of every two layers (Grabisch & Roubens
    1999): negative where each makes the other less needed, which a ranking cannot say.

    `method = "permutations"` takes random orders of the layers, each forwards and backwards (antithetic pairs). A row
    is one pair: the average of a layer's gain when it joins in the order and in its reverse. The halves of a pair
    depend on each other, the pairs do not, so that the standard error over pairs is right (Mitchell et al. 2022,
    section 4.2); in every row the values add up. All rows are of the same examples, so it holds nothing of what other
    examples would say, which is told besides, as the standard error over examples of the same mean. With
    `until = "stable"` it stops as soon as the `keep` layers that score highest are settled, at 95 % over all looks
    together and for these examples.
    """

    method: str = setting(
        "permutations",
        help="permutations: an estimate from random orders; exact: from all layer subsets, for at most 16 layers",
        choices=("permutations", "exact"),
    )
    pairs: int = setting(64, help="pairs of an order and its reverse; for permutations", minimum=2)
    utility: str = setting("", help=UTILITY_HELP, choices=UTILITIES)
    until: str = setting(
        "all",
        help="all: every pair; stable: as many as it takes to be sure which layers are the highest",
        choices=("all", "stable"),
    )
    keep: int = setting(0, help="how many layers are to be told from the others; for until = 'stable'", minimum=0)

    def __attrs_post_init__(self) -> None:
        if (self.until == "stable") != (self.keep > 0):
            raise ValueError("until = 'stable' and keep = 1 or more go together")
        if self.until == "stable" and self.method == "exact":
            raise ValueError("until = 'stable' is for permutations: exact values have no orders to draw")

    @property
    def unit(self) -> str:
        """Of the scores."""
        return UNITS[self.utility]

    def score(self, probe: Probe) -> torch.Tensor:
        import torch

        return torch.from_numpy(self._exact(probe) if self.method == "exact" else self._permutations(probe))

    def _exact(self, probe: Probe) -> NDArray[np.float64]:
        from lwa_core.statistics import interactions, shapley_weights

        depth = probe.depth
        values = utilities(probe, probe.subsets(), self.utility)  # (subsets, examples)
        table = by_example(shapley_weights(depth), values)
        # Of two layers: Σ_S |S|! (L − |S| − 2)! / (L − 1)! times their interaction beside S.
        pairs = interactions(values.mean(axis=1), depth, lambda size: 1 / ((depth - 1) * comb(depth - 2, size)))
        probe.tell("interactions", pairs.tolist())
        tell_sum(probe, table.mean(axis=0), values[-1].mean(), values[0].mean())
        return table

    def _permutations(self, probe: Probe) -> NDArray[np.float64]:
        from lwa_core.statistics import until_settled

        orders = [probe.generator.permutation(probe.depth).tolist() for _ in range(self.pairs)]
        walks = [walk for order in orders for walk in (order, order[::-1])]
        if self.until == "all":
            return self._pairs(probe, walks)
        assert_fewer(self.keep, probe.depth)
        with probe.holding():
            table, settled = until_settled(partial(self._first, probe, walks), self.keep, START, self.pairs)
        probe.tell("pairs", len(table))
        probe.tell("settled", settled)
        return table

    def _first(self, probe: Probe, walks: list[list[int]], count: int) -> NDArray[np.float64]:
        """Rows of the first pairs (count, layers)."""
        return self._pairs(probe, walks[: 2 * count])

    def _pairs(self, probe: Probe, walks: list[list[int]]) -> NDArray[np.float64]:
        """Rows of pairs of orders that follow each other in `walks` (pairs, layers)."""
        import numpy as np

        steps = [[tuple(sorted(walk[:n])) for n in range(len(walk) + 1)] for walk in walks]
        keeps = sorted({kept for step in steps for kept in step})
        place = {kept: row for row, kept in enumerate(keeps)}
        values = utilities(probe, keeps, self.utility)  # (subsets, examples)
        at = np.array([[place[kept] for kept in step] for step in steps])  # (orders, layers + 1)
        joined = np.array(walks)
        gains = np.empty(joined.shape)
        np.put_along_axis(gains, joined, np.diff(values.mean(axis=1)[at], axis=1), axis=1)
        share = np.zeros((probe.depth, len(keeps)))  # how often each subset counts for each layer
        np.add.at(share, (joined, at[:, 1:]), 1 / len(walks))
        np.add.at(share, (joined, at[:, :-1]), -1 / len(walks))
        table: NDArray[np.float64] = gains.reshape(-1, 2, probe.depth).mean(axis=1)
        tell_sampling_of_examples(probe, by_example(share, values))
        tell_sum(probe, table.mean(axis=0), values[place[tuple(range(probe.depth))]].mean(), values[0].mean())
        return table
