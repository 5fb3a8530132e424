"""Write the two files of results into a run folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lwa_core.results.as_json import from_json, to_json
from lwa_core.results.schema import Metrics, Performance
from lwa_core.store.files import write_json


def write_metrics(folder: Path, metrics: Metrics) -> None:
    """Write `metrics.json`: equal metrics give equal bytes."""
    write_json(folder / "metrics.json", to_json(metrics))


def write_performance(folder: Path, measured: dict[str, Any], stages: Sequence[dict[str, Any]]) -> None:
    """Write `performance.json` from what was measured and how long each stage took."""
    performance = from_json({**measured, "stages": list(stages)}, Performance)
    write_json(folder / "performance.json", to_json(performance))
