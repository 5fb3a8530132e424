"""`exact`: the best of all subsets of the layers, every one of them measured."""

from __future__ import annotations

import attrs

from lwa_core import DepthPlan, Selection
from lwa_plugins.scorers._values import mean_utilities
from lwa_plugins.selectors._sets import SetSelector, depth_plan


@attrs.frozen
class Exact(SetSelector):
    """The subset with the highest mean utility of its size, or of all that fit, out of all 2^L (at most 16 layers).

    Of equals that of fewer layers, then that of later ones. The best on the calibration examples need not be the best:
    the more subsets, the more their winner owes to these examples. `metrics.json` then holds how much that is, under
    `optimality`. All subsets take (2^L − 1)/L passes over the calibration examples: 341 for 12 layers, 4,096 for 16.
    """

    def select(self, selection: Selection) -> DepthPlan:
        asked, probe = self.asked(selection), selection.probe
        subsets = probe.subsets()
        values = mean_utilities(probe, subsets)
        order = sorted(range(1, len(subsets)), key=lambda row: (len(subsets[row]), -row))
        looked = {subsets[row]: values[row] for row in order}
        return depth_plan(selection, asked, looked, "mean utility", {})
