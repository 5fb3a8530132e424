"""Carry a recipe out: every stage that the store does not have, then the files of the run folder."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

import tomli_w

from lwa_core.errors import NeedsError
from lwa_core.modeling.devices import use_device
from lwa_core.pipeline.events import Bus, Listener
from lwa_core.pipeline.graph import Run
from lwa_core.pipeline.plan import Plan, make_plan
from lwa_core.pipeline.smoke_test import try_first
from lwa_core.pipeline.stages.scores import board_of
from lwa_core.pipeline.stages.students import Tier
from lwa_core.plugins.requirements import lacking_device
from lwa_core.recipe.recipe import Recipe
from lwa_core.results.assembly import Found, assemble
from lwa_core.results.writing import write_metrics, write_performance
from lwa_core.store.files import digest, explained, write_atomically
from lwa_core.store.results import Store
from lwa_core.training import processes
from lwa_core.types import RunContext


def run_folder(recipe: Recipe, store: Store) -> Path:
    """Where a recipe's run lies: the same recipe with the same settings always has the same folder."""
    return store.root / "runs" / f"{recipe.name}-{digest(recipe.resolved())[:8]}"


def assert_able(recipe: Recipe) -> None:
    """Raise NeedsError where the machine lacks the device of a recipe, or what a component needs."""
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
            if processes.is_first():
                _begin(recipe, folder)
            bus.emit("run-started")
            plan, run = make_plan(recipe), Run(recipe, store, bus)
            if smoke_test:
                try_first(run, plan.smoke, plan.stages)
            run.walk(plan.stages)
        if processes.is_first():
            _write(plan, run, folder)
    bus.emit("run-finished")
    return folder


def _begin(recipe: Recipe, folder: Path) -> None:
    with explained(folder):
        folder.mkdir(parents=True, exist_ok=True)
    write_atomically(folder / "recipe.toml", recipe.text.encode())
    write_atomically(folder / "resolved.toml", tomli_w.dumps(recipe.resolved()).encode())


def _write(plan: Plan, run: Run, folder: Path) -> None:
    """The files of the run folder, from results that are all there."""
    selected = None if plan.select is None else run.value(plan.select)
    tiers = [] if selected is None else plan.tiers(selected.plan)
    models = [plan.teacher, *(model for tier in tiers for model in tier.models)]
    for model in models:
        target = folder / "models" / model.name
        with explained(target):
            _mirror(run.value(model).path, target)
    write_metrics(folder, assemble(found(plan, run, tiers)))
    write_performance(folder, run.value(plan.performance(tiers)), run.timings)


def found(plan: Plan, run: Run, tiers: Sequence[Tier]) -> Found:
    """What the stages of a run found out, as plain values."""
    data, task = run.value(plan.data), plan.task
    selected = None if plan.select is None else run.value(plan.select)
    tables = {stage.use.name: run.value(stage) for stage in plan.scores if stage.use is not None}
    compared = selected is not None and (selected.asked_all or any(table.asked_all for table in tables.values()))
    stages = {plan.teacher.name: plan.teacher, **{m.name: m for tier in tiers for m in tier.models}}
    qualities = {} if plan.quality is None else {plan.teacher.name: run.value(plan.quality)}
    for tier in tiers if plan.quality is not None else ():
        qualities |= {m.name: run.value(q) for m, q in zip(tier.models, tier.qualities, strict=True)}
    scorers = plan.recipe.scorers
    return Found(
        recipe=plan.recipe,
        data=task.account(data),
        facts={name: run.value(stage).facts for name, stage in stages.items()},
        folders={name: run.value(stage).path for name, stage in stages.items()},
        made_by={
            model.name: (model.use.component if model.use else None, number)
            for number, tier in enumerate(tiers)
            for model in tier.models
        },
        quality=task.figures(data, qualities, None if plan.baselines is None else run.value(plan.baselines)),
        board=board_of(scorers, [tables[use.name] for use in scorers]) if scorers else None,
        calibration_examples=task.calibration_size(data),
        plan=None if selected is None else selected.plan,
        optimality=run.value(plan.optimality(selected.plan)) if compared and selected is not None else None,
        warnings=run.warnings,
    )


def _mirror(source: Path, target: Path) -> None:
    """Make `target` hold the files of `source` and no others.

    File by file, each put in place whole: another run of the same recipe may be doing the same.
    """
    wanted = {path.relative_to(source) for path in source.rglob("*") if path.is_file()}
    for name in wanted:
        place = target / name
        place.parent.mkdir(parents=True, exist_ok=True)
        temporary = place.with_name(f".{place.name}.{os.getpid()}")
        _link(source / name, temporary)
        os.replace(temporary, place)
        temporary.unlink(missing_ok=True)  # renaming onto a link to the same file does nothing
    for path in [*target.rglob("*")]:
        if path.is_file() and path.relative_to(target) not in wanted and not path.name.startswith("."):
            path.unlink(missing_ok=True)


def _link(source: Path, target: Path) -> None:
    target.unlink(missing_ok=True)
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)
