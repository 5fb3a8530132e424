import gc
import json
import os
import subprocess
import sys
import time
from collections import Counter
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from lwa_core.errors import ModelError, NeedsError
from lwa_core.measuring import memory, performance
from lwa_core.measuring.fresh_process import fresh_python
from lwa_core.measuring.memory import TOO_LITTLE
from lwa_core.measuring.performance import Timed, folder_bytes, machine, measure_latency, measure_memory
from lwa_core.modeling.devices import device

ALLOCATOR = "[enforce fail at alloc_cpu.cpp:121] . DefaultCPUAllocator: can't allocate memory: you tried to allocate"

HISTORIES = [np.arange(length, dtype=np.int32) for length in range(1, 8)]


class Progress:
    def __init__(self):
        self.seen = []

    def progress(self, done, total, message=""):
        self.seen.append((done, total))


class Clock:
    """Stands in for the time: an answer takes as long as it says, its network half of that, the processor a share."""

    def __init__(self, monkeypatch, share=1.0):
        self.wall = self.cpu = 0
        self.share = share
        monkeypatch.setattr(time, "perf_counter_ns", lambda: self.wall)
        monkeypatch.setattr(time, "process_time_ns", lambda: self.cpu)
        monkeypatch.setattr(performance, "machine_load", lambda: 0.5)

    def pass_by(self, milliseconds):
        self.wall += int(1e6 * milliseconds)
        self.cpu += int(1e6 * milliseconds * self.share)

    def taking(self, milliseconds, architecture=""):
        """A model: milliseconds for a request, given its length."""

        def answer(asked):
            self.pass_by(sum(milliseconds(each) for each in asked))

        def network(asked):
            self.pass_by(1000)  # making a batch ready is not the network's time
            return lambda: self.pass_by(sum(milliseconds(each) for each in asked) / 2)

        return Timed(answer, network, architecture)


def heard(calls, name):
    """A model that writes down what it is asked."""
    return Timed(lambda asked: calls.append((name, len(asked))), lambda asked: lambda: None)


def measured(models, *, requests=21, batch=4, report=None):
    return measure_latency(models, HISTORIES, requests=requests, batch=batch, report=report or Progress())


def test_percentiles_ratios_and_rates_are_those_of_the_times(monkeypatch):
    clock = Clock(monkeypatch)
    slow = clock.taking(lambda history: 2.0 * len(history))
    fast = clock.taking(lambda history: 0.5 * len(history))

    told = measured({"teacher": slow, "student": fast})

    # 21 requests: each of the 7 lengths three times.
    expected = np.percentile(np.repeat(np.arange(1.0, 8.0), 3), [50, 95, 99])
    teacher, student = told["models"]["teacher"], told["models"]["student"]
    assert (2 * expected).tolist() == pytest.approx([teacher["p50"], teacher["p95"], teacher["p99"]])
    assert (expected / 2).tolist() == pytest.approx([student["p50"], student["p95"], student["p99"]])
    # Pairing: each request takes the student a quarter of the teacher's time, so every block says so.
    assert None is teacher["ratio"] is teacher["cpu_ratio"]
    assert {"mean": 0.25, "low": 0.25, "high": 0.25} == student["ratio"] == student["cpu_ratio"]
    # Batches of 4, of lengths 1 to 4: 20 ms and 5 ms.
    assert {"median": 200.0, "slowest": 200.0, "fastest": 200.0} == teacher["throughput"]
    assert 800.0 == student["throughput"]["median"]
    assert [] == told["unreliable"]
    assert [0.5, 0.5, 1.0] == [told["load_before"], told["load_after"], told["cpu_share"]]


def test_the_network_alone_stands_beside_the_whole_answer(monkeypatch):
    clock = Clock(monkeypatch)

    (told,) = measured({"teacher": clock.taking(lambda history: 4.0)})["models"].values()

    assert [4.0, 4.0, 2.0] == [told["p50"], told["cpu"], told["network"]]
    assert {"mean": 2.0, "low": 2.0, "high": 2.0} == told["added"]


