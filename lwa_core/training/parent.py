"""A process that works for another one ends with it, however that one ended."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time

EVERY = 0.5
"""Seconds between two looks at whether the parent is still there."""

DEATH_SIGNAL = 1
"""`PR_SET_PDEATHSIG` of Linux' prctl."""


def end_with(parent: int) -> None:
    """From now on this process ends as soon as its parent does: nobody would take what it makes.

    It ends as a killed one does: at once, and what it stores may be cut off anywhere. Linux sees to it; a thread looks
    as well, for other systems and for a parent that ended before this was called.

    Args:
        parent: Process id of the parent.
    """
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(DEATH_SIGNAL, signal.SIGKILL)
    threading.Thread(target=_watch, args=(parent,), daemon=True, name="lwa-parent").start()


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(EVERY)
    os._exit(1)
