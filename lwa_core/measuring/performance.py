"""Measure latency, throughput and memory. Nothing here is computed from a formula."""

from __future__ import annotations

import gc
import json
import os
import platform
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray

from lwa_core.errors import ModelError
from lwa_core.measuring.fresh_process import fresh_python
from lwa_core.modeling.devices import device
from lwa_core.plugins.requirements import cpu_name
from lwa_core.types import History, Reporter

Milliseconds: TypeAlias = NDArray[np.float64]

WARM_UP = 10
ROUNDS = 5
RESAMPLES = 2000
PACKAGES = ("lwa", "torch", "transformers", "bitsandbytes", "peft", "numpy")


def measure_latency(
    rankers: Mapping[str, Callable[[History], object]],
    throughput: Mapping[str, Callable[[Sequence[History]], object]],
    histories: Sequence[History],
    *,
    requests: int,
    batch: int,
    report: Reporter,
) -> dict[str, Any]:
    """Time the models side by side: A, B, C for one history, B, C, A for the next, and so on.

    Interleaved, so that what slows the machine for a while slows all models; rotated, so that none always runs in
    the cache that another left. The garbage collector is off while timing, and a GPU's work is waited for.

    Args:
        rankers: SubsetAnswers one request, by model. The first is what the others are compared with.
        throughput: SubsetAnswers a batch of requests, by model.
        histories: What is asked, in this order; from the beginning again where there are fewer than are needed.
        requests: Timed requests of each model at batch 1.
        batch: Histories in the large batch.
        report: Gets the progress.

    Returns:
        JSON-ready: how it was measured, and for every model p50, p95, p99 in ms at batch 1, the ratio of its p50 to
        the first model's with a 95 % paired bootstrap interval over the requests, and histories per second at the
        large batch (median of the rounds, with the slowest and the fastest).
    """
    if not histories or requests < 1 or batch < 1:
        raise ValueError("nothing to time: histories, requests and batch must be at least one")
    total = (WARM_UP + requests) * len(rankers) + (1 + ROUNDS) * len(throughput)
    progress = _Progress(report, total)
    singles = {name: _bound(answer, histories) for name, answer in rankers.items()}
    asked = [histories[i % len(histories)] for i in range(batch)]
    many = {name: _always(answer, asked) for name, answer in throughput.items()}
    with _steady():
        times = _interleaved(singles, WARM_UP, requests, progress)
        rounds = _interleaved(many, 1, ROUNDS, progress)
    first = next(iter(times))
    models: dict[str, dict[str, Any]] = {}
    for name, measured in times.items():
        p50, p95, p99 = np.percentile(measured, [50, 95, 99])
        ratio = None if name == first else _median_ratio(measured, times[first])
        models[name] = {"p50": _short(p50), "p95": _short(p95), "p99": _short(p99), "ratio": ratio}
    for name, measured in rounds.items():
        rates = batch / measured * 1000
        figures = {"median": np.median(rates), "slowest": rates.min(), "fastest": rates.max()}
        models.setdefault(name, {})["throughput"] = {what: _short(rate) for what, rate in figures.items()}
    return {
        "first": first,
        "requests": requests,
        "warm_up": WARM_UP,
        "batch": batch,
        "rounds": ROUNDS,
        "distinct_histories": min(len(histories), max(requests, batch)),
        "threads": torch.get_num_threads(),
        "device": device_name(),
        "models": models,
    }


def measure_memory(folder: Path, requests: Path) -> dict[str, Any]:
    """Load a saved model in a fresh process, ask it for recommendations, and read the process's memory.

    Args:
        folder: What `lwa_core.load` reads.
        requests: JSON, a list of objects with a `history`, a list of item ids, and `times` where the model needs them.

    Returns:
        Bytes: see `lwa_core.measuring.memory.measure`.

    Raises:
        ModelError: The process failed; its last words are in the message.
    """
    command = fresh_python("lwa_core.measuring.memory", str(folder), str(requests), str(device()))
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    try:
        if done.returncode == 0:
            measured: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
            return measured
    except (IndexError, ValueError):
        pass
    said = done.stderr.strip().splitlines() or ["nothing was said"]
    raise ModelError(f"the process that measures the memory of {folder.name} ended with {done.returncode}: {said[-1]}")


def folder_bytes(folder: Path) -> int:
    """Bytes of a saved model's weights on disk: every safetensors file in the folder, adapters included."""
    return sum(path.stat().st_size for path in folder.rglob("*.safetensors"))


def machine() -> dict[str, Any]:
    """What the figures were measured on: processor, threads, versions. No host name and no paths."""
    return {
        "cpu": cpu_name(),
        "cores": os.cpu_count(),
        "usable_cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "threads": torch.get_num_threads(),
        "device": device_name(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "versions": {name: installed for name in PACKAGES if (installed := _version(name))},
    }


def device_name() -> str:
    """`"cpu"`, or the GPU that models are put on."""
    return "cpu" if device().type == "cpu" else f"cuda: {torch.cuda.get_device_name(device())}"


def _bound(answer: Callable[[History], object], histories: Sequence[History]) -> Callable[[int], object]:
    return lambda request: answer(histories[request % len(histories)])


def _always(answer: Callable[[Sequence[History]], object], asked: Sequence[History]) -> Callable[[int], object]:
    return lambda _: answer(asked)


def _interleaved(
    answers: Mapping[str, Callable[[int], object]], warm_up: int, count: int, progress: _Progress
) -> dict[str, Milliseconds]:
    """Milliseconds of `count` calls of each, in rotating order, after `warm_up` calls that are not kept."""
    names = list(answers)
    times = {name: np.zeros(count) for name in names}
    for call in range(-warm_up, count):
        turn = call % len(names) if names else 0
        for name in names[turn:] + names[:turn]:
            begin = _now()
            answers[name](call % count)
            elapsed = _now() - begin
            if call >= 0:
                times[name][call] = elapsed / 1e6
            progress.step()
    return times


def _now() -> int:
    """Nanoseconds, once the GPU has done what it was asked."""
    if device().type == "cuda":
        torch.cuda.synchronize(device())
    return time.perf_counter_ns()


@contextmanager
def _steady() -> Iterator[None]:
    """No garbage collection in here."""
    enabled = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _median_ratio(times: Milliseconds, first: Milliseconds) -> dict[str, float]:
    """Ratio of the medians; the requests are resampled in pairs, for each was asked of both models."""
    draws = np.random.default_rng(0).integers(0, len(times), size=(RESAMPLES, len(times)))
    ratios = np.median(times[draws], axis=1) / np.median(first[draws], axis=1)
    low, high = np.quantile(ratios, [0.025, 0.975])
    return {"mean": _short(np.median(times) / np.median(first)), "low": _short(low), "high": _short(high)}


def _short(value: float | np.floating[Any]) -> float:
    return float(f"{value:.6g}")


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


class _Progress:
    """Counts calls, and reports about a hundred times."""

    def __init__(self, report: Reporter, total: int) -> None:
        self.report, self.total, self.done = report, total, 0

    def step(self) -> None:
        self.done += 1
        if self.done == self.total or self.done % max(1, self.total // 100) == 0:
            self.report.progress(self.done, self.total, "timing")
