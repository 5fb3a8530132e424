"""The stage that chooses the layers that stay."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from lwa_core.errors import LwaError
from lwa_core.pipeline.answers import answers_key, stored_answers
from lwa_core.pipeline.graph import Inputs, Job, Stage
from lwa_core.pipeline.models import LiveModel, StoredModel
from lwa_core.pipeline.scoring import board_arrays
from lwa_core.pipeline.stages.scores import Table, all_asked, board_of, note_all_asked
from lwa_core.pipeline.task import Task, make_probe
from lwa_core.plugins.protocols import Selector
from lwa_core.plugins.returned import checked_plan, keep_of
from lwa_core.settings import unstructure
from lwa_core.store.files import read_json, write_json
from lwa_core.types import DepthPlan, LayerCosts, ScoreBoard

if TYPE_CHECKING:
    from lwa_core.modeling.probing.probe import Probe
    from lwa_core.modeling.probing.subset_answers import SubsetAnswers

VERSION = 3


@attrs.frozen
class Selected:
    """The chosen layers, and whether the selector asked for every subset of the layers."""

    plan: DepthPlan
    asked_all: bool


def selection_stage(
    task: Task, data: Stage[Any], teacher: Stage[StoredModel], scores: tuple[Stage[Table], ...]
) -> Stage[Selected]:
    """The stage of the recipe's selector."""
    recipe = task.recipe
    ordered = {stage.use.name: stage for stage in scores if stage.use is not None}
    inputs: Inputs = {"data": data, "teacher": teacher, "scores": tuple(ordered[use.name] for use in recipe.scorers)}
    asked = {"calibration": unstructure(recipe.calibration), "ranked": task.ranked, "seed": recipe.seed}
    return Stage(
        "select", "selection", VERSION, partial(_select, task), read_selection, inputs, asked, use=recipe.select
    )


def _select(task: Task, job: Job) -> None:
    use = job.stage.use
    assert use is not None
    teacher: StoredModel = job["teacher"]
    stage: Any = job.stage.inputs["teacher"]
    answers = stored_answers(job.run.store, answers_key(task, stage))
    # What the selector can reach holds no job, which leads to all of the run, and no other part of the data.
    data, live, report = task.for_selection(job["data"]), teacher.live, job.report
    selection = TeacherSelection(
        depth=teacher.live.layered.depth,
        seed=task.recipe.seed,
        board=board_of(task.recipe.scorers, job["scores"]),
        make_probe=lambda: make_probe(task, data, live, report, answers),
    )
    live.sample()
    plan = selected(use.who, use.instance, selection, live, answers)
    write_json(job.folder / "plan.json", attrs.asdict(plan))
    note_all_asked(job.folder, selection.asked_all)


def selected(
    who: str, selector: Selector, selection: TeacherSelection, teacher: LiveModel, answers: SubsetAnswers
) -> DepthPlan:
    """What a selector chooses.

    Args:
        who: The selector and its provider, for messages.
        selector: The selector.
        selection: What it is lent.
        teacher: The model behind that; asked before, since what a model makes ready at its first call is not a change
            that others made.
        answers: Where the selection's probe remembers answers: only while the model is as it was.

    Raises:
        PluginError: It gives no plan, or another than it was asked for, or changed what it was lent.
    """
    from lwa_core.plugins.lending.guard import lent

    models = {"the teacher": teacher.layered.model}
    with lent(who, selection.seed, models=models, arrays=board_arrays(selection.board)) as loan:
        answers.allow = loan.check_answers
        plan: Any = selector.select(selection)
    answers.allow = None
    return checked_plan(who, plan, selection.depth, keep_of(selector))


def read_selection(folder: Path) -> Selected:
    """What a selection stage stored."""
    return Selected(DepthPlan(**read_json(folder / "plan.json")), all_asked(folder))


@attrs.define
class TeacherSelection:
    """What a selector may look at: the scores, and the teacher on calibration examples."""

    depth: int
    seed: int
    board: ScoreBoard
    make_probe: Callable[[], Probe]
    _probe: Probe | None = None
    _costs: dict[str, LayerCosts] = attrs.field(factory=dict)

    @property
    def probe(self) -> Probe:
        if self._probe is None:
            self._probe = self.make_probe()
        return self._probe

    def counts(self, keep: int | Sequence[int]) -> list[int]:
        counts = [keep] if isinstance(keep, int) else list(keep)
        for count in counts:
            if count > self.depth:
                raise LwaError(f"cannot keep {count} of {self.depth} layers", "lower select.keep or raise the depth")
        return counts

    def costs(self, kind: str) -> LayerCosts:
        from lwa_core.measuring.layer_costs import measure_costs

        if kind not in self._costs:
            self._costs[kind] = measure_costs(self.probe, kind)
        return self._costs[kind]

    @property
    def asked_all(self) -> bool:
        """Whether the selector asked for every subset of the layers."""
        return self._probe is not None and self._probe.asked_all
