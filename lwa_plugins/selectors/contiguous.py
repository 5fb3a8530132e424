"""`contiguous`: remove the block of layers whose ends differ least in angle."""

from __future__ import annotations

import attrs

from lwa_core import DepthPlan, Selection
from lwa_plugins.scorers._angular import angular_distances
from lwa_plugins.selectors._sets import Kept, SetSelector, depth_plan


@attrs.frozen
class Contiguous(SetSelector):
    """Removes the n consecutive layers with the smallest mean angular distance between the states around them.

    d(l, n) = E (1/π) arccos cos(h_l, h_{l+n}) at the last position, over raw states; of equals the later block goes.
    With a budget, the block with the smallest distance whose removal makes the model fit. One pass; the front is
    measured besides. Whatever the scores, only blocks go: compare its regret with those of free sets.
    """

    def select(self, selection: Selection) -> DepthPlan:
        from lwa_core.modeling import observe, passes

        asked, probe = self.asked(selection), selection.probe
        needs = frozenset({"states"})
        rows = [angular_distances(seen).sum(dim=0).cpu() for seen in observe(probe, needs)]
        probe.count_passes(passes(needs))
        distances = (sum(rows[1:], rows[0]) / probe.examples).tolist()  # [n − 1][l]
        looked: dict[Kept, float] = {}
        for size in asked.sizes:
            length = asked.depth - size
            for start in range(size, -1, -1) if length else (0,):
                kept = (*range(start), *range(start + length, asked.depth))
                looked[kept] = -distances[length - 1][start] if length else 0.0
        return depth_plan(selection, asked, looked, "minus the angular distance", {})
