"""The stages that turn final models into bundles, and what measures each as strictly as a model."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from lwa_core.pipeline.graph import Job, Stage
from lwa_core.pipeline.keys import component_facts
from lwa_core.pipeline.models import FACTS, StoredModel
from lwa_core.pipeline.stages.students import Tier
from lwa_core.pipeline.task import Task
from lwa_core.recipe.recipe import Use
from lwa_core.store.files import read_json, write_json

if TYPE_CHECKING:
    from lwa_core.measuring.performance import Timed
    from lwa_core.runtime.served import Served

VERSION = 1
BUNDLE = "bundle"


@attrs.frozen(eq=False, slots=False)
class StoredBundle:
    """A bundle that a stage left."""

    folder: Path

    @property
    def path(self) -> Path:
        """The folder of the bundle itself."""
        return self.folder / BUNDLE

    @cached_property
    def facts(self) -> dict[str, Any]:
        """What the stage wrote down: layers and depth of the model, formats, how its answers stand to the model's."""
        return dict(read_json(self.folder / FACTS))

    def open(self, threads: int = 1) -> Served:
        """It, ready to answer."""
        from lwa_core.runtime.served import open_bundle

        return open_bundle(self.path, threads=threads)


@attrs.frozen(eq=False)
class Exported:
    """A bundle, what measures it, the model that it is made of, and the number of its tier; None for the teacher."""

    bundle: Stage[StoredBundle]
    quality: Stage[Any] | None
    model: Stage[StoredModel]
    tier: int | None


def exports_of(task: Task, data: Stage[Any], teacher: Stage[StoredModel], tiers: Sequence[Tier]) -> list[Exported]:
    """Every export that the recipe asks for, of what the last step left of each tier; of the teacher without a step."""
    finals: list[tuple[Stage[StoredModel], int | None]] = [
        (tier.models[-1], number) for number, tier in enumerate(tiers) if tier.models
    ]
    made = []
    for model, tier in finals or [(teacher, None)]:
        for use in task.recipe.export:
            bundle = export_stage(task, use, data, model)
            made.append(Exported(bundle, task.quality(f"rank {bundle.name}", data, bundle), model, tier))
    return made


def export_stage(task: Task, use: Use, data: Stage[Any], model: Stage[StoredModel]) -> Stage[StoredBundle]:
    """One bundle. No model's name has a slash."""
    name, make, inputs = f"{model.name}/{use.name}", partial(_export, task), {"data": data, "model": model}
    return Stage(name, "bundle", VERSION, make, StoredBundle, inputs, {"seed": task.recipe.seed}, use=use)


def _export(task: Task, job: Job) -> None:
    from lwa_core.pipeline.bundles import popularity_of, write_bundle
    from lwa_core.plugins.lending.guard import lent

    use, stored = job.stage.use, job["model"]
    assert use is not None
    model: Any = stored.load()
    data = task.for_students(job["data"])  # no test target
    model.sample()  # what a model makes ready at its first call is not a change that others made
    known = {
        "key": job.stage.key,
        "exporter": component_facts(use),
        "model": {name: stored.facts[name] for name in ("layers", "depth", "parameters")},
    }
    with lent(use.who, task.recipe.seed, models={"the model": model.layered.model}):
        served, agreement = write_bundle(
            model.ranker,
            use.instance,
            job.folder / BUNDLE,
            job.report,
            known,
            popularity=popularity_of(data),
            histories=data.histories(data.validation),
        )
    described = served.described
    facts = {"weights": described.weights, "table": described.table, "quantised": described.quantised}
    write_json(
        job.folder / FACTS,
        {"layers": stored.facts["layers"], "depth": stored.facts["depth"], **facts, **attrs.asdict(agreement)},
    )


def timed(stored: StoredBundle) -> Timed:
    """A bundle as it is timed, with as many threads as torch has."""
    import torch

    from lwa_core.measuring.served import timed_bundle

    return timed_bundle(stored.open(torch.get_num_threads()))
