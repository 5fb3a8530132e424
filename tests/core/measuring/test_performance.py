import gc
import json
import os
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from lwa_core.errors import ModelError, NeedsError
from lwa_core.measuring import memory, performance
from lwa_core.measuring.memory import TOO_LITTLE
from lwa_core.measuring.performance import folder_bytes, machine, measure_latency, measure_memory
from lwa_core.modeling.devices import device

ALLOCATOR = "[enforce fail at alloc_cpu.cpp:121] . DefaultCPUAllocator: can't allocate memory: you tried to allocate"

HISTORIES = [np.arange(length, dtype=np.int32) for length in range(1, 8)]


class Progress:
    def __init__(self):
        self.seen = []

    def progress(self, done, total, message=""):
        self.seen.append((done, total))


class Clock:
    """Stands in for the time: every answer takes as long as it says."""

    def __init__(self, monkeypatch):
        self.nanoseconds = 0
        monkeypatch.setattr(time, "perf_counter_ns", lambda: self.nanoseconds)

    def taking(self, milliseconds):
        def answer(asked):
            self.nanoseconds += int(1e6 * (milliseconds(asked) if callable(milliseconds) else milliseconds))

        return answer


def measured(rankers, throughput, *, requests=21, batch=4, report=None):
    return measure_latency(rankers, throughput, HISTORIES, requests=requests, batch=batch, report=report or Progress())


def test_percentiles_ratio_and_rate_are_those_of_the_times(monkeypatch):
    clock = Clock(monkeypatch)
    slow = clock.taking(lambda history: 2.0 * len(history))
    fast = clock.taking(lambda history: 0.5 * len(history))

    told = measured({"teacher": slow, "student": fast}, {"teacher": clock.taking(8), "student": clock.taking(2)})

    # 21 requests: each of the 7 lengths three times.
    expected = np.percentile(np.repeat(np.arange(1.0, 8.0), 3), [50, 95, 99])
    teacher, student = told["models"]["teacher"], told["models"]["student"]
    assert (2 * expected).tolist() == pytest.approx([teacher["p50"], teacher["p95"], teacher["p99"]])
    assert (expected / 2).tolist() == pytest.approx([student["p50"], student["p95"], student["p99"]])
    # Pairing: each request takes the student a quarter of the teacher's time, so every resample says so.
    assert teacher["ratio"] is None
    assert {"mean": 0.25, "low": 0.25, "high": 0.25} == student["ratio"]
    assert {"median": 500.0, "slowest": 500.0, "fastest": 500.0} == teacher["throughput"]
    assert 2000.0 == student["throughput"]["median"]


def test_calls_are_interleaved_and_take_turns(monkeypatch):
    monkeypatch.setattr(performance, "WARM_UP", 0)
    calls = []
    rankers = {name: lambda history, name=name: calls.append(name) for name in "abc"}

    measured(rankers, {}, requests=4)

    assert ["abc", "bca", "cab", "abc"] == ["".join(calls[i : i + 3]) for i in range(0, 12, 3)]


def test_every_model_gets_the_same_requests():
    asked = {"a": [], "b": []}
    rankers = {name: lambda history, name=name: asked[name].append(len(history)) for name in asked}

    told = measured(rankers, {}, requests=9)

    assert asked["a"] == asked["b"]
    assert performance.WARM_UP + 9 == len(asked["a"])
    assert Counter(len(HISTORIES[i % 7]) for i in range(9)) == Counter(asked["a"][performance.WARM_UP :])
    assert 7 == told["distinct_histories"]


def test_the_large_batch_is_filled_from_the_beginning_again():
    sizes = []

    measured({"a": len}, {"a": lambda histories: sizes.append(len(histories))}, batch=16)

    assert [16] * (1 + performance.ROUNDS) == sizes


def test_the_garbage_collector_rests_while_timing_and_comes_back():
    states = []

    measured({"a": lambda history: states.append(gc.isenabled())}, {})

    assert {False} == set(states)
    assert gc.isenabled()


