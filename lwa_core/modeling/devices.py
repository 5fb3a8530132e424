"""Where models run: one device for this process, which whoever starts a run chooses."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING

import attrs

from lwa_core.errors import NeedsError

if TYPE_CHECKING:
    import torch


@attrs.define
class _Choice:
    """What was chosen, and what it turned out to be when a model was first put there."""

    name: str = "auto"
    own: int | None = None
    found: torch.device | None = None


_CHOICE: ContextVar[_Choice | None] = ContextVar("lwa_device", default=None)


def device() -> torch.device:
    """Where models run: what `use_device` chose; else a GPU where there is one, and the CPU where there is none.

    Raises:
        NeedsError: There is no such GPU.
    """
    choice = _CHOICE.get() or _Choice()
    if choice.found is None:
        choice.found = _found(choice.name, choice.own)
        if choice.found.type == "cuda":
            import torch

            torch.cuda.set_device(choice.found)  # libraries that only say "cuda" mean the current one
    return choice.found


@contextmanager
def use_device(name: str, own: int | None = None) -> Iterator[None]:
    """Inside, models run on this device: `auto`, `cpu`, `cuda` or `cuda:N`. Imports no torch.

    Args:
        name: As recipes name it.
        own: The GPU that `auto` and `cuda` mean; torch's current one where left out.
    """
    before = _current_gpu()
    token = _CHOICE.set(_Choice(name, own))
    try:
        yield
    finally:
        _CHOICE.reset(token)
        if before is not None:
            sys.modules["torch"].cuda.set_device(before)


def _current_gpu() -> int | None:
    torch = sys.modules.get("torch")
    return torch.cuda.current_device() if torch is not None and torch.cuda.is_initialized() else None


def _found(name: str, own: int | None) -> torch.device:
    import torch

    kind, _, number = name.partition(":")
    there = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if kind == "cpu" or (kind == "auto" and not there):
        return torch.device("cpu")
    index = int(number) if number else own
    if not there or (index is not None and index >= there):
        wanted = "a GPU" if index is None else f"GPU {index}"
        raise NeedsError(f"this machine lacks {wanted}: it has {there}", "device = 'cpu' runs without one")
    return torch.device("cuda", torch.cuda.current_device() if index is None else index)
