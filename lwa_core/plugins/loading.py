"""Run code of plugins that is loaded, not asked: what it prints goes to stderr, and waiting for it is said."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from lwa_core.plugins.lending.output import printing_to_stderr
from lwa_core.printable import one_line

PATIENCE = 3.0
"""Seconds after which is said what is waited for."""


@contextmanager
def loading(what: str) -> Iterator[None]:
    """Import or ask a plugin: nothing of it reaches stdout, and after some seconds stderr says what is waited for."""
    waiting = threading.Timer(PATIENCE, _tell, (what,))
    waiting.daemon = True
    waiting.start()
    try:
        with printing_to_stderr():
            yield
    finally:
        waiting.cancel()


def _tell(what: str) -> None:
    os.write(2, f"{one_line(f'still waiting for {what} …')}\n".encode())
