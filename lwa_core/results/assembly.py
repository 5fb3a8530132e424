"""Assemble `metrics.json`: only what is deterministic, so that a resumed run ends with the same bytes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import attrs

from lwa_core.measuring.performance import folder_bytes
from lwa_core.recipe.recipe import Recipe
from lwa_core.results.reading import FORMAT
from lwa_core.results.summary import agreement_of, scores_of
from lwa_core.results.warnings import warnings_for
from lwa_core.store.files import digest
from lwa_core.types import DepthPlan, ScoreBoard


@attrs.frozen(eq=False)
class Quality:
    """How good every model is, in the form that all tasks share.

    Args:
        headline: The metric of sentences and charts.
        figures: Every model's `metrics`, `difference`, `kept` and `versus`, by name; what needs no layers is among
            them.
        lower_is_better: Metrics of which less is more.
        cold_start: Figures of test targets that no training example holds; None where there are none.
    """

    headline: str
    figures: Mapping[str, Mapping[str, Any]]
    lower_is_better: Sequence[str] = ()
    cold_start: Mapping[str, Any] | None = None


@attrs.frozen(eq=False)
class Found:
    """What the stages of a run found out, apart from what is timed.

    Args:
        recipe: What was asked.
        data: What it was asked of, JSON-ready.
        facts: What the stage of each model wrote down, by name, the teacher first.
        folders: Where each model lies.
        made_by: The component that made each student, and the number of its tier.
        quality: Of all models.
        board: The scores; None where nothing was scored.
        calibration_examples: How many examples the scorers and selectors looked at.
        plan: The selected layers; None where none were.
        optimality: The comparison with all subsets, where there is one.
        warnings: What the stages warned of.
    """

    recipe: Recipe
    data: Mapping[str, Any]
    facts: Mapping[str, Mapping[str, Any]]
    folders: Mapping[str, Path]
    made_by: Mapping[str, tuple[str | None, int]]
    quality: Quality
    board: ScoreBoard | None
    calibration_examples: int
    plan: DepthPlan | None
    optimality: Any
    warnings: Sequence[Mapping[str, str]]


def assemble(found: Found) -> dict[str, Any]:
    """Everything that a run found out, apart from what is timed."""
    recipe, plan, board = found.recipe, found.plan, found.board
    offers = {use.name: use.offer.component for use in recipe.scorers}
    tiers = [] if plan is None else plan.tiers
    metrics: dict[str, Any] = {
        "format": FORMAT,
        "lwa": version("lwa"),
        "recipe": {"name": recipe.name, "sha256": digest(recipe.resolved()), "seed": recipe.seed},
        "task": recipe.task,
        "asked": recipe.resolved(),
        "data": dict(found.data),
        "calibration": {"examples": found.calibration_examples, "utility": recipe.calibration.utility},
        "headline": found.quality.headline,
        "lower_is_better": list(found.quality.lower_is_better),
        "models": _models(found),
        "cold_start": found.quality.cold_start,
        "scores": []
        if board is None
        else scores_of(
            board,
            {name: component.name for name, component in offers.items()},
            {name: component.reference for name, component in offers.items()},
            recipe.measurement.confidence,
            [] if plan is None else [plan.depth - len(tier) for tier in tiers],
        ),
        "agreement": None if board is None else agreement_of(board, [len(tier) for tier in tiers]),
        "plan": None
        if plan is None or recipe.select is None
        else {"selector": recipe.select.component, **attrs.asdict(plan)},
        "optimality": found.optimality,
        "training": [
            {"name": name, **facts["training"]} for name, facts in found.facts.items() if facts["training"] is not None
        ],
    }
    return {**metrics, "warnings": [*found.warnings, *warnings_for(metrics)]}


def _models(found: Found) -> list[dict[str, Any]]:
    entries = []
    for name, figures in found.quality.figures.items():
        step, tier = found.made_by.get(name, (None, None))
        facts = found.facts.get(name)
        kind = "baseline" if facts is None else "teacher" if tier is None else "student"
        own = {key: facts[key] if facts else None for key in ("layers", "depth", "parameters", "bytes_memory")}
        size = folder_bytes(found.folders[name]) if facts else None
        entries.append({"name": name, "kind": kind, "step": step, "tier": tier, **own, "bytes_disk": size, **figures})
    return entries
