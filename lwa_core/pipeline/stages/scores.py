"""The stages that score the layers, one for each scorer; those that combine others come after them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import attrs

from lwa_core.pipeline.answers import answers_key, stored_answers
from lwa_core.pipeline.graph import Job, Stage
from lwa_core.pipeline.models import StoredModel
from lwa_core.pipeline.scoring import (
    combined_scores,
    is_observing,
    observed_scores,
    queried_scores,
    read_scores,
    write_scores,
)
from lwa_core.pipeline.task import Task, make_probe
from lwa_core.recipe.recipe import Use, combined_by
from lwa_core.settings import unstructure
from lwa_core.store.files import write_json
from lwa_core.types import LayerScores, ScoreBoard

VERSION = 3

NAMED = "of"
"""The input of a stage that holds the scores which its component names."""

ALL_ASKED = "asked.json"
"""Lies with the result of a stage that asked for every subset of the layers."""


@attrs.frozen(eq=False)
class Table:
    """What a scorer's stage left, and whether it asked for every subset of the layers."""

    scores: LayerScores
    asked_all: bool


def score_stages(task: Task, data: Stage[Any], teacher: Stage[StoredModel]) -> tuple[Stage[Table], ...]:
    """A stage for each scorer of the recipe."""
    recipe = task.recipe
    made: dict[str, Stage[Table]] = {}
    observing: list[Stage[Table]] = []
    for use in sorted(recipe.scorers, key=lambda use: use.combines):
        if use.combines:
            made[use.name] = combining_stage(task, use, [made[part.name] for part in combined_by(use, recipe.scorers)])
        else:
            made[use.name] = scoring_stage(task, use, data, teacher, observing)
    return tuple(made.values())


def scoring_stage(
    task: Task, use: Use, data: Stage[Any], teacher: Stage[StoredModel], observing: list[Stage[Table]]
) -> Stage[Table]:
    """The stage of a scorer that looks at the model; `observing` gathers those that share one pass."""
    recipe = task.recipe
    asked = {"calibration": unstructure(recipe.calibration), "ranked": task.ranked, "seed": recipe.seed}
    inputs = {"data": data, "teacher": teacher}
    make, read = partial(_score, task, observing), partial(_read, use.name)
    stage = Stage(f"score {use.name}", "scores", VERSION, make, read, inputs, asked, use=use)
    if is_observing(use):
        observing.append(stage)
    return stage


def combining_stage(task: Task, use: Use, parts: Sequence[Stage[Table]]) -> Stage[Table]:
    """The stage of a scorer that makes its table out of those of others."""
    inputs = {NAMED: tuple(parts)}
    make = partial(_combine, task.recipe.seed)
    return Stage(f"score {use.name}", "scores", VERSION, make, partial(_read, use.name), inputs, use=use)


def board_of(uses: Sequence[Use], tables: Sequence[Table]) -> ScoreBoard:
    """The scores of several scorers."""
    scores = {use.name: table.scores for use, table in zip(uses, tables, strict=True)}
    baselines = frozenset(use.name for use in uses if use.baseline)
    return ScoreBoard(scores, baselines, frozenset(use.name for use in uses if use.combines))


def named_scores(job: Job) -> ScoreBoard:
    """The scores that a job's component names; none where it names none."""
    parts = job.stage.inputs.get(NAMED, ())
    assert isinstance(parts, tuple)
    uses = [stage.use for stage in parts if stage.use is not None]
    return board_of(uses, job[NAMED] if parts else ())


def _score(task: Task, observing: Sequence[Stage[Table]], job: Job) -> None:
    use = job.stage.use
    assert use is not None
    teacher: StoredModel = job["teacher"]
    answers = stored_answers(job.run.store, answers_key(task, job.stage.inputs["teacher"]))  # type: ignore[arg-type]
    probe = make_probe(task, job["data"], teacher.live, job.report, answers)
    if is_observing(use):
        observed: dict[str, Any] = job.run.shared.setdefault("observed", {})
        if use.name not in observed:
            missing = [stage.use for stage in observing if not job.run.is_stored(stage)]
            observed.update(observed_scores([use for use in missing if use is not None], probe, job.report))
        scored = observed[use.name]
    else:
        scored = queried_scores(use, probe)
        note_all_asked(job.folder, probe.asked_all)
    scores = task.by_unit(job["data"], teacher.live, scored.scores)
    write_scores(job.folder, attrs.evolve(scored, scores=scores))


def _combine(seed: int, job: Job) -> None:
    use = job.stage.use
    assert use is not None
    write_scores(job.folder, combined_scores(use, named_scores(job), seed))


def _read(name: str, folder: Path) -> Table:
    return Table(read_scores(name, folder), all_asked(folder))


def note_all_asked(folder: Path, asked_all: bool) -> None:
    """Write down with a stage's result that it asked for every subset of the layers, if it did."""
    if asked_all:
        write_json(folder / ALL_ASKED, {"all_subsets": True})


def all_asked(folder: Path) -> bool:
    """Whether the stage of this result asked for every subset of the layers."""
    return (folder / ALL_ASKED).is_file()
