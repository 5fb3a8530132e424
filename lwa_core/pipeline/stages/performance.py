"""The stage that measures time and memory of all models, on this machine."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from lwa_core.pipeline.graph import Inputs, Job, Stage
from lwa_core.pipeline.models import StoredModel
from lwa_core.pipeline.task import Task
from lwa_core.plugins.requirements import cpu_name, has_cuda
from lwa_core.store.files import read_json, write_json

if TYPE_CHECKING:
    from lwa_core.measuring.performance import Timed

VERSION = 3
FILE = "performance.json"


def performance_stage(task: Task, data: Stage[Any], models: Sequence[Stage[StoredModel]]) -> Stage[dict[str, Any]]:
    """Its key holds the machine: timings never move to another one."""
    recipe = task.recipe
    measurement = recipe.measurement
    asked = {
        "requests": measurement.requests,
        "batch": measurement.batch,
        "memory": measurement.memory,
        "seed": recipe.seed,
        "machine": [platform.platform(), cpu_name(), os.cpu_count(), has_cuda(), recipe.device],
    }
    inputs: Inputs = {"data": data, "models": tuple(models)}
    return Stage("measure time and memory", "performance", VERSION, partial(_measure, task), _read, inputs, asked)


def _measure(task: Task, job: Job) -> None:
    from lwa_core.measuring.models import measure_models
    from lwa_core.measuring.performance import machine

    stages = job.stage.inputs["models"]
    assert isinstance(stages, tuple)
    measurement = task.recipe.measurement
    models: dict[str, StoredModel] = {stage.name: model for stage, model in zip(stages, job["models"], strict=True)}
    requests = task.requests(job["data"], max(measurement.requests, measurement.batch))
    measured = measure_models(
        {name: model.path for name, model in models.items()},
        {name: partial(_timed, task, model) for name, model in models.items()},
        requests,
        measurement,
        job.report,
    )
    write_json(job.folder / FILE, {"machine": machine(), **measured})


def _timed(task: Task, stored: StoredModel) -> Timed:
    from lwa_core.modeling.files.sizes import architecture

    model = stored.load()
    return attrs.evolve(task.answering(model), architecture=architecture(model.layered.model))


def _read(folder: Path) -> dict[str, Any]:
    return dict(read_json(folder / FILE))
