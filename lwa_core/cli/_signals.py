"""Ctrl-C, a request to end, a terminal that was closed: one way to end, whatever the command is at."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import NoReturn

INTERRUPTED = 130
"""Exit code."""

SAID = "\ninterrupted; run the same command to go on\n"

NAMES = ("SIGINT", "SIGTERM", "SIGHUP")

GRACE = 5.0
"""Seconds in which a command may tidy up. Some library may have swallowed the exception, or hold on to the thread."""

_received = threading.Event()


@contextmanager
def interruptible() -> Iterator[None]:
    """Inside, each of the signals raises KeyboardInterrupt; a second one, or a while without an end, ends the process.

    Signals that are ignored stay so: that is what `nohup` asks for.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {}
    for name in NAMES:
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) != signal.SIG_IGN:
            before[number] = signal.signal(number, _interrupt)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        _received.clear()


def is_interrupted() -> bool:
    """Whether one of the signals came: what is raised since may be due to it."""
    return _received.is_set()


def _interrupt(*_: object) -> None:
    if _received.is_set():
        _end()
    _received.set()
    threading.Thread(target=_end_later, daemon=True, name="lwa-interrupted").start()
    raise KeyboardInterrupt


def _end_later() -> None:
    time.sleep(GRACE)
    if _received.is_set():
        _end()


def _end() -> NoReturn:
    with suppress(OSError):  # of a terminal that is gone
        os.write(2, SAID.encode())
    os._exit(INTERRUPTED)
