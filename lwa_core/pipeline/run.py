"""Carry a recipe out: every stage that the store does not have, then the files of the run folder."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import tomli_w

from lwa_core.errors import NeedsError
from lwa_core.modeling.devices import use_device
from lwa_core.pipeline.events import Bus, Listener
from lwa_core.pipeline.graph import Run
from lwa_core.pipeline.models import MODEL
from lwa_core.pipeline.plan import Plan, make_plan
from lwa_core.pipeline.smoke_test import try_first
from lwa_core.pipeline.stages.control import Control
from lwa_core.pipeline.stages.exports import BUNDLE
from lwa_core.pipeline.stages.other_sets import MeasuredSet
from lwa_core.pipeline.stages.scores import board_of
from lwa_core.pipeline.stages.students import Tier
from lwa_core.plugins.requirements import lacking_device
from lwa_core.recipe.recipe import Recipe
from lwa_core.recommendation.users import HISTORIES
from lwa_core.results.assembly import ExportFound, Found, SetFound, assemble, tables_of_bundles
from lwa_core.results.reading import UNFINISHED, is_finished
from lwa_core.results.writing import METRICS, metrics_content, write_metrics, write_performance
from lwa_core.runtime.description import MEASURED
from lwa_core.store.files import digest, readable_json
from lwa_core.store.places import below
from lwa_core.store.results import Store
from lwa_core.store.sealing import files_of
from lwa_core.store.shared import Content, SharedFolder, sealed_contents
from lwa_core.training import processes
from lwa_core.types import RunContext


def run_folder(recipe: Recipe, store: Store) -> Path:
    """Where a recipe's run lies: the same recipe with the same settings always has the same folder."""
    return store.root / "runs" / f"{recipe.name}-{digest(recipe.resolved())[:8]}"


def assert_able(recipe: Recipe) -> None:
    """Raise NeedsError where the machine lacks the device of a recipe, or what a component needs; PluginError where a
    component lacks a method of its kind.
    """
    for use in recipe.uses:
        use.offer.usable()
    lacking = {use.name: missing for use in recipe.uses if (missing := recipe.registry.lacking(use.offer.component))}
    if missing := lacking_device(recipe.device):
        lacking = {f"device = '{recipe.device}'": missing, **lacking}
    if lacking:
        said = "; ".join(f"{name} needs {', '.join(missing)}" for name, missing in lacking.items())
        raise NeedsError(f"this machine lacks what the recipe needs: {said}")


def run_recipe(recipe: Recipe, store: Store, listeners: Sequence[Listener] = (), *, smoke_test: bool = True) -> Path:
    """Run a recipe, using what the store has. Returns the run folder.

    With `smoke_test` every component is tried on a few rows first, unless all is stored.

    Under torchrun all processes run it; the first one writes the folder, and it alone sends events.

    Raises:
        NeedsError: The machine lacks what a component needs; nothing was run.
        StageError: A stage failed. What was finished is stored, and running the recipe again goes on from there.
        StoreError: The results cannot be written.
    """
    assert_able(recipe)
    folder = run_folder(recipe, store)
    with use_device(recipe.device, processes.own_gpu()):
        with processes.joined():
            bus = Bus(recipe.registry, RunContext(recipe.name, folder), listeners, silent=not processes.is_first())
            plan, run = make_plan(recipe), Run(recipe, store, bus)
            if processes.is_first():
                _begin(recipe, folder, store, run)
            bus.emit("run-started")
            if smoke_test:
                try_first(run, plan.smoke, plan.stages)
            run.walk(plan.stages)
        if processes.is_first():
            _write(plan, run, folder)
    bus.emit("run-finished")
    return folder


def _begin(recipe: Recipe, folder: Path, store: Store, run: Run) -> None:
    shared = SharedFolder(below(store.root, "runs", folder.name), run.say)
    texts = {"recipe.toml": recipe.text, "resolved.toml": tomli_w.dumps(recipe.resolved())}
    files = {name: Content.of(text.encode()) for name, text in texts.items()}
    if not is_finished(folder) or not shared.holds(files):
        _mark_unfinished(shared)
    shared.put(files)


def _mark_unfinished(shared: SharedFolder) -> None:
    told = b"This run has not finished: `lwa run` with the same recipe goes on with it.\n"
    shared.put({UNFINISHED: Content.of(told)})


def _write(plan: Plan, run: Run, folder: Path) -> None:
    """The files of the run folder, from results that are all there."""
    selected = None if plan.select is None else run.value(plan.select)
    tiers = [] if selected is None else plan.tiers(selected.plan)
    controls = plan.controls(tiers, run.value)
    stages = [plan.measured[1], *(model for tier in tiers for model in tier.models), *(each.model for each in controls)]
    exports = plan.exports(tiers)
    shared = SharedFolder(folder, run.say)
    metrics = assemble(found(plan, run, tiers, controls))
    timed: dict[str, Any] = run.value(plan.performance(tiers))
    measured = {**timed, "configurations": _configurations(plan, run, tiers)}
    files = {
        **_contents("models", [(stage.name, run.value(stage).folder, MODEL) for stage in stages]),
        **_contents("bundles", [(each.bundle.name, run.value(each.bundle).folder, BUNDLE) for each in exports]),
        **_data(plan, run),
    }
    tables = {f"bundles/{name}/{MEASURED}": table for name, table in tables_of_bundles(metrics, measured).items()}
    if not shared.holds({**files, METRICS: metrics_content(metrics)}):
        _mark_unfinished(shared)  # a kill must not leave models beside the metrics of others
        shared.put(files, whole=("models", "bundles"))
        write_metrics(folder, metrics, run.say)
    shared.put({name: Content.of(readable_json(table)) for name, table in tables.items()})
    write_performance(folder, measured, run.timings, run.say)
    shared.remove(UNFINISHED)


