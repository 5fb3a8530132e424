"""`greedy`: remove one layer after another, measuring again after every removal."""

from __future__ import annotations

from itertools import pairwise

import attrs

from lwa_core import DepthPlan, Selection
from lwa_plugins.scorers._values import finite
from lwa_plugins.selectors._sets import SetSelector, best_by_size, depth_plan
from lwa_plugins.selectors.beam import descend


@attrs.frozen
class Greedy(SetSelector):
    """From all layers, remove again and again the one whose loss costs the least mean utility (SLEB).

    Unlike a ranking, it sees that two layers can be spared one at a time and not together. Of equals the later goes.
    With a budget it goes down to one layer, and the best of all sets that it measured and that fit is taken.
    """

    def select(self, selection: Selection) -> DepthPlan:
        asked = self.asked(selection)
        looked = descend(selection.probe, asked, width=1)
        removals = [
            {"removed": (set(before) - set(after)).pop(), "utility": finite(looked[after])}
            for before, after in pairwise(best_by_size(looked).values())
        ]
        return depth_plan(selection, asked, looked, "mean utility", {"removals": removals})
