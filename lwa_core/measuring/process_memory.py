"""Resident memory of this process, as the system tells it."""

from __future__ import annotations

import sys
from pathlib import Path

STATUS = Path("/proc/self/status")


def resident(field: str) -> int | None:
    """Bytes of a `Vm...` field of /proc/self/status, or None where there is no such file."""
    try:
        lines = STATUS.read_text("ascii").splitlines()
    except OSError:
        return None
    sizes = [int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{field}:")]
    return sizes[0] if sizes else None


def reset_peak() -> None:
    """Let Linux forget the highest resident memory so far (importing needs more than what is left after it)."""
    try:
        Path("/proc/self/clear_refs").write_text("5", "ascii")
    except OSError:
        return  # then the peak counts from the start of the process


def peak() -> int:
    """Highest resident memory in bytes."""
    linux = resident("VmHWM")
    if linux is not None:
        return linux
    import resource

    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return used if sys.platform == "darwin" else used * 1024
