"""What plugins print goes to stderr: stdout belongs to the command that was given."""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout, suppress
from functools import cache


@contextmanager
def printing_to_stderr() -> Iterator[None]:
    """All that is written to stdout inside goes to stderr, also what C code and child processes write."""
    with redirect_stdout(sys.stderr), _descriptor_redirected():
        yield


@contextmanager
def _descriptor_redirected() -> Iterator[None]:
    try:
        sys.__stdout__.flush() if sys.__stdout__ is not None else None
        kept = os.dup(1)
    except (OSError, ValueError):  # there is no stdout
        yield
        return
    try:
        _flush_c()
        with suppress(OSError):
            os.dup2(2, 1)
        yield
    finally:
        _flush_c()
        os.dup2(kept, 1)
        os.close(kept)


def _flush_c() -> None:
    """Write out what C code has printed so far: its buffer is not Python's."""
    with suppress(Exception):  # no C library of that kind: there is nothing to flush
        _libc().fflush(None)


@cache
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None)
