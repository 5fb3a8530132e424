"""What the report says of test targets that no model met in training, where there are some."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lwa_core.report.content import Table
from lwa_core.results.figures import metric_name, percent, with_interval
from lwa_core.results.reading import Results


def told(metrics: Mapping[str, Any]) -> dict[str, Any] | None:
    """Everything of this that the templates show; None where every test target occurs in training."""
    found = metrics.get("cold_start")
    if not found:
        return None
    return {**found, "share": percent(found["examples"] / found["of"]), "table": table(metrics)}


def table(metrics: Mapping[str, Any]) -> Table:
    """NDCG and recall of every model on these examples alone, at the k of the headline."""
    results = Results(metrics)
    names = [results.headline, results.headline.replace("ndcg", "recall")]
    figures = metrics["cold_start"]["models"]
    rows = [(m["name"], *(with_interval(figures[m["name"]][name]) for name in names)) for m in results.models]
    return Table(("model", *map(metric_name, names)), rows, kinds=[model["kind"] for model in results.models])
