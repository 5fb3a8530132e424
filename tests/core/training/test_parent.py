"""A process that works for another one ends with it, however that one ended."""

import signal
import subprocess
import sys

import pytest

CHILD = """
import os, sys, time
from lwa_core.training import parent
if sys.argv[1] == "watched":
    parent.sys = type(sys)("sys")
    parent.sys.platform = "other"
parent.end_with(int(sys.argv[2]))
print(os.getpid(), flush=True)
time.sleep(600)
"""

PARENT = """
import os, subprocess, sys, time
subprocess.Popen([sys.executable, "-c", sys.argv[2], sys.argv[1], str(os.getpid())])
time.sleep(600)
"""


@pytest.mark.parametrize("how", ["kernel", "watched"])
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_the_child_of_a_killed_process_ends(how, number):
    command = [sys.executable, "-c", PARENT, how, CHILD]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout.readline().strip().isdecimal()
        parent.send_signal(number)

        assert parent.stdout.read() == ""  # the child holds the pipe as well: it ends when the child has ended


def test_a_process_whose_parent_was_gone_before_ends():
    done = subprocess.run(
        [sys.executable, "-c", CHILD, "watched", "1" * 7], capture_output=True, text=True, check=False
    )

    assert 1 == done.returncode
