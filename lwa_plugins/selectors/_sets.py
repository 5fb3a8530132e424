"""What selectors that weigh whole sets share: depths or one budget, and the front of all that they looked at."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import attrs

from lwa_core import DepthPlan, LayerCosts, LwaError, Selection, setting
from lwa_core.statistics import ten_digits

if TYPE_CHECKING:
    import numpy as np

    from lwa_core import Probe

Kept: TypeAlias = tuple[int, ...]
"""The layers that stay, in order."""

KINDS = ("parameters", "megabytes", "milliseconds")

FINITE = "keep more layers, or train the model with a lower learning rate or in float32"

SLACK = 1e-9
"""Relative: the same costs added in another order still fit."""


def budget_setting(kind: str) -> Any:
    """The setting of one kind of budget, off where it is left out."""
    if kind == "parameters":
        return setting(None, help="budget: parameters of the whole model, item table included", minimum=1)
    if kind == "megabytes":
        return setting(None, help="budget: parameters and buffers in memory", unit="10^6 bytes", above=0)
    return setting(None, help="budget: median of one request at batch 1", unit="ms", above=0)


@attrs.frozen
class Limit:
    """A budget and what each layer costs, measured on the teacher on this machine."""

    kind: str
    most: float
    costs: LayerCosts

    @property
    def ceiling(self) -> float:
        """The highest cost that still fits."""
        return self.most * (1 + SLACK)

    def fits(self, kept: Sequence[int]) -> bool:
        """Whether a set of layers, not empty, costs no more than the budget."""
        return bool(kept) and self.costs.of(kept) <= self.ceiling

    def told(self, kept: Sequence[int]) -> dict[str, Any]:
        """The budget and what the chosen layers cost, JSON-ready."""
        return {
            "kind": self.kind,
            "limit": self.most,
            "cost": self.costs.of(kept),
            "base": self.costs.base,
            "layers": list(self.costs.layers),
        }


def limit_of(settings: Any, selection: Selection) -> Limit | None:
    """The budget that a selector's settings give, or None where they give a depth.

    Raises:
        LwaError: Not even the cheapest layer fits.
    """
    kind = next((kind for kind in KINDS if getattr(settings, kind) is not None), None)
    if kind is None:
        return None
    limit = Limit(kind, float(getattr(settings, kind)), selection.costs(kind))
    cheapest = limit.costs.base + min(limit.costs.layers)
    if cheapest > limit.ceiling:
        raise LwaError(
            f"no layer fits into {limit.most:g} {kind}: the model without layers takes {limit.costs.base:g}, "
            f"with its cheapest layer {cheapest:g}",
            f"raise select.{kind} to at least {cheapest:g}",
        )
    return limit


@attrs.frozen
class Asked:
    """What is asked of a selector: sets of these sizes, or one set of any size that fits.

    Args:
        depth: Number of layers.
        counts: How many layers each tier keeps; with a limit, none.
        limit: The budget.
    """

    depth: int
    counts: tuple[int, ...]
    limit: Limit | None

    @property
    def sizes(self) -> tuple[int, ...]:
        """The sizes that the answer can have, falling."""
        return tuple(sorted(set(self.counts), reverse=True)) or tuple(range(self.depth, 0, -1))

    def leads_on(self, kept: Kept) -> bool:
        """Whether removals can still end at an answer: something of the set fits."""
        return self.limit is None or any(self.limit.fits((layer,)) for layer in kept)

    def answers(self, looked: Mapping[Kept, float]) -> list[Kept]:
        """The best of each size that is asked for, or the best that fits; of equals the first.

        Raises:
            LwaError: Even the best has the value -inf: none gives finite answers.
        """
        if self.limit is None:
            best = best_by_size(looked)
            found = [best[count] for count in self.counts]
        else:
            fitting = [kept for kept in looked if self.limit.fits(kept)]
            found = [max(fitting, key=lambda kept: looked[kept])]
        for kept in found:
            if looked[kept] == float("-inf"):
                raise LwaError(f"no set of {len(kept)} layers that was measured gives finite answers", FINITE)
        return found

    def filled(self, order: Iterable[int], count: int | None = None) -> Kept:
        """Layers in this order, as long as they fit or until there are `count`."""
        chosen: list[int] = []
        for layer in order:
            if len(chosen) == count:
                break
            if self.limit is None or self.limit.fits([*chosen, layer]):
                chosen.append(layer)
        return tuple(sorted(chosen))


@attrs.frozen
class SetSelector:
    """The settings of a selector that weighs whole sets: how many layers stay, or one budget."""

    keep: int | tuple[int, ...] | None = setting(
        None, help="how many layers stay; a list makes one student each", minimum=1
    )
    parameters: int | None = budget_setting("parameters")
    megabytes: float | None = budget_setting("megabytes")
    milliseconds: float | None = budget_setting("milliseconds")

    def __attrs_post_init__(self) -> None:
        if sum(getattr(self, name) is not None for name in ("keep", *KINDS)) != 1:
            raise ValueError(f"exactly one of keep, {', '.join(KINDS)} says how much stays")
        if self.keep == ():
            raise ValueError("keep must not be empty")

    def asked(self, selection: Selection) -> Asked:
        """What the settings ask for. Raises LwaError where it cannot be had."""
        counts = () if self.keep is None else tuple(selection.counts(self.keep))
        return Asked(selection.depth, counts, limit_of(self, selection))


def best_by_size(looked: Mapping[Kept, float]) -> dict[int, Kept]:
    """The set with the highest value of each size, by falling size; of equals the first."""
    best: dict[int, Kept] = {}
    for kept, value in looked.items():
        if len(kept) not in best or value > looked[best[len(kept)]]:
            best[len(kept)] = kept
    return dict(sorted(best.items(), reverse=True))


def depth_plan(
    selection: Selection, asked: Asked, looked: Mapping[Kept, float], criterion: str, trace: Mapping[str, Any]
) -> DepthPlan:
    """The plan: the best of the sets that a selector looked at, and the front over all depths that it looked at.

    Args:
        selection: Where the utilities of the front are measured.
        asked: Sizes, or a budget.
        looked: Sets of at least one layer and the selector's own value of each; higher is better.
        criterion: What that value is, for readers of the trace.
        trace: What else the selector tells.

    Raises:
        LwaError: A chosen set gives answers that are not finite on some calibration example.
    """
    tiers = asked.answers(looked)
    passes = selection.probe.cost  # what the choice took, before the front is measured
    assert_answering(selection.probe, tiers)
    told: dict[str, Any] = {"criterion": criterion, "sets": len(looked), "passes": passes, **trace}
    if asked.limit is not None:
        told["budget"] = asked.limit.told(tiers[0])
    return DepthPlan(selection.depth, tiers, {**told, **front(selection, looked, asked.limit)})


def assert_answering(probe: Probe, tiers: Sequence[Kept]) -> None:
    """Raise LwaError where chosen layers give answers that are not finite: a criterion of its own does not see it."""
    for kept, lost in zip(tiers, probe.unanswered(tiers).tolist(), strict=True):
        if lost:
            named = ", ".join(map(str, kept))
            said = f"the chosen layers {named} give no finite answer on {lost} of {probe.examples} calibration examples"
            raise LwaError(said, "choose by measured utilities, as `greedy` does; or " + FINITE)


def front(selection: Selection, looked: Mapping[Kept, float], limit: Limit | None) -> dict[str, Any]:
    """The best set of every depth with its mean utility on the calibration examples, JSON-ready.

    `difference` is the utility less the full model's, example by example, `standard_error` that of its mean (None for
    one example). A depth is `dominated` where a smaller one has at least its utility. What was chosen on these examples
    looks better on them than it is. A depth whose best set gives answers that are not finite is left out.
    """
    probe = selection.probe
    best = best_by_size(looked)
    lost = probe.unanswered(list(best.values())).tolist()
    best = {size: kept for (size, kept), count in zip(best.items(), lost, strict=True) if not count}
    table = probe.evaluate([*best.values(), tuple(range(selection.depth))])
    own, full = table[:-1], table[-1]
    points: list[dict[str, Any]] = []
    for kept, values in reversed(list(zip(best.values(), own, strict=True))):
        utility, dominated = ten_digits(values.mean()), any(p["utility"] >= ten_digits(values.mean()) for p in points)
        point = {"layers": len(kept), "kept": list(kept), "value": ten_digits(looked[kept]), "utility": utility}
        point |= {**_paired(values - full), "dominated": dominated}
        if limit is not None:
            point |= {"cost": limit.costs.of(kept), "fits": limit.fits(kept)}
        points.append(point)
    return {"utility": probe.utility, "examples": probe.examples, "front": points[::-1]}


def _paired(difference: np.ndarray[Any, Any]) -> dict[str, float | None]:
    count = len(difference)
    error = None if count < 2 else ten_digits(difference.std(ddof=1) / count**0.5)
    return {"difference": ten_digits(difference.mean()), "standard_error": error}
