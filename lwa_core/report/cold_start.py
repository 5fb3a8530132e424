"""What the report says of test targets that no model met in training, where there are some."""

from __future__ import annotations

from typing import Any

import attrs

from lwa_core.report.tables import Table
from lwa_core.results.figures import metric_name, percent, with_interval
from lwa_core.results.reading import Results


def told(results: Results) -> dict[str, Any] | None:
    """Everything of this that the templates show; None where every test target occurs in training."""
    found = results.metrics.cold_start
    if found is None:
        return None
    counts = attrs.asdict(found, recurse=False)
    return {**counts, "share": percent(found.examples / found.of), "table": table(results)}


def table(results: Results) -> Table:
    """NDCG and recall of every model on these examples alone, at the k of the headline."""
    found = results.metrics.cold_start
    if found is None:
        raise ValueError("every test target occurs in training")
    names = [results.headline, results.headline.replace("ndcg", "recall")]
    rows = [
        (m.name, *(with_interval(found.models[m.name][name], of="targets") for name in names)) for m in results.models
    ]
    return Table(
        ("model", *map(metric_name, names)),
        rows,
        kinds=[model.kind for model in results.models],
        title=f"cold start: the {found.examples:,} of {found.of:,} test targets that occur in nobody's training part",
    )
