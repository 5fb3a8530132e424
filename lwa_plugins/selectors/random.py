"""`random`: keep layers drawn at random, the baseline that every selector must beat."""

from __future__ import annotations

import attrs

from lwa_core import DepthPlan, Selection, setting


@attrs.frozen
class Random:
    """A random subset of the layers, from the recipe's seed."""

    keep: int | tuple[int, ...] = setting(help="how many layers stay; a list makes one student each", minimum=1)

    def select(self, selection: Selection) -> DepthPlan:
        import numpy as np

        order = np.random.default_rng(selection.seed).permutation(selection.depth).tolist()
        return DepthPlan(selection.depth, [sorted(order[:count]) for count in selection.counts(self.keep)])
