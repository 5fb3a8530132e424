"""Measure time and memory of several models, as they answer requests."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from lwa_core.data.sections import Measurement
from lwa_core.errors import ModelError
from lwa_core.measuring.performance import Timed, measure_latency, measure_memory
from lwa_core.types import Reporter

IN_MEMORY = 20
"""Requests that a fresh process answers while its memory is measured."""


def measure_models(
    folders: Mapping[str, Path],
    load: Mapping[str, Callable[[], Timed]],
    requests: Sequence[Mapping[str, Any]],
    measurement: Measurement,
    report: Reporter,
) -> dict[str, Any]:
    """Latency, throughput and memory of every model, on requests of test examples. JSON-ready.

    Args:
        folders: Where each model lies, by name.
        load: Loads each into this process, as what is timed.
        requests: What is asked, as it is sent: JSON-ready, as a fresh process takes it.
        measurement: How many, and whether memory is measured.
        report: Gets the progress.
    """
    latency = None
    if measurement.requests:
        models = {name: make() for name, make in load.items()}
        how = {"requests": measurement.requests, "batch": measurement.batch}
        latency = measure_latency(models, requests, **how, report=report)
    memory = {}
    if measurement.memory:
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "requests.json"
            file.write_text(json.dumps(list(requests[:IN_MEMORY])), "utf-8")
            for done, (name, path) in enumerate(folders.items()):
                report.progress(done, len(folders), f"memory of {name}")
                try:
                    memory[name] = measure_memory(path, file)
                except ModelError as error:  # a component from a local file is unknown to a fresh process
                    report.warn("memory-not-measured", f"memory of {name} was not measured: {error.message}")
    return {"latency": latency, "memory": memory}
