"""A run that is killed, anywhere, and started again ends with the metrics of a run that nobody disturbed."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from heeding import HEED_ALL

from lwa_core import StoreError
from lwa_core.cli import main
from lwa_core.results.reading import read_results

KILLER = Path(__file__).parents[1] / "plugins" / "killer"

TEXT = """\
name = "killed"

[data]
use = "synthetic"
users = 100
items = 220
mean_length = 12

[recommender]
use = "sequential"
layers = 3
width = 16
max_length = 12
epochs = 3
batch = 16

[[score]]
use = "fisher"

[[score]]
use = "leave-one-out"

[select]
use = "top-k"
by = "fisher"
keep = 2

[[compress]]
use = "distill"
epochs = 2
batch = 16

[evaluate]
bootstrap = 100
requests = 0
memory = false
"""

WITH_4_BITS = TEXT.replace("width = 16", "width = 64").replace(
    "[evaluate]", '[[compress]]\nuse = "qlora"\nepochs = 2\nbatch = 16\n\n[evaluate]'
)


def arguments(folder, text):
    (folder / "recipe.toml").write_text(text)
    return ["run", str(folder / "recipe.toml"), "--store", str(folder / "store")]


def start(folder, text=TEXT, kill=None, by="SIGKILL"):
    """The command in a process of its own, with one thread; `kill` says where it ends, and `by` which signal."""
    path = os.pathsep.join(filter(None, [str(KILLER), os.environ.get("PYTHONPATH")]))
    told = {
        "PYTHONPATH": path,
        "OMP_NUM_THREADS": "1",
        **({"LWA_TEST_KILL": kill, "LWA_TEST_SIGNAL": by} if kill else {}),
    }
    return subprocess.Popen(
        [sys.executable, "-c", f"{HEED_ALL}from lwa_core.cli import main; main()", *arguments(folder, text)],
        env={**os.environ, **told},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def kill_at(point, folder, text=TEXT):
    killed = start(folder, text, point)
    told, _ = killed.communicate(timeout=300)
    assert killed.returncode == -signal.SIGKILL, told


def run_to_the_end(folder, text=TEXT):
    """The same command in this process, which saves the time that importing takes. Gives what is told on stderr."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        done = CliRunner().invoke(main, arguments(folder, text))
    finally:
        torch.set_num_threads(threads)
    assert done.exit_code == 0, done.stderr
    return done.stderr


def metrics(folder):
    (file,) = (folder / "store" / "runs").glob("*/metrics.json")
    return file.read_bytes()


def results(folder):
    """Every result and everything else that lies beside them: kind and key."""
    root = folder / "store" / "results"
    return sorted(str(path.relative_to(root)) for path in root.glob("*/*"))


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("undisturbed")
    run_to_the_end(folder)
    return folder


@pytest.fixture(scope="module")
def undisturbed_4_bits(tmp_path_factory):
    folder = tmp_path_factory.mktemp("undisturbed_4_bits")
    run_to_the_end(folder, WITH_4_BITS)
    return folder


def assert_goes_on(folder, undisturbed, text=TEXT):
    """What was killed is run again, and nothing shows it any more. Gives what that run told."""
    told = run_to_the_end(folder, text)
    assert metrics(folder) == metrics(undisturbed)
    assert results(folder) == results(undisturbed)
    assert not list((folder / "store" / "work").glob("*/*"))
    return told


# The teacher trains 3 epochs of 8 batches; checkpoints are written after batches 8, 16 and 24.


def test_killed_while_the_teacher_trains(undisturbed, tmp_path):
    kill_at("teacher:progress:11:0", tmp_path)
    checkpoints = (tmp_path / "store" / "work" / "model").glob("*/checkpoint-*/manifest.json")
    assert [file.parent.name for file in checkpoints] == ["checkpoint-8"]

    told = assert_goes_on(tmp_path, undisturbed)

    assert "data: stored already" in told
    assert "passed over" not in told


