"""The stages that make the smaller models: for each tier of the selection one step after the other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from lwa_core.errors import ModelError
from lwa_core.modeling.probing.subject import named_blocks
from lwa_core.pipeline.graph import Job, Stage
from lwa_core.pipeline.models import Healing, LiveModel, StoredModel, write_model
from lwa_core.pipeline.scoring import board_arrays
from lwa_core.pipeline.stages.scores import NAMED, Table, named_scores
from lwa_core.pipeline.task import Task
from lwa_core.plugins.protocols import Restoring, TrainableSubject
from lwa_core.recipe.recipe import Use, named_by
from lwa_core.types import Batch, DepthPlan, History, Reporter, ScoreBoard, TrainingSettings

if TYPE_CHECKING:
    import torch

    from lwa_core.modeling.layers.layered import LayeredModel
    from lwa_core.training.trainer import Trained

VERSION = 4


@attrs.frozen(eq=False)
class Tier:
    """One student: the kept layers, the models that the steps make of it, and what measures each."""

    layers: tuple[int, ...]
    models: tuple[Stage[StoredModel], ...]
    qualities: tuple[Stage[Any], ...]


def tiers_of(
    task: Task,
    data: Stage[Any],
    teacher: Stage[StoredModel],
    plan: DepthPlan,
    scores: Sequence[Stage[Table]],
    refitted: tuple[Stage[Any], Stage[StoredModel]] | None = None,
) -> list[Tier]:
    """The stages that follow from the chosen layers; `scores` are those of the recipe's scorers.

    With `refitted` data and teacher each student is made twice: first as without, for how long it is to be healed, then
    of the refitted teacher, on those data and just as long. The second one counts.
    """
    made = []
    for number, layers in enumerate(plan.tiers):
        names = [student_name(use.name, layers, number, plan) for use in task.recipe.compress]
        models = _steps(task, names, layers, data, teacher, scores)
        if refitted is not None:
            models = _steps(task, names, layers, *refitted, scores, tuned=models)
        measured = [task.quality(f"rank {model.name}", refitted[0] if refitted else data, model) for model in models]
        made.append(Tier(layers, tuple(models), tuple(stage for stage in measured if stage is not None)))
    return made


def _steps(
    task: Task,
    names: Sequence[str],
    layers: tuple[int, ...],
    data: Stage[Any],
    teacher: Stage[StoredModel],
    scores: Sequence[Stage[Table]],
    tuned: Sequence[Stage[StoredModel]] = (),
) -> list[Stage[StoredModel]]:
    """The compression steps of one tier, one after the other."""
    models: list[Stage[StoredModel]] = []
    for step, (name, use) in enumerate(zip(names, task.recipe.compress, strict=True)):
        before = models[-1] if models else teacher
        first = attrs.evolve(tuned[step], name=f"{name}, tuned") if tuned else None
        models.append(student_stage(task, name, use, layers, data, teacher, before, scores, first))
    return models


def student_stage(
    task: Task,
    name: str,
    use: Use,
    layers: tuple[int, ...],
    data: Stage[Any],
    teacher: Stage[StoredModel],
    student: Stage[StoredModel],
    scores: Sequence[Stage[Table]] = (),
    tuned: Stage[StoredModel] | None = None,
) -> Stage[StoredModel]:
    """One compression step. Keyed by the layers, not by how they were chosen: two selections of the same share it.

    Of the scores it takes those that the compressor names.
    """
    named = named_by(use.instance)
    weighing = tuple(stage for stage in scores if stage.use is not None and stage.use.name in named)
    inputs: dict[str, Any] = {
        "data": data,
        "teacher": teacher,
        "student": student,
        **({} if tuned is None else {"tuned": tuned}),
        **({NAMED: weighing} if weighing else {}),
    }
    asked = {"layers": list(layers), "seed": task.recipe.seed, "precision": task.recipe.precision}
    make = partial(_compress, task, layers)
    read = partial(StoredModel, open=task.open)
    return Stage(name, "model", VERSION, make, read, inputs, asked, use=use, collective=True)


def student_name(step: str, layers: Sequence[int], number: int, plan: DepthPlan) -> str:
    """`drop-4`; where two tiers keep as many layers, `drop-4-b` for the second."""
    twins = [tier for tier in plan.tiers[:number] if len(tier) == len(layers)]
    return f"{step}-{len(layers)}" + (f"-{chr(ord('a') + len(twins))}" if twins else "")


def _compress(task: Task, layers: tuple[int, ...], job: Job) -> None:
    from lwa_core.plugins.lending.guard import lent
    from lwa_core.plugins.returned_models import checked_student

    use = job.stage.use
    assert use is not None
    data, teacher, before = job["data"], job["teacher"], job["student"].load()
    tuned: StoredModel | None = job["tuned"] if "tuned" in job.stage.inputs else None
    board = named_scores(job)
    work = Compression(
        task=task,
        data=data,
        teacher=teacher.live.layered,
        model=before,
        kept=layers,
        seed=task.recipe.seed,
        workspace=job.workspace,
        report=job.report,
        board=board,
        tuned=None if tuned is None else tuned.healing,
    )
    teacher.live.sample()  # what a model makes ready at its first call is not a change that others made
    with lent(use.who, work.seed, models={"the teacher": work.teacher.model}, arrays=board_arrays(board)):
        returned = use.instance.compress(work)
    blocks = named_blocks(before.subject)
    network = checked_student(use.who, returned, work.teacher, layers, blocks).eval()
    restorer = use if isinstance(use.instance, Restoring) else None
    student = task.with_network(before, network, restorer)
    trained = work.trained if tuned is None else tuned.trained  # what validation said of it
    write_model(job.folder, student, layers, trained, task.open, work.healing)


@attrs.define(slots=False)
class Compression:
    """What a compressor works on (the protocol is `lwa_core.plugins.protocols.CompressionJob`).

    Of the data it holds only what the making of a student may look at, whatever it was given.
    """

    _task: Task
    _data: Any
    teacher: LayeredModel
    model: LiveModel
    kept: tuple[int, ...]
    seed: int
    workspace: Path
    report: Reporter
    board: ScoreBoard = attrs.field(factory=partial(ScoreBoard, {}))
    tuned: Sequence[Healing] | None = None
    """How it was trained when validation said for how long; None: it still does."""
    trained: Trained | None = None
    healing: list[Healing] = attrs.field(factory=list)

    def __attrs_post_init__(self) -> None:
        self._data = self._task.for_students(self._data)

    @cached_property
    def student(self) -> LayeredModel:
        return self.model.layered

    @property
    def subject(self) -> TrainableSubject:
        return self.model.subject

    @cached_property
    def windows(self) -> list[History]:
        return self._task.windows(self._data, self.subject)

    def cut(self) -> LayeredModel:
        if self.student.depth == len(self.kept):
            return self.student
        return self.student.keep(self.kept)

    def train(
        self,
        model: torch.nn.Module,
        loss: Callable[[torch.nn.Module, Batch], torch.Tensor],
        settings: TrainingSettings,
    ) -> torch.nn.Module:
        from lwa_core.modeling.files.precision import cast

        if settings.epochs and not any(parameter.requires_grad for parameter in model.parameters()):
            hint = "a step that trains all weights, as `distill` does, comes before `qlora`"
            raise ModelError("no weight of the student can be trained any more", hint)
        stop = self._chosen_end() if settings.epochs else None
        cast(model, "float32")
        self.trained = self._task.train(
            self._data, model, self.subject, loss, settings, self.workspace, self.report, stop
        )
        if self.trained.history:
            self.healing.append(Healing(settings, self.trained.best_epoch))
        return cast(model, self._task.recipe.precision)

    def _chosen_end(self) -> int | None:
        """The epoch after which this training ends, where that was found out before."""
        if self.tuned is None:
            return None
        if len(self.healing) >= len(self.tuned):
            said = f"the compressor trains more often than the {len(self.tuned)} times for which validation was asked"
            raise ModelError(said, "leave `refit` out of [split], or let it train the same way each time")
        return self.tuned[len(self.healing)].best_epoch
