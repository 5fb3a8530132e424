"""The stage that measures time and memory of all models, on this machine."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import attrs

from lwa_core.pipeline.graph import Inputs, Job, Stage
from lwa_core.pipeline.models import StoredModel
from lwa_core.pipeline.stages import exports
from lwa_core.pipeline.stages.exports import StoredBundle
from lwa_core.pipeline.task import Task
from lwa_core.plugins.requirements import cpu_name, has_cuda
from lwa_core.store.files import read_json, write_json

if TYPE_CHECKING:
    from lwa_core.measuring.performance import Timed

VERSION = 3
FILE = "performance.json"

CONFIGURATIONS_VERSION = 1

Stored: TypeAlias = "StoredModel | StoredBundle"


def performance_stage(task: Task, data: Stage[Any], models: Sequence[Stage[Stored]]) -> Stage[dict[str, Any]]:
    """Its key holds the machine: timings never move to another one."""
    recipe = task.recipe
    measurement = recipe.measurement
    asked = {
        "requests": measurement.requests,
        "batch": measurement.batch,
        "memory": measurement.memory,
        "seed": recipe.seed,
        "machine": _machine(task),
    }
    inputs: Inputs = {"data": data, "models": tuple(models)}
    return Stage("measure time and memory", "performance", VERSION, partial(_measure, task), _read, inputs, asked)


def configurations_stage(
    task: Task, data: Stage[Any], models: Sequence[Stage[Stored]], threads: int
) -> Stage[dict[str, Any]]:
    """What each model and bundle takes in fresh processes of so many threads, whatever a profile allows of it."""
    asked = {"threads": threads, "seed": task.recipe.seed, "machine": _machine(task)}
    inputs: Inputs = {"data": data, "models": tuple(models)}
    name = f"measure configurations, {threads} thread{'s' if threads > 1 else ''}"
    make = partial(_configure, task, threads)
    return Stage(name, "configurations", CONFIGURATIONS_VERSION, make, _read, inputs, asked)


def _machine(task: Task) -> list[Any]:
    return [platform.platform(), cpu_name(), os.cpu_count(), has_cuda(), task.recipe.device]


def _configure(task: Task, threads: int, job: Job) -> None:
    from lwa_core.measuring.configurations import REQUESTS, measure_configurations

    requests = task.requests(job["data"], REQUESTS)
    folders = {name: model.path for name, model in _models(job).items()}
    write_json(job.folder / FILE, measure_configurations(folders, requests, threads, job.report))


def _models(job: Job) -> dict[str, Stored]:
    stages = job.stage.inputs["models"]
    assert isinstance(stages, tuple)
    return {stage.name: model for stage, model in zip(stages, job["models"], strict=True)}


def _measure(task: Task, job: Job) -> None:
    from lwa_core.measuring.models import measure_models
    from lwa_core.measuring.performance import machine

    measurement, models = task.recipe.measurement, _models(job)
    requests = task.requests(job["data"], max(measurement.requests, measurement.batch))
    measured = measure_models(
        {name: model.path for name, model in models.items()},
        {name: partial(_timed, task, model) for name, model in models.items()},
        requests,
        measurement,
        job.report,
    )
    write_json(job.folder / FILE, {"machine": machine(), **measured})


def _timed(task: Task, stored: Stored) -> Timed:
    from lwa_core.modeling.files.sizes import architecture

    if isinstance(stored, StoredBundle):
        return exports.timed(stored)
    model = stored.load()
    return attrs.evolve(task.answering(model), architecture=architecture(model.layered.model))


def _read(folder: Path) -> dict[str, Any]:
    return dict(read_json(folder / FILE))
