"""What a run folder says: read strictly, with names for what is looked up often."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar

import attrs

from lwa_core.errors import StoreError
from lwa_core.results.as_json import from_json
from lwa_core.results.figures import ASIDES
from lwa_core.results.schema import FORMAT, Figure, Latency, Memory, Metrics, ModelLatency, ModelResult, Performance
from lwa_core.results.verdict import advantage
from lwa_core.results.words import Words, words_of
from lwa_core.store.files import read_json

T = TypeVar("T")


@attrs.frozen
class Results:
    """`metrics.json` and, where it is there, `performance.json`."""

    metrics: Metrics
    performance: Performance | None = None

    @property
    def models(self) -> tuple[ModelResult, ...]:
        return self.metrics.models

    def of_kind(self, kind: Literal["teacher", "student", "control", "export", "baseline"]) -> list[ModelResult]:
        """The models of one kind."""
        return [model for model in self.models if model.kind == kind]

    @property
    def teacher(self) -> ModelResult:
        return self.of_kind("teacher")[0]

    @property
    def finals(self) -> list[ModelResult]:
        """The student that the last compression step of each tier left."""
        return list({student.tier: student for student in self.of_kind("student")}.values())

    def source(self, student: ModelResult) -> ModelResult:
        """What a student was made from: the student of the step before, or the teacher."""
        before = self.teacher
        for other in self.of_kind("student"):
            if other.name == student.name:
                break
            if other.tier == student.tier:
                before = other
        return before

    def control(self, student: ModelResult) -> tuple[ModelResult, Figure | None, Figure | None] | None:
        """The teacher trained as much longer than a student: the model, the student's advantage over it, its share."""
        held = student.control
        if held is None:
            return None
        model = next(each for each in self.models if each.name == held.name)
        ahead = advantage(held.difference.get(self.headline), self.less_is_better)
        return model, ahead, held.kept.get(self.headline)

    @property
    def control_names(self) -> list[str]:
        """The teachers that were trained as much longer as students were."""
        return [model.name for model in self.of_kind("control")]

    @property
    def uncontrolled(self) -> list[ModelResult]:
        """The healed students that no teacher trained as much longer was measured beside."""
        return [each for each in self.of_kind("student") if each.healed and each.control is None and each.metrics]

    @property
    def words(self) -> Words:
        """What things are called in sentences."""
        return words_of(self.metrics.task)

    @property
    def headline(self) -> str:
        """The metric of sentences and charts."""
        return self.metrics.headline

    @property
    def aside(self) -> str | None:
        """The headline metric where it is measured once more: on other texts, or with a model's own index."""
        names = [self.headline + after for after in ASIDES]
        return next((name for name in names if name in self.teacher.metrics), None)

    @property
    def less_is_better(self) -> bool:
        """Whether a lower headline is the better one."""
        return self.headline in self.metrics.lower_is_better

    def figure(
        self, model: ModelResult, part: Literal["metrics", "difference", "kept"] = "metrics", metric: str | None = None
    ) -> Figure | None:
        """A figure of a model; None where it is not there."""
        figures: Mapping[str, Figure | None] = getattr(model, part) or {}
        return figures.get(metric or self.headline)

    def versus(self, model: ModelResult, other: ModelResult) -> Figure | None:
        """The paired difference of the headline metric between two models."""
        return model.versus.get(other.name, {}).get(self.headline)

    def ahead(self, model: ModelResult, other: ModelResult) -> Figure | None:
        """`versus` as an advantage: above 0 where the model is the better one, whichever way the metric goes."""
        return advantage(self.versus(model, other), self.less_is_better)

    def gain(self, model: ModelResult) -> Figure | None:
        """The difference to the teacher as an advantage: below 0 is a loss, whichever way the metric goes."""
        return advantage(self.figure(model, "difference"), self.less_is_better)

    @property
    def confidence(self) -> str:
        """`"95 %"`."""
        return f"{100 * self.metrics.asked['evaluate']['confidence']:g} %"

    @property
    def test_examples(self) -> int | None:
        """How many test users or test texts there are."""
        count: int | None = (self.metrics.data.facts.get("counts") or {}).get("test")
        return count

    @property
    def timing(self) -> Latency | None:
        """How latency was measured, and of which models."""
        return None if self.performance is None else self.performance.latency

    def latency(self, name: str) -> ModelLatency | None:
        """Of a model; None where not measured."""
        return None if self.timing is None else self.timing.models.get(name)

    def memory(self, name: str) -> Memory | None:
        """Of a model in a fresh process; None where not measured."""
        return None if self.performance is None else self.performance.memory.get(name)

    @property
    def unreliable(self) -> tuple[str, ...]:
        """What speaks against believing the times; empty where nothing does, and where there are none."""
        return () if self.timing is None else self.timing.unreliable

    def time_ratio(self, model: ModelResult) -> Figure | None:
        """How many times as long as the teacher a model takes; None where that is not known reliably."""
        measured = self.latency(model.name)
        if self.timing is None or measured is None or self.timing.first != self.teacher.name or self.unreliable:
            return None
        return measured.ratio

    def layer_ratio(self, model: ModelResult) -> float | None:
        """What the layer count alone would give: layers of a model over layers of the teacher."""
        if not model.depth or not self.teacher.depth:
            return None
        return model.depth / self.teacher.depth


UNFINISHED = "UNFINISHED"
"""A file that lies in a run folder while the run has not written all of it."""


def is_finished(run_folder: Path) -> bool:
    """Whether a folder is that of a run that has written all of it."""
    return (run_folder / "metrics.json").is_file() and not os.path.lexists(run_folder / UNFINISHED)


def assert_finished(run_folder: Path) -> None:
    """Raise StoreError where a folder is not that of a finished run."""
    if os.path.lexists(run_folder / UNFINISHED):
        raise StoreError(f"the run in {run_folder} has not finished", "`lwa run` with the same recipe goes on with it")
    if not is_finished(run_folder):
        raise StoreError(f"{run_folder} is not the folder of a finished run", "`lwa run` prints the folder of its run")


def read_results(run_folder: Path) -> Results:
    """Read a run folder.

    Raises:
        StoreError: The run has not finished, a file is damaged, or `metrics.json` has a format that is not read here.
    """
    assert_finished(run_folder)
    file, measured = run_folder / "metrics.json", run_folder / "performance.json"
    told = read_json(file)
    found = told.get("format") if isinstance(told, dict) else None
    if found != FORMAT:
        hint = "read it with the version of lwa that wrote it, or run the recipe again"
        raise StoreError(f"{file} has format {found!r}, not {FORMAT}", hint)
    metrics = _converted(file, told, Metrics)
    return Results(metrics, _converted(measured, read_json(measured), Performance) if measured.is_file() else None)


def _converted(file: Path, told: Any, cls: type[T]) -> T:
    try:
        return from_json(told, cls)
    except ValueError as error:
        raise StoreError(f"{file} is damaged: {error}", "running the recipe again writes it anew") from error
