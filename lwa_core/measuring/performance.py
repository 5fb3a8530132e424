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
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import torch

from lwa_core.errors import ModelError, NeedsError
from lwa_core.measuring import timing
from lwa_core.measuring.configurations import answered_in_fresh_process
from lwa_core.measuring.fresh_process import fresh_python
from lwa_core.measuring.load import machine_load, usable_cores
from lwa_core.measuring.memory import TOO_LITTLE
from lwa_core.measuring.timing import Milliseconds, Times
from lwa_core.modeling.devices import device
from lwa_core.plugins.requirements import cpu_name
from lwa_core.runtime.description import DESCRIPTION as BUNDLE
from lwa_core.types import Reporter

WARM_UP = 10
ROUNDS = 5
ATTEMPTS = 2
"""How often a process is started that measures memory, where it is cut off from outside."""

PACKAGES = ("lwa", "torch", "transformers", "bitsandbytes", "peft", "numpy", "onnxruntime")


@attrs.frozen(eq=False)
class Timed:
    """A model as it is timed.

    Args:
        answer: Answers many requests, from what is sent to what comes back.
        network: Makes many requests ready, and gives what the network alone then does with them.
        architecture: What models of equal layers, sizes and number types share; empty where it is not known.
    """

    answer: Callable[[Sequence[Any]], object]
    network: Callable[[Sequence[Any]], Callable[[], object]]
    architecture: str = ""


def measure_latency(
    models: Mapping[str, Timed], sent: Sequence[Any], *, requests: int, batch: int, report: Reporter
) -> dict[str, Any]:
    """Time the models side by side: A, B, C for one request, B, C, A for the next, and so on.

    Interleaved, so that what slows the machine for a while slows all models; rotated, so that none always runs in
    the cache that another left. Beside every whole answer the network alone is timed on the same request, by turns
    before and after it. The garbage collector is off while timing, and a GPU's work is waited for.

    Args:
        models: What is timed. The first is what the others are compared with.
        sent: The requests, in this order; from the beginning again where there are fewer than are needed.
        requests: Timed requests of each model at batch 1.
        batch: Requests in the large batch.
        report: Gets the progress.

    Returns:
        JSON-ready, as `lwa_core.results.schema.Latency`: how it was measured, for every model the percentiles, the
        network's own time and the ratios to the first model, and what speaks against believing any of it.
    """
    if not models or not sent or requests < 1 or batch < 1:
        raise ValueError("nothing to time: models, requests and batch must be at least one")
    progress = _Progress(report, (WARM_UP + requests + 1 + ROUNDS) * len(models))
    load, processors = [machine_load()], usable_cores()
    asked = [sent[i % len(sent)] for i in range(batch)]
    with _steady():
        times = _singles(models, sent, requests, progress)
        rounds = _rounds(models, asked, progress)
    load.append(machine_load())
    architectures = {name: model.architecture for name, model in models.items()}
    on_cpu = device().type == "cpu"
    told = _figures(times, architectures)
    for name, measured in rounds.items():
        rates = batch / measured * 1000
        figures = {"median": np.median(rates), "slowest": rates.min(), "fastest": rates.max()}
        told[name]["throughput"] = {what: _short(rate) for what, rate in figures.items()}
    return {
        "first": next(iter(models)),
        "requests": requests,
        "warm_up": WARM_UP,
        "batch": batch,
        "rounds": ROUNDS,
        "distinct_histories": min(len(sent), max(requests, batch)),
        "threads": torch.get_num_threads(),
        "device": device_name(),
        "load_before": load[0],
        "load_after": load[1],
        "processors": processors,
        "cpu_share": _short(timing.cpu_share(times)),
        "unreliable": timing.doubts(times, architectures, load=load, processors=processors, on_cpu=on_cpu),
        "models": told,
    }


