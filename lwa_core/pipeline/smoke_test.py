"""The smoke test: each component of a recipe is asked once, on few rows and a hardly trained model, before work begins.

The stages are those of the run itself, on an excerpt of its data and in a store of their own that goes afterwards: what
would stop the run after hours stops it in seconds, with the same words. What only shows with all rows, after training
or on the test examples stays for the run.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

import attrs

from lwa_core.errors import LwaError, StageError
from lwa_core.pipeline.events import Bus
from lwa_core.pipeline.graph import Inputs, Job, Run, Stage, all_stored, cause_of, given
from lwa_core.pipeline.keys import component_facts
from lwa_core.pipeline.models import StoredModel
from lwa_core.pipeline.stages.exports import export_stage
from lwa_core.pipeline.stages.scores import Table, combining_stage, scoring_stage
from lwa_core.pipeline.stages.selection import selection_stage
from lwa_core.pipeline.stages.students import tiers_of
from lwa_core.pipeline.task import Task
from lwa_core.recipe.recipe import Use, combined_by
from lwa_core.settings import unstructure
from lwa_core.store.results import Store
from lwa_core.training import processes
from lwa_core.types import DepthPlan, Reporter, TrainingSettings

if TYPE_CHECKING:
    from lwa_core.modeling.probing.probe import Probe
    from lwa_core.training.trainer import Trained

T = TypeVar("T")

VERSION = 1
"""Goes up when more is asked: what was found to work is then tried again."""

NAME = "smoke test"


def smoke_stage(
    task: Task, data: Stage[Any], teacher: Stage[StoredModel], selectors: Sequence[Use] | None = None
) -> Stage[None]:
    """The stage that tries every component of a recipe.

    Args:
        task: Whose recipe.
        data: Its data.
        teacher: Its full model, which is not made for this where it is trained.
        selectors: What is tried in the place of the recipe's own selector.
    """
    recipe = task.recipe
    if selectors is None:
        selectors = () if recipe.select is None else (recipe.select,)
    asked = {
        "components": [component_facts(use) for use in (*recipe.uses, *selectors)],
        "calibration": unstructure(recipe.calibration),
        "precision": recipe.precision,
        "seed": recipe.seed,
    }
    inputs = task.smoke_inputs(data, teacher)
    return Stage(NAME, NAME.replace(" ", "-"), VERSION, partial(_try, task, selectors), _nothing, inputs, asked)


def _nothing(folder: Path) -> None:
    """That it is stored says that all went well."""


def try_first(run: Run, smoke: Stage[None], following: Sequence[Stage[Any]]) -> None:
    """Carry a smoke test out, unless the store has all that is to follow. Raises StageError."""
    if processes.from_first(lambda: not all_stored(following, run.store)):
        run.path(smoke)


def _try(task: Task, selectors: Sequence[Use], job: Job) -> None:
    recipe = task.recipe
    with tempfile.TemporaryDirectory(dir=job.workspace) as scratch:
        few, whole = (partial(Trial.of, task, job, Path(scratch) / name, name == "whole") for name in ("few", "whole"))
        total = 1 + len(recipe.scorers) + len(selectors) + len(recipe.compress) + len(recipe.export)
        tried = Tried(few(), whole, job.report, total)
        tried.ask("the full model", Trial.model, from_now_on=True)
        tables: dict[str, Table] = {}
        for use in sorted(recipe.scorers, key=lambda use: use.combines):
            tables[use.name] = tried.ask(f"scorer {use.name}", partial(Trial.table, use=use, tables=tables))
        plans = [tried.ask(f"selector {use.name}", partial(Trial.plan, use=use, tables=tables)) for use in selectors]
        plan = plans[0] if plans else DepthPlan(depth := tried.few.depth, [range(0, depth, 2)])
        for step, use in enumerate(recipe.compress):
            tried.ask(f"compressor {use.name}", partial(Trial.student, plan=plan, step=step, tables=tables))
        for use in recipe.export:
            tried.ask(f"exporter {use.name}", partial(Trial.bundle, plan=plan, use=use, tables=tables))


@attrs.define(eq=False)
class Tried:
    """What is asked on few rows and items and, before anything is refused, on all that it will get in the run.

    Some components do need more than a few rows: what they say of few is no reason to stop a run.
    """

    few: Trial
    make_whole: Callable[[], Trial]
    report: Reporter
    total: int
    whole: Trial | None = None
    asked: int = 0

    def ask(self, what: str, question: Callable[[Trial], T], *, from_now_on: bool = False) -> T:
        """The answer. With `from_now_on`, where it takes more than few rows, so does all that follows."""
        self.report.progress(self.asked, self.total, what)
        self.asked += 1
        try:
            return question(self.few)
        except LwaError:
            self.whole = self.whole or self.make_whole()
            answer = question(self.whole)
            self.few = self.whole if from_now_on else self.few
            return answer


@attrs.frozen(eq=False)
class Trial:
    """The stages of a recipe on an excerpt of its data, in a store of their own."""

    task: Task
    run: Run
    data: Stage[Any]
    teacher: Stage[StoredModel]

    @classmethod
    def of(cls, task: Task, job: Job, folder: Path, whole: bool) -> Trial:
        silent = Bus(job.run.bus.registry, job.run.bus.run, silent=True)
        data = given("data", task.excerpt(job["data"], whole))
        teacher = task.smoke_teacher(data, job)
        return cls(cast(Task, HardlyTrained(task)), TrialRun(task.recipe, Store(folder), silent), data, teacher)

    @property
    def depth(self) -> int:
        """How many layers the full model has."""
        return self.run.value(self.teacher).live.layered.depth

    def model(self) -> None:
        """Make, save and load the full model, and see what its answers depend on."""

        def check(job: Job) -> None:
            self.task.assert_sound(job["data"], job["teacher"].live)

        inputs: Inputs = {"data": self.data, "teacher": self.teacher}
        self.run.path(Stage("soundness", "soundness", VERSION, check, _nothing, inputs, use=self.teacher.use))

    def table(self, use: Use, tables: Mapping[str, Table]) -> Table:
        """What a scorer answers; one that combines gets the tables of before."""
        if use.combines:
            parts = [_known(part, tables) for part in combined_by(use, self.task.recipe.scorers)]
            return self.run.value(combining_stage(self.task, use, parts))
        return self.run.value(scoring_stage(self.task, use, self.data, self.teacher, []))

    def plan(self, use: Use, tables: Mapping[str, Table]) -> DepthPlan:
        """What a selector chooses."""
        stage = selection_stage(self.task, self.data, self.teacher, self._scores(tables))
        return self.run.value(attrs.evolve(stage, use=use)).plan

    def student(self, plan: DepthPlan, step: int, tables: Mapping[str, Table]) -> None:
        """Carry a compression step out on the smallest tier, after those before it; save and load what it leaves."""
        self.run.path(self._smallest(plan, tables)[step])

    def bundle(self, plan: DepthPlan, use: Use, tables: Mapping[str, Table]) -> None:
        """Write what the last step leaves of the smallest tier as a bundle, and compare what both answer."""
        model = [self.teacher, *self._smallest(plan, tables)][-1]
        self.run.path(export_stage(self.task, use, self.data, model))

    def _scores(self, tables: Mapping[str, Table]) -> tuple[Stage[Table], ...]:
        return tuple(_known(scorer, tables) for scorer in self.task.recipe.scorers)

    def _smallest(self, plan: DepthPlan, tables: Mapping[str, Table]) -> Sequence[Stage[StoredModel]]:
        """The models that the steps make of the smallest tier."""
        smallest = attrs.evolve(plan, tiers=[min(plan.tiers, key=len)])
        (tier,) = tiers_of(self.task, self.data, self.teacher, smallest, self._scores(tables))
        return tier.models


def _known(use: Use, tables: Mapping[str, Table]) -> Stage[Table]:
    """A scorer's stage, as its table of before."""
    return attrs.evolve(given(f"score {use.name}", tables[use.name]), use=use)


