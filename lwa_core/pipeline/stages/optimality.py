"""The stage that sets the chosen layers beside all subsets, in a run that asked for all of them."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lwa_core.pipeline.answers import answers_key, stored_answers
from lwa_core.pipeline.graph import Job, Stage
from lwa_core.pipeline.models import StoredModel
from lwa_core.pipeline.task import Task, make_probe
from lwa_core.settings import unstructure
from lwa_core.store.files import read_json, write_json
from lwa_core.types import DepthPlan

if TYPE_CHECKING:
    from lwa_core.results.schema import Optimality

VERSION = 3
FILE = "optimality.json"


def optimality_stage(
    task: Task, data: Stage[Any], teacher: Stage[StoredModel], plan: DepthPlan
) -> Stage[Optimality | None]:
    """Keyed by the layers, not by how they were chosen: two selections of the same layers share the comparison."""
    recipe = task.recipe
    asked = {
        "calibration": unstructure(recipe.calibration),
        "ranked": task.ranked,
        "confidence": recipe.measurement.confidence,
        "seed": recipe.seed,
        "tiers": [list(tier) for tier in plan.tiers],
    }
    inputs = {"data": data, "teacher": teacher}
    make = partial(_compare, task, plan)
    return Stage("compare with all subsets", "optimality", VERSION, make, _read, inputs, asked)


def _compare(task: Task, plan: DepthPlan, job: Job) -> None:
    from lwa_core.results.as_json import to_json
    from lwa_core.results.optimality import optimality_of

    recipe = task.recipe
    stage: Any = job.stage.inputs["teacher"]
    answers = stored_answers(job.run.store, answers_key(task, stage))
    probe = make_probe(task, job["data"], job["teacher"].live, job.report, answers)
    table = probe.evaluate(probe.subsets())
    if lost := int(np.isinf(table).any(axis=1).sum()):
        said = (
            f"{lost} of {len(table)} sets of layers give answers that are not finite: none is compared with the others"
        )
        job.report.warn("sets-not-compared", said)
        write_json(job.folder / FILE, None)
        return
    found = optimality_of(
        table,
        plan.tiers,
        utility=probe.utility,
        confidence=recipe.measurement.confidence,
        seed=recipe.seed,
    )
    write_json(job.folder / FILE, None if found is None else to_json(found))


def _read(folder: Path) -> Optimality | None:
    from lwa_core.results.as_json import from_json
    from lwa_core.results.schema import Optimality

    told = read_json(folder / FILE)
    return None if told is None else from_json(told, Optimality)
