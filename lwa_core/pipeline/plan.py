"""A recipe as a graph of stages. Which there are after the selection is known once the layers are chosen."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import attrs

from lwa_core.pipeline.graph import Stage, ValueOf
from lwa_core.pipeline.models import StoredModel
from lwa_core.pipeline.smoke_test import smoke_stage
from lwa_core.pipeline.stages.control import Control, controls_of
from lwa_core.pipeline.stages.exports import Exported, exports_of
from lwa_core.pipeline.stages.optimality import optimality_stage
from lwa_core.pipeline.stages.other_sets import MeasuredSet, qualities_of, sets_of
from lwa_core.pipeline.stages.performance import configurations_stage, performance_stage
from lwa_core.pipeline.stages.scores import Table, score_stages
from lwa_core.pipeline.stages.selection import Selected, selection_stage
from lwa_core.pipeline.stages.students import Tier, tiers_of
from lwa_core.pipeline.task import Task
from lwa_core.recipe.recipe import Recipe, Use
from lwa_core.types import DepthPlan

CONTROL: tuple[str, Use | None] = ("teacher trained as long as the students", None)


@attrs.frozen(eq=False)
class Plan:
    """The stages of a recipe, by what they are.

    Args:
        task: Whose stages they are.
        data: Prepares the data.
        refitted: The data and the full model that are measured, where these are not the ones that choices are made on.
        smoke: Tries every component on a few rows, before the rest is made.
        teacher: Trains or loads the full model.
        quality: Measures it, where something is held out for that.
        baselines: Measures what needs no layers, where the task has such.
        scores: One for each scorer.
        select: Chooses the layers, where the recipe has a selector.
    """

    task: Task
    data: Stage[Any]
    smoke: Stage[None]
    teacher: Stage[StoredModel]
    quality: Stage[Any] | None
    baselines: Stage[Any] | None
    scores: tuple[Stage[Table], ...]
    select: Stage[Selected] | None
    refitted: tuple[Stage[Any], Stage[StoredModel]] | None = None

    @property
    def measured(self) -> tuple[Stage[Any], Stage[StoredModel]]:
        """The data and the full model that stand in the results."""
        return self.refitted or (self.data, self.teacher)

    @property
    def recipe(self) -> Recipe:
        return self.task.recipe

    @property
    def stages(self) -> list[Stage[Any]]:
        """Everything that the recipe asks for, without the smoke test; the selection expands into the rest."""
        tuned = [] if self.baselines is None else self.baselines.before  # such as what chooses their settings
        first = [self.data, self.teacher, *(self.refitted or ()), self.quality, *tuned, self.baselines]
        found = [stage for stage in (*first, *self.scores, self.select) if stage is not None]
        known = list({stage.key: stage for stage in found}.values())
        return known if self.select is not None else [*known, *self.last([])]

    def tiers(self, plan: DepthPlan) -> list[Tier]:
        """The students that follow from the chosen layers."""
        return tiers_of(self.task, self.data, self.teacher, plan, self.scores, self.refitted)

    def other_sets(self, plan: DepthPlan) -> list[MeasuredSet]:
        """The chosen layers and others of their number, as cut, where the recipe makes students."""
        return sets_of(self.task, *self.measured, plan) if self.recipe.compress else []

    def optimality(self, plan: DepthPlan) -> Stage[Any]:
        """The comparison of the chosen layers with all subsets."""
        return optimality_stage(self.task, self.data, self.teacher, plan)

    def performance(self, tiers: Sequence[Tier]) -> Stage[dict[str, Any]]:
        """Time and memory of the teacher, all students and all bundles."""
        return performance_stage(self.task, self.measured[0], self._timed(tiers))

    def configurations(self, tiers: Sequence[Tier]) -> list[Stage[dict[str, Any]]]:
        """What each of them takes in fresh processes: one stage for each number of threads that a profile allows."""
        threads = sorted({profile.limits.threads for profile in self.recipe.profiles})
        return [configurations_stage(self.task, self.measured[0], self._timed(tiers), count) for count in threads]

    def _timed(self, tiers: Sequence[Tier]) -> list[Stage[Any]]:
        models = [model for tier in tiers for model in tier.models]
        return [self.measured[1], *models, *(each.bundle for each in self.exports(tiers))]

    def exports(self, tiers: Sequence[Tier]) -> list[Exported]:
        """The bundles that the recipe asks for."""
        return exports_of(self.task, *self.measured, tiers)

    def last(self, tiers: Sequence[Tier]) -> list[Stage[Any]]:
        """What comes when all models are there: bundles, their quality, time and memory."""
        exports = self.exports(tiers)
        bundles = [each.bundle for each in exports]
        ranked = [each.quality for each in exports if each.quality is not None]
        return [*bundles, *ranked, self.performance(tiers), *self.configurations(tiers)]

    def controls(self, tiers: Sequence[Tier], value_of: ValueOf) -> list[Control]:
        """The teacher trained as long as the students were, where the recipe asks for that."""
        if not self.recipe.measurement.control:
            return []
        return controls_of(self.task, *self.measured, tiers, lambda model: value_of(model).healing)

    def after(self, selected: Selected, compared: bool) -> list[Stage[Any]]:
        """What follows from a selection; `compared`: a stage of this run asked for every subset of the layers."""
        tiers = self.tiers(selected.plan)
        made: list[Stage[Any]] = [self.optimality(selected.plan)] if compared else []
        made += [model for tier in tiers for model in tier.models]
        made += [quality for tier in tiers for quality in tier.qualities]
        made += qualities_of(self.other_sets(selected.plan))
        last = self.last(tiers)
        if self.recipe.measurement.control and self.recipe.compress:
            # How long a student was trained is known once it is there, and the last stage comes after all of them.
            expand = partial(self._controls_after, tiers)
            last[-1] = attrs.evolve(last[-1], expand=expand, promises=[CONTROL])
        return [*made, *last]

    def _controls_after(self, tiers: Sequence[Tier], _: Any, value_of: ValueOf) -> list[Stage[Any]]:
        controls = self.controls(tiers, value_of)
        return [stage for control in controls for stage in (control.model, control.quality)]


def make_plan(recipe: Recipe, *, refit: bool = True) -> Plan:
    """The stages of a recipe. Reads the files that it names, for their digests. Raises DataError.

    Without `refit` nothing is trained anew, even if the recipe asks for it: what is measured is what was chosen on.
    """
    task = task_of(recipe)
    data = task.data()
    teacher = task.teacher(data)
    scores = score_stages(task, data, teacher)
    select = None if recipe.select is None else selection_stage(task, data, teacher, scores)
    refitted = task.refitted(teacher) if refit else None
    data_measured, teacher_measured = refitted or (data, teacher)
    quality = task.quality("rank teacher", data_measured, teacher_measured)
    baselines = task.baselines(data_measured, teacher_measured, data)
    smoke = smoke_stage(task, data, teacher)
    if refitted is not None:
        teacher = attrs.evolve(teacher, name="teacher, tuned")
    plan = Plan(task, data, smoke, teacher, quality, baselines, scores, select, refitted)
    if select is None:
        return plan
    promises: list[tuple[str, Use | None]] = [(f"{use.name}, each tier", use) for use in recipe.compress]
    if recipe.compress:
        promises.append(("rank students", None))
        if recipe.measurement.random_sets:
            promises.append(("rank evenly spaced and random layers, as cut", None))
    if recipe.export:
        promises += [(f"{use.name}, each tier", use) for use in recipe.export]
        promises.append(("rank exports", None))
    promises.append(("measure time and memory", None))
    if recipe.profiles:
        promises.append(("measure configurations for profiles", None))
    if recipe.compress and recipe.measurement.control:
        promises.append(CONTROL)
    return attrs.evolve(plan, select=attrs.evolve(select, expand=partial(_expand, plan), promises=promises))


def _expand(plan: Plan, selected: Selected, value_of: ValueOf) -> list[Stage[Any]]:
    return plan.after(selected, selected.asked_all or any(value_of(stage).asked_all for stage in plan.scores))


def task_of(recipe: Recipe) -> Task:
    """The task that a recipe names."""
    if recipe.task == "text":
        from lwa_core.pipeline.text_task import TextTask

        return TextTask(recipe)
    from lwa_core.pipeline.recommendation_task import RecommendationTask

    return RecommendationTask(recipe)
