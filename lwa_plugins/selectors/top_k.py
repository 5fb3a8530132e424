"""`top-k`: keep the layers with the highest scores."""

from __future__ import annotations

import attrs

from lwa_core import DepthPlan, Selection, setting


@attrs.frozen
class TopK:
    """The k layers that one scorer ranks highest; of equal scores the later layer stays."""

    keep: int | tuple[int, ...] = setting(help="how many layers stay; a list makes one student each", minimum=1)
    by: str = setting("", help="the scorer to follow; the recipe's first where left out", names="score")

    def select(self, selection: Selection) -> DepthPlan:
        scorer = self.by or selection.board.names[0]
        order = selection.board[scorer].order()
        return DepthPlan(
            selection.depth,
            [sorted(order[-count:]) for count in selection.counts(self.keep)],
            {"scorer": scorer, "order": order},
        )
