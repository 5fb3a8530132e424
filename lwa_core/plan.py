"""Recipe + store -> the stages of a run, each with its key, and whether its result is there already.

A key is the sha256 of all that the result depends on: the component and its version, its settings, the keys of the
stages before it, the contents of the files it reads, the seed. Keys are known before anything runs, but for what comes
after the selection: those stages depend on the layers that it chooses.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs

from lwa_core.data.timed import asks_for_times
from lwa_core.needs import cpu_name, has_cuda
from lwa_core.recipe import Recipe, Use, combined_by
from lwa_core.settings import fields, unstructure
from lwa_core.store import Store, digest, file_digest, read_json
from lwa_core.types import DepthPlan

ANSWERS_VERSION = 1
"""Goes up when the same question gets another answer."""

ALL_ASKED = "asked.json"
"""Lies with the result of a stage that asked for every subset of the layers."""

OPTIMALITY_VERSION = 1
"""Goes up when the same answers give other figures."""


@attrs.frozen
class Stage:
    """One step of a run whose result the store holds under `kind` and `key`."""

    name: str
    kind: str
    key: str
    use: Use | None = None


@attrs.frozen
class Tier:
    """The stages of one student: a compression step and the ranking of what it made, step by step."""

    layers: tuple[int, ...]
    models: tuple[Stage, ...]
    rankings: tuple[Stage, ...]


@attrs.frozen
class Plan:
    """The stages of a run in the order in which they run."""

    data: Stage
    teacher: Stage
    scores: tuple[Stage, ...]
    select: Stage
    rankings: tuple[Stage, ...]
    recipe: Recipe

    @property
    def answers(self) -> str:
        """Key of what is asked of the teacher with layers left out, whoever asks it."""
        asked = {name: value for name, value in unstructure(self.recipe.calibration).items() if name != "utility"}
        return digest(["answers", ANSWERS_VERSION, self.teacher.key, self.recipe.seed, asked])

    @property
    def known(self) -> tuple[Stage, ...]:
        """The stages whose keys do not depend on the selection."""
        return (self.data, self.teacher, *self.scores, self.select, *self.rankings)

    def tiers(self, plan: DepthPlan) -> list[Tier]:
        """The stages that follow from the chosen layers."""
        return [self._tier(layers, number, plan) for number, layers in enumerate(plan.tiers)]

    def _tier(self, layers: tuple[int, ...], number: int, plan: DepthPlan) -> Tier:
        models, upstream = [], self.teacher.key
        for use in self.recipe.compress:
            # By the layers, not by how they were chosen: two selections of the same layers share their students.
            upstream = key_of(
                "model", self.recipe, use, teacher=self.teacher.key, student=upstream, layers=list(layers)
            )
            models.append(Stage(student_name(use.name, layers, number, plan), "model", upstream, use))
        return Tier(layers, tuple(models), tuple(ranking_stage(self.recipe, self.data, m) for m in models))

    def optimality(self, plan: DepthPlan) -> Stage:
        """The stage that sets the chosen layers beside all subsets, in a run that asked for all of them."""
        evaluate = self.recipe.evaluate
        how = [self.recipe.calibration.utility, evaluate.bootstrap, evaluate.confidence]
        tiers = [list(tier) for tier in plan.tiers]
        key = digest(["optimality", OPTIMALITY_VERSION, self.answers, how, tiers])
        return Stage("compare with all subsets", "optimality", key)

    def performance(self, models: Sequence[Stage]) -> Stage:
        """The stage that measures time and memory of all models, on this machine."""
        evaluate = self.recipe.evaluate
        asked = {"requests": evaluate.requests, "batch": evaluate.batch, "memory": evaluate.memory}
        machine = [platform.platform(), cpu_name(), os.cpu_count(), has_cuda()]
        parts = {"models": [[m.name, m.key] for m in models], "asked": asked, "machine": machine}
        return Stage("measure time and memory", "performance", digest({"kind": "performance", **parts}))


def make_plan(recipe: Recipe) -> Plan:
    """The stages of a recipe. Reads the files that the recipe names, for their digests. Raises DataError."""
    seed = recipe.seed
    data = Stage(
        "data",
        "data",
        key_of(
            "data",
            recipe,
            recipe.data,
            contents=[file_digest(path) for path in recipe.data.instance.files()],
            filter=unstructure(recipe.filter),
            split=unstructure(recipe.split),
            **({"times": True} if asks_for_times(recipe.recommender.instance) else {}),
        ),
        recipe.data,
    )
    teacher = Stage(
        "teacher",
        "model",
        key_of(
            "model",
            recipe,
            recipe.recommender,
            data=data.key,
            filter_seen=recipe.evaluate.filter_seen,
            **_read_by(recipe.recommender.instance),
        ),
        recipe.recommender,
    )
    calibration = unstructure(recipe.calibration)
    scores = _score_stages(recipe, teacher=teacher.key, asked=calibration)
    keys = {stage.use.name: stage.key for stage in scores if stage.use is not None}
    board = [[use.name, keys[use.name]] for use in recipe.scorers]
    select = Stage(
        "select",
        "selection",
        key_of("selection", recipe, recipe.select, teacher=teacher.key, scores=board, asked=calibration),
        recipe.select,
    )
    yardsticks = Stage("rank yardsticks", "yardsticks", digest(["yardsticks", data.key, _ranking(recipe), seed]))
    return Plan(data, teacher, scores, select, (ranking_stage(recipe, data, teacher), yardsticks), recipe)


def _read_by(recommender: Any) -> dict[str, Any]:
    """What a key holds of the files that a recommender says that it reads, if it reads any."""
    files = recommender.files() if hasattr(recommender, "files") else ()
    return {"contents": [file_digest(path) for path in files]} if files else {}


def _score_stages(recipe: Recipe, **upstream: Any) -> tuple[Stage, ...]:
    """A stage for each scorer; those that combine come last and depend on the stages of what they combine."""
    keys: dict[str, str] = {}
    stages = []
    for use in sorted(recipe.scorers, key=lambda use: use.combines):
        if use.combines:
            parts = [[part.name, keys[part.name]] for part in combined_by(use, recipe.scorers)]
            keys[use.name] = key_of("scores", recipe, use, of=parts)
        else:
            keys[use.name] = key_of("scores", recipe, use, **upstream)
        stages.append(Stage(f"score {use.name}", "scores", keys[use.name], use))
    return tuple(stages)


def stored_selection(plan: Plan, store: Store) -> DepthPlan | None:
    """The selection, if the store has it."""
    if not store.has(plan.select.kind, plan.select.key):
        return None
    return read_selection(store.path(plan.select.kind, plan.select.key))


def read_selection(folder: Path) -> DepthPlan:
    """The depth plan that a selection stage stored."""
    return DepthPlan(**read_json(folder / "plan.json"))


def all_asked(folders: Sequence[Path]) -> bool:
    """Whether the stage of one of these results asked for every subset of the layers."""
    return any((folder / ALL_ASKED).is_file() for folder in folders)


def ranking_stage(recipe: Recipe, data: Stage, model: Stage) -> Stage:
    """The stage that ranks the test examples with one model."""
    return Stage(f"rank {model.name}", "ranking", digest(["ranking", model.key, data.key, _ranking(recipe)]))


def _ranking(recipe: Recipe) -> list[Any]:
    return [recipe.evaluate.filter_seen, max(recipe.evaluate.k)]


def student_name(step: str, layers: Sequence[int], number: int, plan: DepthPlan) -> str:
    """`drop-4`; where two tiers keep as many layers, `drop-4-b` for the second."""
    twins = [tier for tier in plan.tiers[:number] if len(tier) == len(layers)]
    return f"{step}-{len(layers)}" + (f"-{chr(ord('a') + len(twins))}" if twins else "")


def key_of(kind: str, recipe: Recipe, use: Use, **upstream: Any) -> str:
    """Key of a stage that runs a component."""
    return digest(
        {
            "kind": kind,
            "component": use.component,
            "version": use.offer.component.version,
            "provider": [use.offer.provider.distribution, use.offer.provider.digest],
            "settings": _contents(use),
            "seed": recipe.seed,
            **upstream,
        }
    )


def _contents(use: Use) -> Mapping[str, Any]:
    """Settings, with the digest of its contents in the place of each path, so that moved data keeps its results.

    A dataset's files are digested through `files()` instead.
    """
    named = {field.name for field in fields(type(use.instance)) if field.about is not None and field.about.path}
    settings = {name: value for name, value in use.settings.items() if name not in named}
    if use.kind != "dataset":
        for name in named & {name for name, value in use.settings.items() if value}:
            settings[name] = _path_digests(getattr(use.instance, name))
    return settings


def _path_digests(value: Any) -> Any:
    """The digest of a path, or of each path of a list."""
    return [_path_digests(each) for each in value] if isinstance(value, (list, tuple)) else _path_digest(Path(value))


def _path_digest(path: Path) -> str | dict[str, str]:
    if path.is_dir():
        files = sorted(p for p in path.rglob("*") if p.is_file())
        return {p.relative_to(path).as_posix(): file_digest(p) for p in files}
    return file_digest(path) if path.is_file() else "missing"