def test_the_garbage_collector_comes_back_after_an_error():
    def broken(history):
        raise ModelError("no")

    with pytest.raises(ModelError):
        measured({"a": broken}, {})

    assert gc.isenabled()


def test_progress_ends_at_the_total():
    report = Progress()

    measured({"a": len, "b": len}, {"a": len}, report=report)

    total = 2 * (performance.WARM_UP + 21) + 1 + performance.ROUNDS
    assert (total, total) == report.seen[-1]
    assert sorted(report.seen) == report.seen


def test_nothing_to_time_is_refused():
    with pytest.raises(ValueError, match="nothing to time"):
        measure_latency({"a": len}, {}, [], requests=1, batch=1, report=Progress())


def test_the_machine_is_told_without_names_and_paths():
    import platform

    told = machine()

    assert {"cpu", "cores", "usable_cores", "threads", "device", "system", "python", "versions"} == set(told)
    text = json.dumps(told)
    assert platform.node() not in text or not platform.node()
    assert str(Path.home()) not in text
    assert platform.python_version() == told["python"]


def test_weights_on_disk_are_all_the_safetensors(tmp_path):
    (tmp_path / "adapter").mkdir()
    (tmp_path / "model.safetensors").write_bytes(b"x" * 100)
    (tmp_path / "adapter" / "adapter_model.safetensors").write_bytes(b"x" * 10)
    (tmp_path / "items.json").write_bytes(b"x" * 1000)

    assert 110 == folder_bytes(tmp_path)


def test_memory_that_cannot_be_measured_says_why(tmp_path):
    (tmp_path / "histories.json").write_text("[]")

    with pytest.raises(ModelError, match=f"memory of {tmp_path.name} ended with 1: .+"):
        measure_memory(tmp_path, tmp_path / "histories.json")


@pytest.mark.parametrize("code", [-9, -15, TOO_LITTLE])
@pytest.mark.parametrize("times", [1, 2])
def test_a_process_that_is_cut_off_once_is_started_again_and_twice_leaves_no_gap(monkeypatch, tmp_path, code, times):
    """What a result says of memory is for good: that it was not measured may not be for another program's sake."""
    codes = [code] * times + [0]

    def run(command, **_):
        return performance.subprocess.CompletedProcess(command, codes.pop(0), '{"peak": 3}\n', "last words")

    monkeypatch.setattr(performance.subprocess, "run", run)

    if times == 1:
        assert {"peak": 3} == measure_memory(tmp_path, tmp_path / "h.json")
    else:
        with pytest.raises(NeedsError, match=r"2 times: last words") as caught:
            measure_memory(tmp_path, tmp_path / "h.json")
        assert "evaluate.memory = false" in caught.value.hint


@pytest.mark.parametrize(
    "error", [MemoryError(), OSError(28, "No space left on device"), RuntimeError(ALLOCATOR)], ids=str
)
def test_a_machine_without_room_is_told_from_a_model_that_cannot_be_loaded(monkeypatch, tmp_path, error):
    def fail(*_):
        raise error

    (tmp_path / "h.json").write_text("[]")
    monkeypatch.setattr(memory, "measure", fail)

    with pytest.raises(SystemExit) as caught:
        memory.main([str(tmp_path), str(tmp_path / "h.json"), "cpu"])
    assert TOO_LITTLE == caught.value.code


def test_memory_is_measured_in_another_process(monkeypatch, tmp_path):
    seen = []

    def run(command, **_):
        seen.append(command)
        return performance.subprocess.CompletedProcess(command, 0, 'a library talks\n{"peak": 3}\n', "")

    monkeypatch.setattr(performance.subprocess, "run", run)

    assert {"peak": 3} == measure_memory(tmp_path, tmp_path / "h.json")
    command = [sys.executable, "-m", "lwa_core.measuring.memory", str(tmp_path), str(tmp_path / "h.json")]
    assert [[*command, str(device()), str(os.getpid())]] == seen
