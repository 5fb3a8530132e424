"""`greedy-order`: the order in which layers go when the least needed one is removed again and again."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import attrs

from lwa_core import setting
from lwa_plugins.scorers._values import UTILITIES, UTILITY_HELP, finite, mean_utilities, without

if TYPE_CHECKING:
    import torch

    from lwa_core import Probe


@attrs.frozen
class GreedyOrder:
    """Round in which a layer goes, where each round removes the one whose loss costs the least mean utility (SLEB).

    The first to go has score 1, the one that is left has score L; of equals the later goes first. One row: how far
    other examples would change the order is not known from it. The top k are what the selector `greedy` keeps. It tells
    the utility after every round.
    """

    unit: ClassVar[str] = "round of removal"

    utility: str = setting("", help=UTILITY_HELP, choices=UTILITIES)

    def score(self, probe: Probe) -> torch.Tensor:
        import torch

        kept = tuple(range(probe.depth))
        table = torch.zeros(1, probe.depth)
        with probe.holding():
            utilities = mean_utilities(probe, [kept], self.utility)
            for number in range(1, probe.depth):
                candidates = kept[::-1]
                means = mean_utilities(probe, [without(layer, kept) for layer in candidates], self.utility)
                best = means.index(max(means))
                table[0, candidates[best]] = number
                utilities.append(means[best])
                kept = without(candidates[best], kept)
        table[0, kept[0]] = probe.depth
        probe.tell("utilities", [finite(utility) for utility in utilities])
        return table
