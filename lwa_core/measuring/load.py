"""How busy this machine is, and how much of it this process may use."""

from __future__ import annotations

import os


def machine_load() -> float | None:
    """How many processes wanted a processor, over the last minute; None where the system does not tell."""
    try:
        return round(os.getloadavg()[0], 2)
    except (AttributeError, OSError):
        return None


def usable_cores() -> int:
    """Processors that this process may use."""
    return (len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()) or 1