def _configurations(plan: Plan, run: Run, tiers: list[Tier]) -> dict[str, Any]:
    """By number of threads what each model and bundle takes in fresh processes."""
    return {str(stage.asked["threads"]): run.value(stage) for stage in plan.configurations(tiers)}


def _contents(into: str, results: Sequence[tuple[str, Path, str]]) -> dict[str, Content]:
    """The files of models or bundles, by where they are to be in the run folder.

    Args:
        into: Folder of the run folder that holds them.
        results: Of each its name, the folder of the stage's result, and what in that it lies in.
    """
    return {
        f"{into}/{name}/{file}": content
        for name, folder, inside in results
        for file, content in sealed_contents(folder, inside).items()
    }


def _data(plan: Plan, run: Run) -> dict[str, Content]:
    """The files by which a loaded model knows the users, by where they are to be in the run folder."""
    folder = run.path(plan.data)
    sealed = files_of(folder)
    return {
        f"{HISTORIES}/{name}": Content(folder / name, sealed[name]["sha256"]) for name in plan.task.files_of_histories
    }


def found(plan: Plan, run: Run, tiers: Sequence[Tier], controls: Sequence[Control]) -> Found:
    """What the stages of a run found out, as plain values."""
    data_stage, teacher = plan.measured
    data, task = run.value(data_stage), plan.task
    selected = None if plan.select is None else run.value(plan.select)
    tables = {stage.use.name: run.value(stage) for stage in plan.scores if stage.use is not None}
    compared = selected is not None and (selected.asked_all or any(table.asked_all for table in tables.values()))
    stages = {teacher.name: teacher, **{m.name: m for tier in tiers for m in tier.models}}
    qualities = {} if plan.quality is None else {teacher.name: run.value(plan.quality)}
    for tier in tiers if plan.quality is not None else ():
        qualities |= {m.name: run.value(q) for m, q in zip(tier.models, tier.qualities, strict=True)}
    stages |= {control.model.name: control.model for control in controls}
    qualities |= {control.model.name: run.value(control.quality) for control in controls}
    held_against = {student: control.model.name for control in controls for student in control.students}
    exports = plan.exports(tiers)
    made_of = {each.bundle.name: each.model.name for each in exports}
    qualities |= {each.bundle.name: run.value(each.quality) for each in exports if each.quality is not None}
    scorers = plan.recipe.scorers
    sets = [] if selected is None else plan.other_sets(selected.plan)
    return Found(
        recipe=plan.recipe,
        data=task.account(run.value(plan.data)),
        facts={name: run.value(stage).facts for name, stage in stages.items()},
        folders={name: run.value(stage).path for name, stage in stages.items()},
        made_by={
            model.name: (model.use.component if model.use else None, number)
            for number, tier in enumerate(tiers)
            for model in tier.models
        },
        controls=held_against,
        quality=task.figures(
            data,
            qualities,
            None if plan.baselines is None else run.value(plan.baselines),
            {**held_against, **made_of},
        ),
        exports={
            each.bundle.name: ExportFound(
                of=each.model.name,
                exporter=each.bundle.use.component if each.bundle.use else "",
                tier=each.tier,
                facts=run.value(each.bundle).facts,
                folder=run.value(each.bundle).path,
            )
            for each in exports
        },
        board=board_of(scorers, [tables[use.name] for use in scorers]) if scorers else None,
        calibration_examples=task.calibration_size(run.value(plan.data)),
        plan=None if selected is None else selected.plan,
        optimality=run.value(plan.optimality(selected.plan)) if compared and selected is not None else None,
        sets=_sets(plan, run, sets),
        warnings=run.warnings,
    )


def _sets(plan: Plan, run: Run, sets: Sequence[MeasuredSet]) -> list[SetFound]:
    """How good the teacher is with each set alone, beside the others of its tier; those that could be cut to."""
    found: list[SetFound] = []
    for _, group in groupby(sets, lambda each: each.tier):
        own = {each.name: each for each in group}
        values = {name: run.value(each.quality) for name, each in own.items()}
        qualities = {name: value for name, value in values.items() if value is not None}
        assert plan.quality is not None  # without test examples there is no set to measure
        teacher = {plan.measured[1].name: run.value(plan.quality)}
        figures = plan.task.figures(run.value(plan.measured[0]), {**teacher, **qualities}, None, {}).figures
        found += [SetFound(own[name].tier, name, own[name].how, own[name].layers, figures[name]) for name in qualities]
    return found
