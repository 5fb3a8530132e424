"""Measure time and memory of several models, as they answer requests."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from lwa_core.data.sections import Measurement
from lwa_core.errors import ModelError
from lwa_core.measuring.performance import measure_latency, measure_memory
from lwa_core.types import Reporter

Answer = Callable[[Sequence[Any]], object]

IN_MEMORY = 20
"""Requests that a fresh process answers while its memory is measured."""


def measure_models(
    folders: Mapping[str, Path],
    load: Mapping[str, Callable[[], Answer]],
    requests: Sequence[Any],
    as_sent: Sequence[Mapping[str, Any]],
    measurement: Measurement,
    report: Reporter,
) -> dict[str, Any]:
    """Latency, throughput and memory of every model, on requests of test examples. JSON-ready.

    Args:
        folders: Where each model lies, by name.
        load: Loads each into this process, as what answers many requests.
        requests: What is asked.
        as_sent: The same as arguments of what a fresh process asks, JSON-ready.
        measurement: How many, and whether memory is measured.
        report: Gets the progress.
    """
    latency = None
    if measurement.requests:
        many = {name: make() for name, make in load.items()}
        single = {name: _single(answer) for name, answer in many.items()}
        how = {"requests": measurement.requests, "batch": measurement.batch}
        latency = measure_latency(single, many, requests, **how, report=report)
    memory = {}
    if measurement.memory:
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "requests.json"
            file.write_text(json.dumps(list(as_sent[:IN_MEMORY])), "utf-8")
            for done, (name, path) in enumerate(folders.items()):
                report.progress(done, len(folders), f"memory of {name}")
                try:
                    memory[name] = measure_memory(path, file)
                except ModelError as error:  # a component from a local file is unknown to a fresh process
                    report.warn("memory-not-measured", f"memory of {name} was not measured: {error.message}")
    return {"latency": latency, "memory": memory}


def _single(many: Answer) -> Callable[[Any], object]:
    return lambda request: many([request])
