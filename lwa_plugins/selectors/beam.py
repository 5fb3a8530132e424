"""`beam`: remove layer after layer from several sets at once, measuring again after every removal."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import attrs

from lwa_core import DepthPlan, Selection, setting
from lwa_plugins.scorers._values import mean_utilities
from lwa_plugins.selectors._sets import Asked, Kept, SetSelector, depth_plan

if TYPE_CHECKING:
    from lwa_core import Probe


@attrs.frozen
class Beam(SetSelector):
    """At every size the `width` sets with the highest mean utility go on, and each loses every one of its layers.

    Width 1 is `greedy`; a width of all subsets of a size is `exact`. With a budget it goes down to one layer, and the
    best of all sets that it measured and that fit is taken.
    """

    width: int = setting(4, help="how many sets of each size are followed", minimum=1)

    def select(self, selection: Selection) -> DepthPlan:
        asked = self.asked(selection)
        looked = descend(selection.probe, asked, self.width)
        return depth_plan(selection, asked, looked, "mean utility", {})


def descend(probe: Probe, asked: Asked, width: int) -> dict[Kept, float]:
    """The mean utility of every set that is measured on the way down; of equals the later layer goes."""
    beam = [tuple(range(asked.depth))]
    with probe.holding():
        looked = dict(zip(beam, mean_utilities(probe, beam), strict=True))
        while len(beam[0]) > asked.sizes[-1]:
            smaller = {child for kept in beam for child in _without_one(kept) if asked.leads_on(child)}
            options = sorted(smaller)  # those without later layers first
            looked.update(zip(options, mean_utilities(probe, options), strict=True))
            beam = sorted(options, key=lambda kept: -looked[kept])[:width]
    return looked


def _without_one(kept: Kept) -> Iterator[Kept]:
    return (kept[:place] + kept[place + 1 :] for place in range(len(kept)))
