"""What the machine is, and what components need of it, found out without importing torch."""

from __future__ import annotations

import os
import platform
import re
import sys
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path

NVIDIA = ("/proc/driver/nvidia/gpus", "/dev/nvidia0", "/dev/dxg")
"""Where Linux, and Linux inside Windows, show a GPU."""


def lacking_of(needs: Iterable[str], distribution: str | None) -> list[str]:
    """The needs that are not met, sorted. `distribution` is whose extras are meant; a need nobody knows is not met."""
    return sorted(need for need in needs if not _met(need, distribution))


def _met(need: str, distribution: str | None) -> bool:
    if need == "cuda":
        return has_cuda()
    sort, _, extra = need.partition(":")
    return sort == "extra" and distribution is not None and has_extra(distribution, extra)


def has_cuda() -> bool:
    """Whether a CUDA device and a torch built for it are here. Asks torch only where it is imported already."""
    if torch := sys.modules.get("torch"):
        return bool(torch.cuda.is_available())
    if os.environ.get("CUDA_VISIBLE_DEVICES", "all") in ("", "-1") or not any(Path(path).exists() for path in NVIDIA):
        return False
    try:
        return not version("torch").endswith("+cpu")
    except PackageNotFoundError:
        return False


def lacking_device(name: str) -> list[str]:
    """What a recipe's `device` needs and this machine does not have. Asks torch only where it is imported already."""
    kind, _, number = name.partition(":")
    if kind != "cuda":
        return []
    return [] if has_cuda() and int(number or 0) < _gpus() else [name]


def _gpus() -> int:
    """How many GPUs there are for this process; where nothing tells, as many as anyone may ask for."""
    if torch := sys.modules.get("torch"):
        return int(torch.cuda.device_count())
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return len([each for each in visible.split(",") if each.strip()])
    listed = Path(NVIDIA[0])
    return len(list(listed.iterdir())) if listed.is_dir() else sys.maxsize


def has_extra(distribution: str, extra: str) -> bool:
    """Whether every requirement of an optional extra is installed (versions are pip's business)."""
    try:
        listed = requires(distribution) or []
    except PackageNotFoundError:
        return False
    marker = re.compile(rf"""extra\s*==\s*["']{re.escape(extra)}["']""")
    wanted = [re.match(r"[\w.-]+", line) for line in listed if marker.search(line)]
    return bool(wanted) and all(_is_installed(name.group()) for name in wanted if name)


def _is_installed(distribution: str) -> bool:
    try:
        version(distribution)
    except PackageNotFoundError:
        return False
    return True


def cpu_name() -> str:
    """What the processor calls itself; on Linux the standard library does not know it."""
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return next((name for name in names if name), "") or platform.processor() or platform.machine()
