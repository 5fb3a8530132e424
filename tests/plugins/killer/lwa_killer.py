"""Kills its own process where the variable LWA_TEST_KILL says: `STAGE:KIND:COUNT:DELAY`.

DELAY milliseconds after the COUNT-th event of that kind in that stage (`*`: in any), from a thread, so that the kill
lands wherever the run happens to be by then. The kind `fsync` counts calls of os.fsync: the kill lands inside a write.
LWA_TEST_SIGNAL names another signal than SIGKILL.
"""

from __future__ import annotations

import os
import signal
import threading

from lwa_core import hookimpl

STAGE, KIND, COUNT, DELAY = os.environ.get("LWA_TEST_KILL", ":::").split(":")

SIGNAL = signal.Signals[os.environ.get("LWA_TEST_SIGNAL", "SIGKILL")]

seen = 0


def count():
    global seen  # noqa: PLW0603 -- one process, one count
    seen += 1
    if seen == int(COUNT):
        if int(DELAY):
            threading.Timer(int(DELAY) / 1000, die).start()
        else:
            die()


def die():
    os.kill(os.getpid(), SIGNAL)


@hookimpl
def lwa_event(event):
    if event.kind == KIND and STAGE in ("*", event.stage):
        count()


if KIND == "fsync":
    fsync = os.fsync

    def counted(handle):
        count()
        fsync(handle)

    os.fsync = counted
