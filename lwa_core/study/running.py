"""Carry a study out: runs side by side, each like `lwa run`, and their figures in one table."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Sequence
from importlib.metadata import version
from itertools import zip_longest
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import polars as pl
from safetensors.numpy import load_file, save_file

from lwa_core.bench.running import Told, local_files
from lwa_core.bench.workers import in_processes
from lwa_core.errors import LwaError
from lwa_core.measuring.load import usable_cores
from lwa_core.pipeline.graph import Stage
from lwa_core.pipeline.keys import component_facts
from lwa_core.pipeline.plan import Plan, make_plan
from lwa_core.plugins.trust import OnlyThese
from lwa_core.store.files import digest
from lwa_core.store.results import Store
from lwa_core.study.document import Cell, Study, load_study
from lwa_core.study.table import StudyTable, newest, rows_of

Say = Callable[[str], None]
VALUES = "study-values"
"""Kind of the stored results that hold the figures of every test user."""
TESTED = "#tested"
"""Among the figures of a run: the digest of the test items that they are of."""
RUN = ("seconds", "bytes")
"""What the table holds of a run itself."""


@attrs.frozen
class Carried:
    """What came of a study.

    Args:
        frame: The rows that count.
        failures: By `cell, seed` what went wrong.
        made: Runs that were made now, or read from what the store had.
        skipped: Runs whose rows were in the table.
    """

    frame: pl.DataFrame
    failures: dict[str, LwaError] = attrs.field(factory=dict)
    made: int = 0
    skipped: int = 0


def run_key(plan: Plan) -> str:
    """What a run depends on: settings, code and data, as the keys of its stages say it."""
    uses = [component_facts(use) for use in plan.recipe.uses]
    return digest([plan.recipe.resolved(), [stage.key for stage in plan.stages], uses, version("lwa")])


def allowed(study: Study) -> OnlyThese:
    """The local files that were allowed to run when the study was read."""
    return local_files([study.registry, *(recipe.registry for own in study.candidates.values() for recipe in own)])


def run_study(
    study: Study,
    store: Store,
    table: StudyTable,
    *,
    jobs: int = 1,
    overrides: Sequence[str] = (),
    block: Sequence[str] = (),
    say: Say = lambda _: None,
) -> Carried:
    """Run every cell with every seed that the table lacks.

    A run that fails is told, and the others go on. Runs share stages through the store, and the same command goes on
    where it was stopped.

    Args:
        study: What to run.
        store: Where stages and runs lie.
        table: Gets the rows of each run as it ends.
        jobs: Runs at a time; each uses its share of the processors, or as many as OMP_NUM_THREADS says.
        overrides: As given to `load_study`; every process reads the file again.
        block: Likewise.
        say: Hears of every run.
    """
    known = set(table.read().get_column("key").to_list())
    todo: list[tuple[Cell, int]] = []
    skipped = 0
    for cell, seed in study.runs:
        if any(run_key(make_plan(recipe)) in known for recipe in study.recipes_of(cell.name, seed)):
            skipped += 1
        else:
            todo.append((cell, seed))
    if skipped:
        say(f"{skipped} of {len(study.runs)} runs are in the table")
    asked = (str(study.file), tuple(overrides), tuple(block), allowed(study), str(store.root))
    threads = 0 if "OMP_NUM_THREADS" in os.environ else max(1, usable_cores() // jobs)
    failures: dict[str, LwaError] = {}
    tasks = [(cell.name, seed, threads, *asked) for cell, seed in todo]
    started, made = time.perf_counter(), 0
    for number, told in in_processes(_run, tasks, jobs):
        cell, seed = todo[number]
        title = f"{cell.name}, seed {seed}"
        if isinstance(told, LwaError):
            failures[title] = told
            say(f"{title}: failed: {told}")
            continue
        made += 1
        if told["key"] not in known:
            table.add(_rows(study, cell, seed, told))
            known.add(told["key"])
        left = (time.perf_counter() - started) / made * (len(todo) - made - len(failures))
        say(f"{title}: done, {skipped + made} of {len(study.runs)}, about {_time(left)} left")
    return Carried(known_so_far(study, table), failures, made, skipped)


def known_so_far(study: Study, table: StudyTable) -> pl.DataFrame:
    """The rows that count, of the cells and seeds of a study."""
    names = [cell.name for cell in study.cells]
    return newest(table.read()).filter(pl.col("cell").is_in(names) & pl.col("seed").is_in(list(study.head.seeds)))


def planned(study: Study, store: Store, table: StudyTable) -> dict[str, Any]:
    """What would be run, JSON-ready, with how long that takes by the runs so far."""
    known = table.read()
    keys, told = set(known.get_column("key").to_list()), []
    for cell, seed in study.runs:
        plans = [make_plan(recipe) for recipe in study.recipes_of(cell.name, seed)]
        stages = plans[-1].stages
        stored = sum(store.has(stage.kind, stage.key) for stage in stages)
        state = "in the results" if any(run_key(plan) in keys for plan in plans) else "to do"
        told.append({"cell": cell.name, "seed": seed, "state": state, "stored": stored, "stages": len(stages)})
    left = sum(each["state"] == "to do" for each in told)
    took = {
        metric: known.filter((pl.col("kind") == "run") & (pl.col("metric") == metric))["value"].mean() for metric in RUN
    }
    said = f"{len(told) - left} of {len(told)} runs are in the results"
    if left and took["seconds"] is not None:
        size = f", and {float(took['bytes']) * left / 1e6:.0f} MB" if took["bytes"] is not None else ""  # type: ignore[arg-type]
        said += f"; by those, the other {left} take about {_time(float(took['seconds']) * left)} one by one{size}"  # type: ignore[arg-type]
    elif left:
        said += "; how long they take is known once one is there"
    return {"runs": told, "said": said, "trials": len(study.tune)}


def _rows(study: Study, cell: Cell, seed: int, told: dict[str, Any]) -> list[dict[str, Any]]:
    common = {
        "study": study.name,
        "cell": cell.name,
        "settings": json.dumps({**cell.settings, **told["tuned"]}, ensure_ascii=False, sort_keys=True),
        "seed": seed,
        "key": told["key"],
        "run": told["run"],
        "measured": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "lwa": version("lwa"),
        "machine": told["machine"],
    }
    return [{**common, **row} for row in told["rows"]]


def _time(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


# In a process of its own


def _run(
    cell_name: str,
    seed: int,
    threads: int,
    file: str,
    overrides: Sequence[str],
    block: Sequence[str],
    allow_local: OnlyThese,
    root: str,
) -> dict[str, Any]:
    """One run: its rows, and the figures of every test user in the store."""
    import torch

    from lwa_core.measuring.performance import folder_bytes, machine
    from lwa_core.pipeline.run import run_recipe
    from lwa_core.report import write_report
    from lwa_core.results.reading import read_results

    if threads:
        torch.set_num_threads(threads)
    study = load_study(Path(file), overrides, block=block, allow_local=allow_local, only=cell_name)
    store = Store(Path(root))
    cell = next(cell for cell in study.cells if cell.name == cell_name)
    started = time.perf_counter()
    listener = Told(f"{cell.name}, seed {seed}")
    best = tune(study, cell, store, [listener])
    recipe = study.recipes_of(cell.name, seed)[best]
    folder = run_recipe(recipe, store, [listener], smoke_test=False)
    write_report(folder)
    plan, results = make_plan(recipe), read_results(folder)
    key, measured = run_key(plan), _measured(plan, store)
    _keep_values(plan, measured, store, key, results.metrics.data.test_items_sha256)
    seconds = time.perf_counter() - started
    took = {"seconds": seconds, "bytes": float(folder_bytes(folder))}
    about = [{"model": "run", "kind": "run", "metric": name, "value": value} for name, value in took.items()]
    return {
        "key": key,
        "run": folder.name,
        "rows": [*rows_of(results), *_layers(measured, store), *about],
        "tuned": dict(override.split("=", 1) for override in study.tune[best]) if study.tune else {},
        "machine": str(machine()["cpu"]),
    }


def tune(study: Study, cell: Cell, store: Store, listeners: Sequence[Any]) -> int:
    """The number of the trial of a cell whose full model does best on validation, with the first seed."""
    from lwa_core.modeling.devices import use_device
    from lwa_core.pipeline.events import Bus
    from lwa_core.pipeline.graph import Run
    from lwa_core.types import RunContext

    if not study.tune:
        return 0
    told: list[float] = []
    for recipe in study.recipes_of(cell.name, study.head.seeds[0]):
        plan = make_plan(recipe, refit=False)
        bus = Bus(recipe.registry, RunContext(recipe.name, store.root), listeners)
        with use_device(recipe.device):
            told.append(best_on_validation(Run(recipe, store, bus).value(plan.teacher).facts))
    return int(np.argmax(told))


def best_on_validation(facts: Any) -> float:
    """How good the weights that were kept are on validation; more is better.

    Raises:
        LwaError: The full model was not trained here, so that no trial is better than another.
    """
    training = facts.get("training") or {}
    kept = [epoch for epoch in training.get("history", ()) if epoch["epoch"] == training["best_epoch"]]
    values = [value for epoch in kept for name, value in epoch.items() if name not in ("epoch", "loss")]
    if not values:
        raise LwaError("[tune] needs a full model that is trained with validation", "leave [tune] out")
    return float(values[0])


Measured = dict[str, tuple[Stage[Any], Stage[Any] | None]]
"""Of each model by its name the stage that made it, and the one that measured it, if any did."""


def _measured(plan: Plan, store: Store) -> Measured:
    """The models of a run, the full one first."""
    found: Measured = {plan.measured[1].name: (plan.measured[1], plan.quality)}
    selected = None if plan.select is None else plan.select.stored(store)
    for tier in () if selected is None else plan.tiers(selected.plan):
        found |= {model.name: (model, quality) for model, quality in zip_longest(tier.models, tier.qualities)}
    return found


def _layers(measured: Measured, store: Store) -> list[dict[str, Any]]:
    """How many parameters the layers of each model have; what is left of all is tables and norms."""
    from lwa_core.modeling.files.sizes import parameter_count

    return [
        {
            "model": name,
            "kind": "teacher" if place == 0 else "student",
            "metric": "parameters of layers",
            "value": float(parameter_count(stored.live.layered.layers)),
        }
        for place, (name, (model, _)) in enumerate(measured.items())
        if (stored := model.stored(store)) is not None and stored.facts.get("depth")
    ]


def _keep_values(plan: Plan, measured: Measured, store: Store, key: str, tested: str | None) -> None:
    """The headline metric of every test user under every model of a run, for comparisons between runs."""
    from lwa_core.statistics.rank_metrics import headline_cutoff, ndcg

    if plan.recipe.task != "recommendation":
        return
    k = headline_cutoff(plan.recipe.evaluate.k)
    arrays = {TESTED: np.frombuffer((tested or "").encode(), dtype=np.uint8)}
    for name, (_, quality) in measured.items():
        ranked = None if quality is None else quality.stored(store)
        if ranked is not None:
            ranking = ranked["model"]
            arrays[name] = ndcg(ranking.ranks, k, ranking.tied).astype(np.float32)
    if len(arrays) > 1:
        store.get_or_make(VALUES, key, lambda folder: save_file(arrays, folder / "values.safetensors"))


def values_of(store: Store, key: str) -> dict[str, np.ndarray[Any, Any]]:
    """What `_keep_values` kept; empty where the store has it no more."""
    folder = store.find(VALUES, key)
    return {} if folder is None else load_file(folder / "values.safetensors")