@pytest.mark.parametrize(
    ("by", "point"),
    [
        ("SIGTERM", "teacher:progress:11:0"),
        *(
            pytest.param(by, point, marks=pytest.mark.slow)
            for by in ("SIGINT", "SIGTERM", "SIGHUP")
            for point in ("*:run-started:1:0", "data:stage-started:1:5", "distill-2:progress:3:7", "*:fsync:20:0")
        ),
    ],
)
def test_told_to_end_in_whatever_way_it_says_how_to_go_on(undisturbed, tmp_path, by, point):
    ended = start(tmp_path, TEXT, point, by)
    told, _ = ended.communicate(timeout=300)

    assert 130 == ended.returncode, told
    assert told.endswith("\ninterrupted; run the same command to go on\n")
    assert "Traceback" not in told
    (folder,) = (tmp_path / "store" / "runs").iterdir()
    with pytest.raises(StoreError, match="has not finished"):
        read_results(folder)
    assert not list((tmp_path / "store" / "results").glob("*/.*"))
    assert_goes_on(tmp_path, undisturbed)


def test_killed_inside_a_write(undisturbed, tmp_path):
    kill_at("*:fsync:12:0", tmp_path)

    assert_goes_on(tmp_path, undisturbed)


@pytest.mark.slow
@pytest.mark.parametrize("delay", [5, 20, 60])
@pytest.mark.parametrize("stage", ["teacher:progress:8", "teacher:progress:24", "distill-2:progress:8"])
def test_killed_around_a_checkpoint(undisturbed, tmp_path, stage, delay):
    kill_at(f"{stage}:{delay}", tmp_path)

    assert_goes_on(tmp_path, undisturbed)


@pytest.mark.slow
@pytest.mark.parametrize("count", [1, 10, 16, 34, 50, 90])
def test_killed_inside_each_write(undisturbed, tmp_path, count):
    kill_at(f"*:fsync:{count}:0", tmp_path)

    assert_goes_on(tmp_path, undisturbed)


@pytest.mark.slow
@pytest.mark.parametrize(
    "point",
    [
        "data:stage-started:1:0",
        "data:stage-finished:1:0",
        "score fisher:progress:1:0",
        "score leave-one-out:stage-started:1:20",
        "select:stage-finished:1:0",
        "distill-2:progress:3:0",
        "distill-2:stage-finished:1:0",
        "rank teacher:progress:1:0",
        "rank distill-2:stage-started:1:10",
        "rank baselines:stage-finished:1:0",
        "rank baselines:stage-finished:1:10",
        "rank baselines:stage-finished:1:50",
        "measure time and memory:stage-started:1:0",
    ],
)
def test_killed_anywhere_else(undisturbed, tmp_path, point):
    kill_at(point, tmp_path)

    assert_goes_on(tmp_path, undisturbed)


@pytest.mark.slow
def test_killed_again_and_again(undisturbed, tmp_path):
    points = [  # in the order in which a run meets them
        *("data:stage-started:1:5", "teacher:progress:3:0", "teacher:progress:11:0", "teacher:progress:8:20"),
        *("rank teacher:stage-started:1:0", "rank baselines:stage-finished:1:0"),
        *("score fisher:stage-finished:1:0", "distill-2:progress:10:0", "distill-2:progress:1:0"),
    ]

    for point in points:
        kill_at(point, tmp_path)

    assert_goes_on(tmp_path, undisturbed)


@pytest.mark.slow
@pytest.mark.parametrize("point", ["qlora-2:progress:3:0", "qlora-2:progress:8:20", "qlora-2:progress:13:0"])
def test_killed_while_adapters_train(undisturbed_4_bits, tmp_path, point):
    kill_at(point, tmp_path, WITH_4_BITS)

    assert_goes_on(tmp_path, undisturbed_4_bits, WITH_4_BITS)


@pytest.mark.slow
@pytest.mark.parametrize("attempt", range(2))
def test_two_runs_at_once_share_their_work(undisturbed, tmp_path, attempt):
    both = [start(tmp_path) for _ in range(2)]
    told = [run.communicate(timeout=300)[0] for run in both]

    assert [run.returncode for run in both] == [0, 0], "\n".join(told)
    assert metrics(tmp_path) == metrics(undisturbed)
    assert results(tmp_path) == results(undisturbed)
    assert all(sum(f"\n{stage}: done in" in text for text in told) == 1 for stage in ("teacher", "distill-2"))
