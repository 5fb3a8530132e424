"""One process at a time: a lock for each name, and who holds it."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from lwa_core.errors import StoreError
from lwa_core.store.files import write_atomically
from lwa_core.store.refusals import explained

PATIENCE = 0.2
"""Seconds of waiting of which nothing is said."""


@contextmanager
def locked(folder: Path, name: str, on_wait: Callable[[str], None] | None = None) -> Iterator[None]:
    """Inside, this process alone holds the lock `name` of a folder; a killed process holds none.

    Args:
        folder: Where locks lie; it is made where it is missing.
        name: Of the lock.
        on_wait: Told once, after a moment of waiting, who holds it, as far as that is known.

    Raises:
        StoreError: There can be no lock in this place.
    """
    import filelock  # no command that only looks needs it, and it takes longer to load than they have

    file, holder = folder / f"{name}.lock", folder / f"{name}.holder"
    with explained(file):
        folder.mkdir(parents=True, exist_ok=True)
        _assert_ours(file)
        lock = filelock.FileLock(file)
        try:
            lock.acquire(timeout=PATIENCE)
        except filelock.Timeout:
            if on_wait is not None:
                on_wait(_holder(holder))
            lock.acquire()
    try:
        write_atomically(holder, json.dumps({"pid": os.getpid(), "host": socket.gethostname()}).encode(), durable=False)
        yield
    finally:
        with suppress(OSError):
            holder.unlink()
        lock.release()


def _assert_ours(file: Path) -> None:
    """A lock is an empty file; taking it empties what is there."""
    if file.is_symlink() or (file.exists() and (not file.is_file() or file.stat().st_size)):
        raise StoreError(f"{file} is no lock of lwa", "move it away, or choose another folder with --store")


def _holder(file: Path) -> str:
    try:
        told = json.loads(file.read_text("utf-8"))
        pid, host = int(told["pid"]), str(told["host"])
        if host != socket.gethostname():
            return f"process {pid} on {host}"
        os.kill(pid, 0)
        return f"process {pid}"
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return "another process"  # it has not said yet, or what is there was left by one that was killed
