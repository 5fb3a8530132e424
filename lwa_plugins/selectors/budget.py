"""`budget`: keep as much score as fits into measured megabytes, parameters or milliseconds."""

from __future__ import annotations

from collections.abc import Sequence

import attrs

from lwa_core import DepthPlan, LayerCosts, Selection, setting
from lwa_plugins.selectors._sets import KINDS, budget_setting, limit_of


@attrs.frozen
class Budget:
    """The subset of layers with the highest total score that costs no more than the budget (an exact knapsack).

    Scores can be negative; a layer with a negative score is never kept for its score. Costs are measured on the teacher
    on this machine; give exactly one budget.
    """

    parameters: int | None = budget_setting("parameters")
    megabytes: float | None = budget_setting("megabytes")
    milliseconds: float | None = budget_setting("milliseconds")
    by: str = setting("", help="the scorer to follow; the recipe's first where left out", names="score")

    def __attrs_post_init__(self) -> None:
        if sum(getattr(self, kind) is not None for kind in KINDS) != 1:
            raise ValueError(f"exactly one of {', '.join(KINDS)} is the budget")

    def select(self, selection: Selection) -> DepthPlan:
        scorer = self.by or selection.board.names[0]
        limit = limit_of(self, selection)
        assert limit is not None
        kept = best_subset(selection.board[scorer].mean.tolist(), limit.costs, limit.ceiling)
        return DepthPlan(selection.depth, [kept], {"scorer": scorer, **limit.told(kept)})


def best_subset(scores: Sequence[float], costs: LayerCosts, limit: float) -> list[int]:
    """The affordable non-empty subset with the highest total score; of equal totals the cheaper; [] if none fits.

    Exact: partial subsets are extended layer by layer, and those that cost more for no more score are dropped.
    """
    front: list[tuple[float, float, tuple[int, ...]]] = [(costs.base, 0.0, ())]
    for layer, (score, cost) in enumerate(zip(scores, costs.layers, strict=True)):
        grown = front + [(c + cost, s + score, (*kept, layer)) for c, s, kept in front if c + cost <= limit]
        grown.sort(key=lambda option: (option[0], -option[1]))
        front, best = [], float("-inf")
        for option in grown:
            # The empty subset is no answer, so it must not push out a layer with a negative score.
            if option[1] > best or not option[2]:
                front.append(option)
                best = max(best, option[1]) if option[2] else best
    answers = [option for option in front if option[2]]
    if not answers:
        return []
    return list(max(answers, key=lambda option: (option[1], -option[0]))[2])
