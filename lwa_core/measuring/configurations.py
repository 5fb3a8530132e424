"""What a model or bundle takes of a device: memory, time, start and disk of fresh processes that answer requests."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lwa_core.errors import ModelError
from lwa_core.measuring.answering import ANSWERED
from lwa_core.measuring.fresh_process import fresh_python
from lwa_core.measuring.load import machine_load, usable_cores
from lwa_core.types import Reporter

STARTS = 3
"""Fresh processes for a model, one after the other: each gives one time of a start and one peak of memory."""

REQUESTS = 1000
"""That each of them answers."""

QUANTILE, CONFIDENCE = 0.95, 0.95

THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


def measure_configurations(
    folders: Mapping[str, Path], requests: Sequence[Mapping[str, Any]], threads: int, report: Reporter
) -> dict[str, dict[str, Any]]:
    """Start fresh processes that open each model or bundle and answer requests one at a time.

    A process is held to `threads` processors, where the system can do that, and its libraries to as many threads. Its
    memory is measured and not limited: a limit on what a process may address would end it for what it never touches.

    Args:
        folders: Where each model or bundle lies, by name.
        requests: Arguments of `recommend`, JSON-ready; from the beginning again where there are fewer than are asked.
        threads: That a process may use.
        report: Gets the progress.

    Returns:
        By name, JSON-ready, as `lwa_core.results.schema.Configuration`.

    Raises:
        ModelError: A process ended without an answer; its last words are in the message.
    """
    told = {}
    with tempfile.TemporaryDirectory(prefix="lwa-") as scratch:
        file = Path(scratch) / "requests.json"
        file.write_text(json.dumps(list(requests[:REQUESTS])), "utf-8")
        for place, (name, folder) in enumerate(folders.items()):
            starts, load = [], [machine_load()]
            for start in range(STARTS):
                report.progress(place * STARTS + start, len(folders) * STARTS, f"{name} in a fresh process")
                starts.append(answered_in_fresh_process(folder, file, REQUESTS, threads))
            known = [value for value in (*load, machine_load()) if value is not None]
            around = {"load": max(known, default=None), "processors": usable_cores()}
            told[name] = {**_summary(starts, folder, threads), **around}
    return told


def answered_in_fresh_process(folder: Path, requests: Path, count: int, threads: int) -> dict[str, Any]:
    """What `lwa_core.measuring.answering` says of one process, and `start`: seconds until its first answer.

    Raises:
        ModelError: It ended without an answer.
    """
    arguments = [str(folder), str(requests), str(count), str(threads), str(os.getpid())]
    command = fresh_python("lwa_core.measuring.answering", *arguments)
    environment = {**os.environ, **dict.fromkeys(THREAD_VARIABLES, str(threads))}
    with tempfile.TemporaryFile("w+") as said:
        begin = time.perf_counter()
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=said, text=True, env=environment) as process:
            assert process.stdout is not None
            line = process.stdout.readline()
            while line and line.strip() != ANSWERED:  # a library may print
                line = process.stdout.readline()
            start = time.perf_counter() - begin
            rest = process.stdout.read().splitlines()
        if process.returncode == 0 and line and rest:
            return {**json.loads(rest[-1]), "start": start}
        said.seek(0)
        last = (said.read().strip().splitlines() or ["nothing was said"])[-1]
    code = process.returncode
    how = f"was killed by signal {-code}" if code < 0 else f"ended with {code}"
    raise ModelError(f"the process that answers from {folder.name} {how}: {last}")


def quantile_interval(times: NDArray[np.float64]) -> tuple[float, float, float]:
    """The 95th percentile with a distribution-free interval of confidence 0.95, by order statistics.

    Conover 1999, Practical Nonparametric Statistics, section 3.2. Where there are too few values for an upper end, it
    is the largest.
    """
    from scipy.stats import binom

    ordered, count = np.sort(times), len(times)
    tail = (1 - CONFIDENCE) / 2
    low = max(0, int(binom.ppf(tail, count, QUANTILE)) - 1)
    high = min(count - 1, int(binom.ppf(1 - tail, count, QUANTILE)))
    return float(np.quantile(ordered, QUANTILE)), float(ordered[low]), float(ordered[high])


def disk_bytes(folder: Path) -> int:
    """Bytes of all files in a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _summary(starts: Sequence[Mapping[str, Any]], folder: Path, threads: int) -> dict[str, Any]:
    each = [np.array(start["times"]) for start in starts]
    mean, low, high = quantile_interval(np.concatenate(each))
    # What slows one process slows all of its requests: the interval holds the percentile of each.
    own = [float(np.quantile(times, QUANTILE)) for times in each]
    seconds = [start["start"] for start in starts]
    return {
        "memory": max(start["peak_of_process"] for start in starts),
        "p95": {"mean": _short(mean), "low": _short(min(low, *own)), "high": _short(max(high, *own))},
        "p50": _short(float(np.median(np.concatenate(each)))),
        "cold_start": {
            "mean": _short(float(np.median(seconds))),
            "low": _short(min(seconds)),
            "high": _short(max(seconds)),
        },
        "disk": disk_bytes(folder),
        "threads": threads,
        "starts": len(starts),
        "requests": 1 + len(starts[0]["times"]),
    }


def _short(value: float) -> float:
    return float(f"{value:.6g}")
