"""The control of a healed student: the teacher, trained by its own loss for as long as the student was healed.

A student that was trained after the cut is ahead of its teacher by that training too. What the cut costs is seen
against a teacher that had as much of it: the same data, epochs, learning rate and patience, step for step.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import attrs

from lwa_core.errors import ModelError
from lwa_core.pipeline.graph import Job, Stage
from lwa_core.pipeline.models import Healing, StoredModel, write_model
from lwa_core.pipeline.stages.students import Tier
from lwa_core.pipeline.task import Task
from lwa_core.types import Batch, TrainingSettings

if TYPE_CHECKING:
    import torch

VERSION = 1


@attrs.frozen(eq=False)
class Control:
    """A teacher that was trained longer, what measures it, and which students are held against it."""

    model: Stage[StoredModel]
    quality: Stage[Any]
    students: tuple[str, ...]


def controls_of(
    task: Task,
    data: Stage[Any],
    teacher: Stage[StoredModel],
    tiers: Sequence[Tier],
    healing: Callable[[Stage[StoredModel]], Sequence[Healing]],
) -> list[Control]:
    """One control for each way in which students were healed; tiers that were healed alike share one.

    Args:
        task: Whose students they are.
        data: Prepares the data.
        teacher: The full model.
        tiers: The students.
        healing: How the step that made a model trained it; empty where it did not.
    """
    students: dict[str, list[str]] = {}
    models: dict[str, Stage[StoredModel]] = {}
    for tier in tiers:
        last = teacher
        for model in tier.models:
            if steps := healing(model):
                last = _longer(task, data, last, model, steps)
            if last is not teacher:
                models.setdefault(last.key, last)
                students.setdefault(last.key, []).append(model.name)
    made = []
    for key, stage in models.items():
        alike = [other for other in models.values() if other.name == stage.name]
        name = stage.name if len(alike) == 1 else f"{stage.name}-{1 + alike.index(stage)}"
        model = attrs.evolve(stage, name=name)
        quality = task.quality(f"rank {name}", data, model)
        if quality is not None:  # a recipe without test examples compares nothing
            made.append(Control(model, quality, tuple(students[key])))
    return made


def _longer(
    task: Task, data: Stage[Any], model: Stage[StoredModel], student: Stage[StoredModel], steps: Sequence[Healing]
) -> Stage[StoredModel]:
    step = student.name if student.use is None else student.use.name
    asked: dict[str, Any] = {
        "settings": [attrs.asdict(each.settings) for each in steps],
        "seed": task.recipe.seed,
        "precision": task.recipe.precision,
    }
    ends = [each.best_epoch for each in steps] if "tuned" in student.inputs else [None] * len(steps)
    if "tuned" in student.inputs:  # nothing is held out to say when to stop
        asked["ends"] = ends
    trainings = [(each.settings, end) for each, end in zip(steps, ends, strict=True)]
    make, read = partial(_train, task, trainings), partial(StoredModel, open=task.open)
    # No student's name has a plus.
    return Stage(
        f"teacher+{step}", "model", VERSION, make, read, {"data": data, "model": model}, asked, collective=True
    )


def _train(task: Task, trainings: Sequence[tuple[TrainingSettings, int | None]], job: Job) -> None:
    import torch

    from lwa_core.modeling.files.precision import cast

    model = job["model"].load()
    network, subject = model.layered.model, model.subject
    if not any(parameter.requires_grad for parameter in network.parameters()):
        said = "no weight of the teacher can be trained further, so that no control can be measured"
        raise ModelError(said, "leave `control` out of [evaluate]")
    cast(network, "float32")
    trained = None

    def loss(current: torch.nn.Module, batch: Batch) -> torch.Tensor:
        overall: torch.Tensor = subject.loss(current, batch).overall
        return overall

    for number, (settings, end) in enumerate(trainings):
        torch.manual_seed(task.recipe.seed)
        folder = job.workspace / str(number)
        trained = task.train(job["data"], network, subject, loss, settings, folder, job.report, end)
    longer = task.with_network(model, cast(network, task.recipe.precision).eval(), None)
    write_model(job.folder, longer, range(model.layered.depth), trained, task.open)