def _figures(times: Mapping[str, Times], architectures: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    """The percentiles of every model, and its ratios to the first one, which models of one architecture share."""
    first, alike = next(iter(times)), timing.twins(architectures)
    told = {}
    for name, own in times.items():
        held = [own, *(times[twin] for twin in alike[name] if first not in (name, *alike[name]))]
        p50, p95, p99 = map(_short, np.percentile(own.wall, [50, 95, 99]))
        ratios = {
            "ratio": timing.ratio([each.wall for each in held], times[first].wall),
            "cpu_ratio": timing.ratio([each.cpu for each in held], times[first].cpu),
        }
        told[name] = {
            "p50": p50,
            "p95": p95,
            "p99": p99,
            "cpu": _short(np.median(own.cpu)),
            "network": _short(np.median(own.network)),
            "added": _figure(timing.difference(own.wall, own.network)),
            "twins": list(alike[name]),
            **{what: None if name == first else _figure(found) for what, found in ratios.items()},
        }
    return told


def measure_memory(folder: Path, requests: Path) -> dict[str, Any]:
    """Load a saved model in a fresh process, ask it for recommendations, and read the process's memory.

    Args:
        folder: What `lwa_core.load` reads.
        requests: JSON, a list of objects with a `history`, a list of item ids, and `times` where the model needs them.

    Returns:
        Bytes: see `lwa_core.measuring.memory.measure`.

    Raises:
        ModelError: The process could not load the model or ask it; its last words are in the message.
        NeedsError: The process was ended from outside, and the next one too.
    """
    if (folder / BUNDLE).is_file():
        return bundle_memory(folder, requests)
    arguments = [str(folder), str(requests), str(device()), str(os.getpid())]
    command = fresh_python("lwa_core.measuring.memory", *arguments)
    for _ in range(ATTEMPTS):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        cut_off = done.returncode < 0 or done.returncode == TOO_LITTLE
        if not cut_off:
            break
    said = done.stderr.strip().splitlines() or ["nothing was said"]
    if cut_off:  # no matter of the model: another time it may be measured, so that no result may say that it cannot
        how = "found too little room" if done.returncode == TOO_LITTLE else f"was killed by signal {-done.returncode}"
        what = f"the process that measures the memory of {folder.name} {how}, {ATTEMPTS} times: {said[-1]}"
        raise NeedsError(what, "free some memory, or leave this out with evaluate.memory = false")
    try:
        if done.returncode == 0:
            measured: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
            return measured
    except (IndexError, ValueError):
        pass
    raise ModelError(f"the process that measures the memory of {folder.name} ended with {done.returncode}: {said[-1]}")


def bundle_memory(folder: Path, requests: Path) -> dict[str, Any]:
    """`measure_memory` of a bundle: its process has no torch."""
    count = len(json.loads(requests.read_text("utf-8")))
    measured = answered_in_fresh_process(folder, requests, count, torch.get_num_threads())
    return {name: measured[name] for name in ("before", "peak")}


def folder_bytes(folder: Path) -> int:
    """Bytes of a saved model's weights on disk: every safetensors file in the folder, adapters included."""
    return sum(path.stat().st_size for path in folder.rglob("*.safetensors"))


def machine() -> dict[str, Any]:
    """What the figures were measured on: processor, threads, versions. No host name and no paths."""
    return {
        "cpu": cpu_name(),
        "cores": os.cpu_count(),
        "usable_cores": usable_cores(),
        "threads": torch.get_num_threads(),
        "device": device_name(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "versions": {name: installed for name in PACKAGES if (installed := _version(name))},
    }


def device_name() -> str:
    """`"cpu"`, or the GPU that models are put on."""
    return "cpu" if device().type == "cpu" else f"cuda: {torch.cuda.get_device_name(device())}"


def _singles(models: Mapping[str, Timed], sent: Sequence[Any], count: int, progress: _Progress) -> dict[str, Times]:
    """Every model on `count` requests one by one, in rotating order, after some that are not kept."""
    names = list(models)
    tables = {name: np.zeros((3, count)) for name in names}
    for call in range(-WARM_UP, count):
        request = [sent[call % count % len(sent)]]
        turn = call % len(names)
        for name in names[turn:] + names[:turn]:
            network = models[name].network(request)
            alone = _timed(network)[0] if call % 2 else None
            wall, cpu = _timed(partial(models[name].answer, request))
            alone = _timed(network)[0] if alone is None else alone
            if call >= 0:
                tables[name][:, call] = wall, cpu, alone
            progress.step()
    return {name: Times(*table) for name, table in tables.items()}


def _rounds(models: Mapping[str, Timed], asked: Sequence[Any], progress: _Progress) -> dict[str, Milliseconds]:
    """Milliseconds of every model for the large batch, in rotating order, after one round that is not kept."""
    names = list(models)
    times = {name: np.zeros(ROUNDS) for name in names}
    for call in range(-1, ROUNDS):
        turn = call % len(names)
        for name in names[turn:] + names[:turn]:
            elapsed, _ = _timed(partial(models[name].answer, asked))
            if call >= 0:
                times[name][call] = elapsed
            progress.step()
    return times


def _timed(run: Callable[[], object]) -> tuple[float, float]:
    """Wall and processor time of a call in milliseconds."""
    wall, cpu = _now(), time.process_time_ns()
    run()
    end = _now()
    return (end - wall) / 1e6, (time.process_time_ns() - cpu) / 1e6


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


def _figure(found: timing.Ratio) -> dict[str, float | None]:
    mean, low, high = (None if value is None else _short(value) for value in found)
    return {"mean": mean, "low": low, "high": high}


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
