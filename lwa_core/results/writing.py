"""Write the two files of results into a run folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lwa_core.results.as_json import from_json, to_json
from lwa_core.results.schema import Metrics, Performance
from lwa_core.store.files import readable_json
from lwa_core.store.shared import Content, Say, SharedFolder, quiet

METRICS = "metrics.json"
PERFORMANCE = "performance.json"


def metrics_content(metrics: Metrics) -> Content:
    """What `metrics.json` is to hold: equal metrics give equal bytes."""
    return Content.of(readable_json(to_json(metrics)))


def write_metrics(folder: Path, metrics: Metrics, say: Say = quiet) -> None:
    """Write `metrics.json`; `say` hears of what stood in its way."""
    SharedFolder(folder, say).put({METRICS: metrics_content(metrics)})


def write_performance(
    folder: Path, measured: dict[str, Any], stages: Sequence[dict[str, Any]], say: Say = quiet
) -> None:
    """Write `performance.json` from what was measured and how long each stage took."""
    performance = from_json({**measured, "stages": list(stages)}, Performance)
    SharedFolder(folder, say).put({PERFORMANCE: Content.of(readable_json(to_json(performance)))})
