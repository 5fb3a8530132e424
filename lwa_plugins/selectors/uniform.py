"""`uniform`: keep layers at even distances."""

from __future__ import annotations

import attrs

from lwa_core import DepthPlan, Selection, setting


@attrs.frozen
class Uniform:
    """Layers at even distances, the first and the last among them (one layer: the first). Looks at no scores."""

    keep: int | tuple[int, ...] = setting(help="how many layers stay; a list makes one student each", minimum=1)

    def select(self, selection: Selection) -> DepthPlan:
        return DepthPlan(selection.depth, [spread(selection.depth, count) for count in selection.counts(self.keep)])


def spread(depth: int, count: int) -> list[int]:
    """`count` of the numbers 0..depth-1 at even distances, with both ends."""
    if count == 1:
        return [0]
    return [round(i * (depth - 1) / (count - 1)) for i in range(count)]
