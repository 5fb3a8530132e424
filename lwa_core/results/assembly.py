"""Assemble `metrics.json`: only what is deterministic, so that a resumed run ends with the same bytes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import attrs

from lwa_core.measuring.configurations import disk_bytes
from lwa_core.measuring.performance import folder_bytes
from lwa_core.recipe.recipe import Recipe
from lwa_core.results.as_json import to_json
from lwa_core.results.convergence import convergence_warnings
from lwa_core.results.reading import Results
from lwa_core.results.schema import (
    FORMAT,
    AgainstControl,
    CalibrationUsed,
    Caution,
    Choice,
    ColdStart,
    Data,
    Exported,
    Figure,
    Metrics,
    ModelQuality,
    ModelResult,
    Optimality,
    PlanResult,
    RecipeRead,
    SetResult,
    Training,
)
from lwa_core.results.summary import agreement_of, scores_of
from lwa_core.results.verdict import advantage
from lwa_core.results.warnings import warnings_for
from lwa_core.store.files import digest
from lwa_core.types import DepthPlan, ScoreBoard


@attrs.frozen(eq=False)
class Quality:
    """How good every model is, in the form that all tasks share.

    Args:
        headline: The metric of sentences and charts.
        figures: Of every model, by name; what needs no layers is among them.
        lower_is_better: Metrics of which less is more.
        cold_start: Figures of test targets that no training example holds; None where there are none.
        trivial: The metrics that tell nothing of a model, and why.
        fitted: By the name of a baseline that has settings: these, and how they were chosen.
    """

    headline: str
    figures: Mapping[str, ModelQuality]
    lower_is_better: Sequence[str] = ()
    cold_start: ColdStart | None = None
    trivial: Mapping[str, str] = attrs.field(factory=dict)
    fitted: Mapping[str, Mapping[str, Any]] = attrs.field(factory=dict)


@attrs.frozen(eq=False)
class ExportFound:
    """A bundle.

    Args:
        of: The model that it was made of.
        exporter: The component that made it.
        tier: The number of its tier; None: of the teacher.
        facts: What its stage wrote down.
        folder: Where it lies.
    """

    of: str
    exporter: str
    tier: int | None
    facts: Mapping[str, Any]
    folder: Path


@attrs.frozen(eq=False)
class SetFound:
    """The teacher with nothing but some layers, measured.

    Args:
        tier: Whose number of layers they are.
        name: Of its own in the tier.
        how: `chosen`, `evenly spaced` or `random`.
        layers: Of the teacher.
        quality: Beside the teacher and the other sets of the tier, by their names.
    """

    tier: int
    name: str
    how: str
    layers: tuple[int, ...]
    quality: ModelQuality


@attrs.frozen(eq=False)
class Found:
    """What the stages of a run found out, apart from what is timed.

    Args:
        recipe: What was asked.
        data: What it was asked of, JSON-ready.
        facts: What the stage of each model wrote down, by name, the teacher first.
        folders: Where each model lies.
        made_by: The component that made each student, and the number of its tier.
        controls: By the name of a student that of the teacher that was trained as much longer.
        quality: Of all models.
        board: The scores; None where nothing was scored.
        calibration_examples: How many examples the scorers and selectors looked at.
        plan: The selected layers; None where none were.
        optimality: The comparison with all subsets, where there is one.
        warnings: What the stages warned of.
        exports: The bundles, by name.
        sets: The chosen layers of each tier and those that they are held against, as cut.
    """

    recipe: Recipe
    data: Mapping[str, Any]
    facts: Mapping[str, Mapping[str, Any]]
    folders: Mapping[str, Path]
    made_by: Mapping[str, tuple[str | None, int]]
    controls: Mapping[str, str]
    quality: Quality
    board: ScoreBoard | None
    calibration_examples: int
    plan: DepthPlan | None
    optimality: Optimality | None
    warnings: Sequence[Mapping[str, str]]
    exports: Mapping[str, ExportFound] = attrs.field(factory=dict)
    sets: Sequence[SetFound] = ()


def assemble(found: Found) -> Metrics:
    """Everything that a run found out, apart from what is timed."""
    recipe, plan, board = found.recipe, found.plan, found.board
    offers = {use.name: use.offer.component for use in recipe.scorers}
    tiers = [] if plan is None else plan.tiers
    metrics = Metrics(
        format=FORMAT,
        lwa=version("lwa"),
        recipe=RecipeRead(name=recipe.name, sha256=digest(recipe.resolved()), seed=recipe.seed),
        task=recipe.task,
        asked=recipe.resolved(),
        data=Data.of(found.data),
        calibration=CalibrationUsed(examples=found.calibration_examples, utility=recipe.calibration.utility),
        headline=found.quality.headline,
        lower_is_better=tuple(found.quality.lower_is_better),
        trivial=found.quality.trivial,
        models=tuple(
            _model(found, name) for name in dict.fromkeys([*found.facts, *found.exports, *found.quality.figures])
        ),
        cold_start=found.quality.cold_start,
        scores=()
        if board is None
        else scores_of(
            board,
            {name: component.name for name, component in offers.items()},
            {name: component.reference for name, component in offers.items()},
            recipe.measurement.confidence,
            [] if plan is None else [plan.depth - len(tier) for tier in tiers],
        ),
        agreement=None if board is None else agreement_of(board, [len(tier) for tier in tiers]),
        plan=None
        if plan is None or recipe.select is None
        else PlanResult(selector=recipe.select.component, depth=plan.depth, tiers=plan.tiers, trace=plan.trace),
        optimality=found.optimality,
        choices=_choices(found),
        training=tuple(
            Training(
                name=name,
                history=tuple(trained["history"]),
                best_epoch=trained["best_epoch"],
                windows=trained.get("windows"),
                targets=trained.get("targets"),
                share=trained.get("share"),
            )
            for name, facts in found.facts.items()
            if (trained := facts["training"]) is not None
        ),
        warnings=tuple(Caution(**warning) for warning in found.warnings),
    )
    results = Results(metrics)
    first = convergence_warnings(results)
    return attrs.evolve(metrics, warnings=(*first, *metrics.warnings, *warnings_for(results)))


def _choices(found: Found) -> tuple[Choice, ...]:
    """Each tier's chosen layers beside sets that nobody looked for, as cut."""
    headline, made = found.quality.headline, []
    for tier in sorted({each.tier for each in found.sets}):
        own = [each for each in found.sets if each.tier == tier]
        chosen = next((each for each in own if each.how == "chosen"), None)
        if chosen is None:
            continue  # the family cannot be cut to it, which ends the run elsewhere
        less = headline in found.quality.lower_is_better
        ahead = {name: advantage(figures.get(headline), less) for name, figures in chosen.quality.versus.items()}
        others = [_set(each, headline, ahead.get(each.name)) for each in own if each is not chosen]
        made.append(Choice(tier=tier, chosen=_set(chosen, headline), others=tuple(others)))
    return tuple(made)


