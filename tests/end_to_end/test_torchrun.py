"""Two processes of torchrun end with what one process ends with, and a killed one hangs nobody."""

import os
import shutil
import signal
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file

from lwa_core.results.reading import read_results
from lwa_core.store.files import read_json

LONGEST = 240
"""Seconds after which a run counts as hanging."""

TEXT = """\
name = "ranks"
plugins = ["doomed.py"]

[data]
use = "synthetic"
users = 97
items = 220
mean_length = 12

[recommender]
use = "doomed"
layers = 3
width = 16
max_length = 12
epochs = 3
batch = 16
dropout = 0.0

[[score]]
use = "fisher"

[select]
use = "top-k"
by = "fisher"
keep = 2

[[compress]]
use = "distill"
epochs = 2
batch = 16
hidden = 0.0

[evaluate]
bootstrap = 100
requests = 0
memory = false
"""

PLUGIN = '''\
"""`doomed`: `sequential`, in a process that ends where LWA_TEST_DOOM says: HOW:RANK:BATCH."""

import os
import signal

import attrs

from lwa_core import Component, hookimpl
from lwa_core.training import processes
from lwa_plugins.recommenders.sequential import Sequential

HOW, RANK, BATCH = os.environ.get("LWA_TEST_DOOM", "never:0:0").split(":")
seen = 0


@attrs.frozen
class Doomed(Sequential):
    def training_batch(self, windows):
        global seen
        seen += 1
        if HOW != "never" and (processes.rank(), seen) == (int(RANK), int(BATCH)):
            if HOW == "raise":
                raise ValueError("no such batch")
            os.kill(os.getpid(), signal.SIGKILL)
        return super().training_batch(windows)


@hookimpl
def lwa_recommenders():
    return [Component("doomed", Doomed)]
'''


def run(folder, count=2, doom="", options=()):
    """The command under torchrun, or in one process. Gives its exit code and all that it said."""
    folder.mkdir(exist_ok=True)
    (folder / "ranks.toml").write_text(TEXT)
    (folder / "doomed.py").write_text(PLUGIN)
    torchrun = ["-m", "torch.distributed.run", "--nproc-per-node", str(count)]
    command = [*torchrun, "-m", "lwa_core.cli"] if count > 1 else ["-m", "lwa_core.cli"]
    if doom:  # it counts batches of the run, not of the smoke test
        options = (*options, "--no-smoke-test")
    started = subprocess.Popen(
        [sys.executable, *command, "run", str(folder / "ranks.toml"), "--store", str(folder / "store"), *options],
        env={**os.environ, "OMP_NUM_THREADS": "1", "LWA_TEST_DOOM": doom or "never:0:0"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        said, _ = started.communicate(timeout=LONGEST)
    except subprocess.TimeoutExpired:
        os.killpg(started.pid, signal.SIGKILL)
        raise
    return started.returncode, said


def finished(folder, **how):
    code, said = run(folder, **how)
    assert 0 == code, said
    return said


def run_folder(folder):
    (found,) = (folder / "store" / "runs").glob("ranks-*")
    return found


def weights(folder, name):
    return load_file(run_folder(folder) / "models" / name / "model.safetensors")


def training(folder, name):
    results = (folder / "store" / "results" / "model").glob("*/")
    (found,) = [each for each in results if read_json(each / "manifest.json")["stage"] == name]
    return read_json(found / "facts.json")["training"]


def assert_alike(one, other):
    """The same models and the same figures."""
    for name in ("teacher", "distill-2"):
        ours, theirs = weights(one, name), weights(other, name)
        assert ours.keys() == theirs.keys()
        assert 1e-5 > max(float((ours[key] - theirs[key]).abs().max()) for key in ours)
        for mine, his in zip(training(one, name)["history"], training(other, name)["history"], strict=True):
            assert mine == pytest.approx(his, abs=1e-5)
    figures = [
        {(model.name, metric): told.mean for model in metrics.models for metric, told in model.metrics.items()}
        for metrics in (read_results(run_folder(folder)).metrics for folder in (one, other))
    ]
    assert figures[0] == pytest.approx(figures[1], abs=1e-5)


@pytest.fixture(scope="module")
def one(tmp_path_factory):
    folder = tmp_path_factory.mktemp("one")
    finished(folder, count=1)
    return folder


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    folder = tmp_path_factory.mktemp("two")
    return folder, finished(folder)


pytestmark = pytest.mark.slow


def test_two_processes_end_with_what_one_ends_with(one, two):
    assert_alike(one, two[0])


def test_one_of_them_talks(two):
    _, said = two
    told = [line for line in said.splitlines() if "done in" in line or line.startswith(("report:", "loaded local"))]
    assert sorted(set(told)) == sorted(told)
    assert 1 == said.count("\nteacher: done in")
    assert 1 == len([line for line in said.splitlines() if line.startswith("report: ") and line.endswith("report.md")])


def test_nothing_but_results_is_left(two):
    assert not list((two[0] / "store" / "work").glob("*/*"))
    assert not list((two[0] / "store" / "results").glob("*/.*"))


def test_what_is_stored_is_read_by_both(two):
    folder, _ = two
    before = (run_folder(folder) / "metrics.json").read_bytes()

    said = finished(folder)

    assert 1 == said.count("\nteacher: stored already")
    assert "done in" not in said
    assert before == (run_folder(folder) / "metrics.json").read_bytes()


def test_what_one_process_stored_two_go_on_from(one, tmp_path):
    other = ("--set", "compress.0.epochs=1", "--set", "compress.0.name=other")
    finished(tmp_path, count=1, options=other)
    shutil.rmtree(tmp_path / "store" / "runs")

    said = finished(tmp_path)

    assert "\nteacher: stored already" in said
    assert "distill-2: done in" in said
    assert_alike(one, tmp_path)


@pytest.mark.parametrize("rank", [0, 1])
@pytest.mark.parametrize("count", [1, 2])
def test_a_killed_process_ends_all_in_words_and_the_same_command_goes_on(one, tmp_path, rank, count):
    code, said = run(tmp_path, doom=f"kill:{rank}:9")  # in the second of three epochs of seven batches

    assert 0 != code
    assert "error[stage]: stage 'teacher'" in said
    assert "failed: another process of this run ended, killed or out of memory" in said
    assert "1 stages before it are stored; the same command goes on from there" in said
    checkpoints = (tmp_path / "store" / "work" / "model").glob("*/checkpoint-*/manifest.json")
    assert ["checkpoint-7"] == [file.parent.name for file in checkpoints]

    said = finished(tmp_path, count=count)

    assert "data: stored already" in said
    assert_alike(one, tmp_path)


@pytest.mark.parametrize("rank", [0, 1])
def test_what_fails_in_one_process_fails_in_all_and_is_said_once(tmp_path, rank):
    code, said = run(tmp_path, doom=f"raise:{rank}:9")

    assert 0 != code
    assert 1 == said.count("error[stage]: stage 'teacher'")
    assert 1 == said.count("ValueError: no such batch")
    assert "another process of this run ended" not in said


def test_dropout_is_drawn_again_when_training_goes_on(tmp_path):
    drops = ("--set", "recommender.dropout=0.2")
    finished(tmp_path / "whole", options=drops)
    code, _ = run(tmp_path / "killed", doom="kill:1:9", options=drops)
    assert 0 != code
    finished(tmp_path / "killed", options=drops)

    whole, killed = weights(tmp_path / "whole", "teacher"), weights(tmp_path / "killed", "teacher")
    assert all(torch.equal(whole[name], killed[name]) for name in whole)
