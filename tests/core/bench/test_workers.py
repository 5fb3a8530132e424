"""Tasks in processes of their own: results, failures, kills, and what is left of them."""

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from lwa_core.bench.workers import in_processes
from lwa_core.errors import DataError, LwaError


def work(number, what):
    if what == "fail":
        raise DataError("no such column", file="table.csv", hint="name another")
    if what == "bug":
        raise KeyError("a bug")
    if what == "exit":
        sys.exit(3)
    if what == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    if what == "sleep":
        time.sleep(600)
    return {"number": number, "pid": os.getpid()}


def outcomes(*tasks, jobs=2):
    return dict(in_processes(work, list(enumerate(tasks)), jobs))


def test_a_failure_or_a_kill_is_that_of_one_task():
    told = outcomes("fine", "killed", "fail", "bug", "exit", "fine")

    assert [0, 5] == [told[number]["number"] for number in (0, 5)]
    assert told[0]["pid"] != told[5]["pid"] != os.getpid()
    assert {
        1: "its process was ended by signal 9 (too little memory?)",
        2: "table.csv: no such column\n  = name another",
        3: "KeyError: 'a bug'",
        4: "SystemExit: 3",
    } == {number: str(each) for number, each in told.items() if isinstance(each, LwaError)}


def test_a_failure_keeps_its_exit_code():
    assert DataError.exit_code == outcomes("fail")[0].exit_code


def test_processes_are_ended_when_nobody_waits_any_more():
    told = in_processes(work, [(0, "fine"), (1, "sleep")], 2)
    assert 0 == next(told)[0]
    assert 1 == len(multiprocessing.active_children())

    told.close()

    assert [] == multiprocessing.active_children()


KILLED = """
import sys
sys.path.insert(0, sys.argv[1])
from test_workers import sleepers
if __name__ == "__main__":
    sleepers()
"""


def sleepers():
    list(in_processes(say_and_sleep, [(), ()], 2))


def say_and_sleep():
    os.write(1, b"here\n")  # in one piece: two of them write to one pipe
    time.sleep(600)


def test_processes_end_when_their_parent_is_killed(tmp_path):
    (tmp_path / "parent.py").write_text(KILLED)
    command = [sys.executable, tmp_path / "parent.py", Path(__file__).parent]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        said = [parent.stdout.readline().strip() for _ in range(2)]
        parent.kill()

        assert said == ["here", "here"]
        assert parent.stdout.read() == ""  # the pipe ends when the last of those who hold it has ended