class TrialRun(Run):
    """A run whose failures are those of a smoke test."""

    def _failure(self, stage: Stage[Any], error: BaseException) -> StageError:
        what, hint = cause_of(error)
        use = stage.use
        if use is not None and str(use.offer.provider) not in what:
            what = f"{use.kind} '{use.component}' of {use.offer.provider}: {what}"
        rest = "nothing was trained or scored yet: few rows and a hardly trained model showed it"
        failure = StageError(f"smoke test{self.recipe.place(use)}: {what}", f"{hint}; {rest}" if hint else rest)
        if isinstance(error, LwaError):
            failure.exit_code = error.exit_code
        return failure


@attrs.frozen(eq=False)
class HardlyTrained:
    """A task whose training ends after an epoch, and whose probe spares passes."""

    task: Task

    def __getattr__(self, name: str) -> Any:
        return getattr(self.task, name)

    @property
    def probe_class(self) -> type[Probe]:
        from lwa_core.modeling.probing.sparing_probe import SparingProbe

        return SparingProbe

    def train(self, data: Any, model: Any, subject: Any, loss: Any, settings: TrainingSettings, *how: Any) -> Trained:
        once = attrs.evolve(settings, epochs=min(settings.epochs, 1))
        return self.task.train(data, model, subject, loss, once, *how)
