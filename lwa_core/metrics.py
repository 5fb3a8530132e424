"""Assemble `metrics.json`: only what is deterministic, so that a resumed run ends with the same bytes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import attrs

from lwa_core.data import PreparedData
from lwa_core.data.dataset import test_digest
from lwa_core.evaluation.performance import folder_bytes
from lwa_core.evaluation.ranking import Ranking
from lwa_core.evaluation.summary import agreement_of, cold_start, scores_of, summarise
from lwa_core.evaluation.warnings import warnings_for
from lwa_core.plan import Tier
from lwa_core.recipe import Recipe
from lwa_core.stages import MODEL, drawn
from lwa_core.store import digest
from lwa_core.types import DepthPlan, ScoreBoard


def assemble(
    recipe: Recipe,
    data: PreparedData,
    board: ScoreBoard,
    plan: DepthPlan,
    tiers: Sequence[Tier],
    folders: Mapping[str, Path],
    facts: Mapping[str, Mapping[str, Any]],
    rankings: Mapping[str, Ranking],
    warnings: Sequence[Mapping[str, str]],
) -> dict[str, Any]:
    """Everything that a run found out, apart from what is timed.

    Args:
        recipe: What was asked.
        data: What it was asked of.
        board: The scores.
        plan: The selected layers.
        tiers: The stages that made the students.
        folders: Where the stage of each model stored it, by name.
        facts: What the stage of each model wrote down, by name.
        rankings: Test rankings of all models and yardsticks, by name.
        warnings: What the stages warned of.
    """
    offers = {use.name: use.offer.component for use in recipe.scorers}
    metrics: dict[str, Any] = {
        "format": 1,
        "lwa": version("lwa"),
        "recipe": {"name": recipe.name, "sha256": digest(recipe.resolved()), "seed": recipe.seed},
        "asked": recipe.resolved(),
        "data": _data(data),
        "calibration": {
            "examples": len(drawn(data.calibration, recipe.calibration.examples, recipe.seed)),
            "utility": recipe.calibration.utility,
        },
        "models": _models(recipe, data, tiers, folders, facts, rankings),
        "cold_start": cold_start(rankings, data, recipe.evaluate, recipe.seed),
        "scores": scores_of(
            board,
            {name: component.name for name, component in offers.items()},
            {name: component.reference for name, component in offers.items()},
            recipe.evaluate.confidence,
            [plan.depth - len(tier) for tier in plan.tiers],
        ),
        "agreement": agreement_of(board, [len(tier) for tier in plan.tiers]),
        "plan": {"selector": recipe.select.component, **attrs.asdict(plan)},
        "training": [{"name": n, **said["training"]} for n, said in facts.items() if said["training"] is not None],
    }
    return {**metrics, "warnings": [*warnings, *warnings_for(metrics)]}


def _data(data: PreparedData) -> dict[str, Any]:
    return {
        "steps": [attrs.asdict(step) for step in data.steps],
        "users": data.users,
        "items": len(data.catalogue),
        "events": len(data.items),
        "test_items_sha256": test_digest(data),
        "facts": dict(data.facts),
    }


def _models(
    recipe: Recipe,
    data: PreparedData,
    tiers: Sequence[Tier],
    folders: Mapping[str, Path],
    facts: Mapping[str, Mapping[str, Any]],
    rankings: Mapping[str, Ranking],
) -> list[dict[str, Any]]:
    figures = summarise(rankings, data.catalogue, recipe.evaluate, recipe.seed)
    steps = {
        model.name: (model.use.component if model.use else None, number)
        for number, tier in enumerate(tiers)
        for model in tier.models
    }
    entries = []
    for name in rankings:
        step, tier = steps.get(name, (None, None))
        said = facts.get(name)
        kind = "yardstick" if said is None else "teacher" if step is None else "student"
        entries.append(
            {
                "name": name,
                "kind": kind,
                "step": step,
                "tier": tier,
                "layers": said["layers"] if said else None,
                "depth": said["depth"] if said else None,
                "parameters": said["parameters"] if said else None,
                "bytes_memory": said["bytes_memory"] if said else None,
                "bytes_disk": folder_bytes(folders[name] / MODEL) if said else None,
                **figures[name],
            }
        )
    return entries
