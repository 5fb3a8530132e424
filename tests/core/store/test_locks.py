"""Who waits is told for whom."""

import json
import subprocess
import sys
import threading

import pytest

from lwa_core.store.locks import locked

HOLD = """
import sys; from pathlib import Path; from lwa_core.store.locks import locked
with locked(Path(sys.argv[1]), "one"):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def holder(tmp_path):
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, tmp_path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.wait()
    for pipe in (process.stdin, process.stdout):
        pipe.close()


@pytest.mark.parametrize("end", ["let go", "killed"])
def test_who_waits_is_told_which_process_holds_the_lock(tmp_path, holder, end):
    told, got = [], threading.Event()

    def release(who):
        told.append(who)
        holder.kill() if end == "killed" else holder.stdin.close()

    with locked(tmp_path, "one", release):
        got.set()

    assert got.is_set()
    assert [f"process {holder.pid}"] == told


def test_another_name_is_another_lock(tmp_path, holder):
    with locked(tmp_path, "two", lambda who: pytest.fail(f"waited for {who}")):
        pass


@pytest.mark.parametrize(
    "text", [json.dumps({"pid": 999_999_999, "host": "here"}), "", "[]", "[" * 100_000, '{"pid": ' + "9" * 5000 + "}"]
)
def test_a_holder_that_is_not_known_is_another_process(tmp_path, holder, text, monkeypatch):
    monkeypatch.setattr("socket.gethostname", lambda: "here")
    (tmp_path / "one.holder").write_text(text)
    told = []

    def release(who):
        told.append(who)
        holder.kill()

    with locked(tmp_path, "one", release):
        pass

    assert ["another process"] == told


def test_a_holder_on_another_machine_is_named_with_it(tmp_path, holder):
    (tmp_path / "one.holder").write_text('{"pid": 1234, "host": "elsewhere"}')
    told = []

    with locked(tmp_path, "one", lambda who: (told.append(who), holder.kill())):
        pass

    assert ["process 1234 on elsewhere"] == told


def test_nothing_is_left_of_a_lock_but_an_empty_file(tmp_path):
    with locked(tmp_path / "locks", "one"):
        pass

    assert [("one.lock", 0)] == [(path.name, path.stat().st_size) for path in (tmp_path / "locks").iterdir()]
