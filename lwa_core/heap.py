"""How the C library handles memory that was freed."""

from __future__ import annotations

import ctypes
import os
from functools import cache

TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3  # malloc.h of glibc
LARGEST_MMAP_THRESHOLD = 32 << 20


@cache
def keep_freed_memory() -> None:
    """Let glibc keep what is freed, instead of giving it back to the system and asking for it again at once.

    A forward pass frees and asks for megabytes many times; each time the system hands out empty pages anew, which can
    take longer than the pass itself. Nothing is done where `MALLOC_` variables say what to do, or without glibc.
    """
    if any(name.startswith("MALLOC_") for name in os.environ):
        return
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # another C library
        return
    mallopt(MMAP_THRESHOLD, LARGEST_MMAP_THRESHOLD)
    mallopt(TRIM_THRESHOLD, 2**31 - 1)