def _set(found: SetFound, headline: str, ahead: Figure | None = None) -> SetResult:
    kept = found.quality.kept or {}
    return SetResult(
        how=found.how,
        layers=found.layers,
        figure=found.quality.metrics.get(headline),
        kept=kept.get(headline),
        ahead=ahead,
    )


def _healed(found: Found, name: str, tier: int) -> bool:
    """Whether the step that made a student, or one before it, trained."""
    steps = [student for student, (_, own) in found.made_by.items() if own == tier]
    return any(found.facts[student].get("healing") for student in steps[: 1 + steps.index(name)])


def _model(found: Found, name: str) -> ModelResult:
    nothing = ModelQuality(metrics={})  # a recipe without test examples measures no quality
    figures = attrs.asdict(found.quality.figures.get(name, nothing), recurse=False)
    facts = found.facts.get(name)
    if name in found.exports:
        return _bundle(name, found.exports[name], figures)
    if facts is None:
        return ModelResult(name=name, kind="baseline", fitted=found.quality.fitted.get(name, {}), **figures)
    step, tier = found.made_by.get(name, (None, None))
    control = name in found.controls.values()
    return ModelResult(
        name=name,
        kind="student" if tier is not None else "control" if control else "teacher",
        healed=tier is not None and _healed(found, name, tier),
        step=step,
        tier=tier,
        layers=tuple(facts["layers"]),
        depth=facts["depth"],
        parameters=facts["parameters"],
        bytes_memory=facts["bytes_memory"],
        bytes_disk=folder_bytes(found.folders[name]),
        loads=tuple(facts.get("loads", ())),
        **figures,
    )


def _bundle(name: str, made: ExportFound, figures: dict[str, Any]) -> ModelResult:
    beside: AgainstControl | None = figures.pop("control")
    how = {key: made.facts[key] for key in ("weights", "table", "quantised", "difference", "top")}
    return ModelResult(
        name=name,
        kind="export",
        step=made.exporter,
        tier=made.tier,
        layers=tuple(made.facts["layers"]),
        depth=made.facts["depth"],
        bytes_disk=disk_bytes(made.folder),
        loads=("ONNX Runtime", "lwa_core.open_bundle"),
        exported=Exported(of=made.of, **how, kept={} if beside is None else beside.kept),
        **figures,
    )


def tables_of_bundles(metrics: Metrics, measured: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """By the name of a bundle what was measured of it, to lie beside it, JSON-ready.

    Args:
        metrics: Of the run.
        measured: What was timed, as `performance.json` has it, by model.
    """
    tables = {}
    for model in metrics.models:
        if model.kind != "export":
            continue
        timed = {} if measured["latency"] is None else measured["latency"]["models"].get(model.name, {})
        tables[model.name] = {
            "run": metrics.recipe.name,
            "recipe_sha256": metrics.recipe.sha256,
            "test_sha256": metrics.data.test_sha256,
            "headline": metrics.headline,
            "model": to_json(model),
            "machine": measured["machine"],
            "latency": timed,
            "memory": measured["memory"].get(model.name),
            "configurations": {
                threads: own[model.name] for threads, own in measured["configurations"].items() if model.name in own
            },
        }
    return tables