def test_models_of_one_architecture_share_their_ratio(monkeypatch):
    clock = Clock(monkeypatch)
    models = {
        "teacher": clock.taking(lambda history: 4.0, "a"),
        "drop-4": clock.taking(lambda history: 2.0, "b"),
        "distill-4": clock.taking(lambda history: 2.04, "b"),
        "same": clock.taking(lambda history: 4.0, "a"),
    }

    told = measured(models)["models"]

    assert told["drop-4"]["ratio"] == told["distill-4"]["ratio"]
    assert [0.5, 0.51] == [pytest.approx(told["drop-4"]["ratio"][end], abs=1e-4) for end in ("low", "high")]
    assert [["same"], ["distill-4"], ["drop-4"], ["teacher"]] == [each["twins"] for each in told.values()]
    assert 1.0 == told["same"]["ratio"]["mean"]


def test_a_process_that_waits_makes_the_times_unreliable(monkeypatch):
    clock = Clock(monkeypatch, share=0.5)

    told = measured({"teacher": clock.taking(lambda history: 4.0)})

    assert 0.5 == told["cpu_share"]
    assert ["the process had a processor for only 50 % of the time that its answers took"] == told["unreliable"]


def test_calls_are_interleaved_and_take_turns(monkeypatch):
    monkeypatch.setattr(performance, "WARM_UP", 0)
    calls = []

    measured({name: heard(calls, name) for name in "abc"}, requests=4)

    assert ["abc", "bca", "cab", "abc"] == ["".join(name for name, _ in calls[i : i + 3]) for i in range(0, 12, 3)]


def test_the_network_comes_before_and_after_the_answer_by_turns(monkeypatch):
    monkeypatch.setattr(performance, "WARM_UP", 0)
    calls = []
    model = Timed(lambda asked: calls.append("answer"), lambda asked: lambda: calls.append("network"))

    measured({"a": model}, requests=4)

    assert ["answer", "network", "network", "answer"] * 2 == calls[:8]


def test_every_model_gets_the_same_requests():
    asked = {"a": [], "b": []}
    models = {
        name: Timed(lambda sent, name=name: asked[name].extend(map(len, sent)), lambda sent: lambda: None)
        for name in asked
    }

    told = measured(models, requests=9)

    assert asked["a"] == asked["b"]
    single = asked["a"][performance.WARM_UP : performance.WARM_UP + 9]
    assert Counter(len(HISTORIES[i % 7]) for i in range(9)) == Counter(single)
    assert 7 == told["distinct_histories"]


def test_the_large_batch_is_filled_from_the_beginning_again():
    calls = []

    measured({"a": heard(calls, "a")}, batch=16)

    assert [16] * (1 + performance.ROUNDS) == [size for _, size in calls if size > 1]


def test_the_garbage_collector_rests_while_timing_and_comes_back():
    states = []

    measured({"a": Timed(lambda asked: states.append(gc.isenabled()), lambda asked: lambda: None)})

    assert {False} == set(states)
    assert gc.isenabled()


def test_the_garbage_collector_comes_back_after_an_error():
    def broken(asked):
        raise ModelError("no")

    with pytest.raises(ModelError):
        measured({"a": Timed(broken, lambda asked: lambda: None)})

    assert gc.isenabled()


def test_progress_ends_at_the_total():
    report = Progress()

    measured({"a": heard([], "a"), "b": heard([], "b")}, report=report)

    total = 2 * (performance.WARM_UP + 21 + 1 + performance.ROUNDS)
    assert (total, total) == report.seen[-1]
    assert sorted(report.seen) == report.seen


def test_nothing_to_time_is_refused():
    for models, sent in (({"a": heard([], "a")}, []), ({}, HISTORIES)):
        with pytest.raises(ValueError, match="nothing to time"):
            measure_latency(models, sent, requests=1, batch=1, report=Progress())


def test_a_system_that_tells_no_load_is_no_error(monkeypatch):
    def unknown():
        raise OSError("no load")

    monkeypatch.setattr(performance.os, "getloadavg", unknown)

    assert performance.machine_load() is None


@pytest.mark.slow
def test_a_busy_machine_is_noticed():
    """As many processes as processors, twice over, that do nothing but compute, beside a model that computes too."""
    busy = [
        subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(2 * performance.usable_cores() + 1)
    ]
    table = torch.randn(400, 400)

    def work(asked):
        for _ in range(5):
            table @ table

    try:
        time.sleep(1)
        told = measured({"a": Timed(work, lambda asked: partial(work, asked))}, requests=30)
    finally:
        for process in busy:
            process.kill()
            process.wait()

    assert told["unreliable"]
    assert told["cpu_share"] < 0.8


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
    arguments = [str(tmp_path), str(tmp_path / "h.json"), str(device()), str(os.getpid())]
    assert [fresh_python("lwa_core.measuring.memory", *arguments)] == seen
