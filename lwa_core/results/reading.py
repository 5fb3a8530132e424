"""What a run folder says, with names for its parts."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs

from lwa_core.errors import StoreError
from lwa_core.results.figures import Figure
from lwa_core.store.files import read_json

FORMAT = 2


@attrs.frozen
class Results:
    """`metrics.json` and, where time or memory was measured, `performance.json`."""

    metrics: Mapping[str, Any]
    performance: Mapping[str, Any] | None = None

    @property
    def models(self) -> list[Mapping[str, Any]]:
        return list(self.metrics["models"])

    def of_kind(self, kind: str) -> list[Mapping[str, Any]]:
        """The models that are `teacher`, `student` or `baseline`."""
        return [model for model in self.models if model["kind"] == kind]

    @property
    def teacher(self) -> Mapping[str, Any]:
        return self.of_kind("teacher")[0]

    @property
    def finals(self) -> list[Mapping[str, Any]]:
        """The student that the last compression step of each tier left."""
        return list({student["tier"]: student for student in self.of_kind("student")}.values())

    def source(self, student: Mapping[str, Any]) -> Mapping[str, Any]:
        """What a student was made from: the student of the step before, or the teacher."""
        before = self.teacher
        for other in self.of_kind("student"):
            if other["name"] == student["name"]:
                break
            if other["tier"] == student["tier"]:
                before = other
        return before

    @property
    def headline(self) -> str:
        """The metric of sentences and charts."""
        return str(self.metrics["headline"])

    def figure(self, model: Mapping[str, Any], part: str = "metrics", metric: str | None = None) -> Figure:
        """A figure of a model out of `metrics`, `difference` or `kept`; None where it is not there."""
        figures: Mapping[str, Figure] = model.get(part) or {}
        return figures.get(metric or self.headline)

    def versus(self, model: Mapping[str, Any], other: Mapping[str, Any]) -> Figure:
        """The paired difference of the headline metric between two models."""
        figures: Mapping[str, Figure] = (model.get("versus") or {}).get(other["name"]) or {}
        return figures.get(self.headline)

    @property
    def confidence(self) -> str:
        """`"95 %"`."""
        return f"{100 * self.metrics['asked']['evaluate']['confidence']:g} %"

    @property
    def test_users(self) -> int | None:
        """How many test users there are."""
        counts = self.metrics["data"]["facts"].get("counts") or {}
        return counts.get("test")

    @property
    def timing(self) -> Mapping[str, Any] | None:
        """How latency was measured, and of which models."""
        timed: Mapping[str, Any] | None = (self.performance or {}).get("latency")
        return timed

    def latency(self, name: str) -> Mapping[str, Any] | None:
        """p50, p95, p99, ratio, throughput of a model; None where not measured."""
        return None if self.timing is None else self.timing["models"].get(name)

    def memory(self, name: str) -> Mapping[str, Any] | None:
        """Bytes before, peak, model of a model in a fresh process; None where not measured."""
        return ((self.performance or {}).get("memory") or {}).get(name)

    def time_ratio(self, model: Mapping[str, Any]) -> Figure:
        """Median latency of a model over the teacher's, with its interval."""
        measured = self.latency(model["name"])
        if self.timing is None or measured is None or self.timing["first"] != self.teacher["name"]:
            return None
        ratio: Figure = measured.get("ratio")
        return ratio

    def layer_ratio(self, model: Mapping[str, Any]) -> float | None:
        """What the layer count alone would give: layers of a model over layers of the teacher."""
        if not model["depth"] or not self.teacher["depth"]:
            return None
        return float(model["depth"] / self.teacher["depth"])


def read_results(run_folder: Path) -> Results:
    """Read a run folder.

    Raises:
        StoreError: `metrics.json` is missing, damaged, or of another format than this version reads.
    """
    metrics = read_json(run_folder / "metrics.json")
    if not isinstance(metrics, dict) or metrics.get("format") != FORMAT:
        found = metrics.get("format") if isinstance(metrics, dict) else None
        hint = "read it with the version of lwa that wrote it, or run the recipe again"
        raise StoreError(f"{run_folder / 'metrics.json'} has format {found!r}, not {FORMAT}", hint)
    measured = run_folder / "performance.json"
    return Results(metrics, read_json(measured) if measured.is_file() else None)
