"""What all code of a process shares: torch's modes and threads, random generators, the working folder."""

from __future__ import annotations

import os
import random
import sys
from collections.abc import Callable
from typing import Any

import attrs
import numpy as np
import torch
from torch.nn.modules import module as hooked

AUTOCAST = ("cpu", "cuda")
ATTENTION = ("flash_sdp", "mem_efficient_sdp", "math_sdp", "cudnn_sdp")

NUMERIC = ("default dtype", "default device", "autocast", "precision of matrix products", "hooks of all modules")
"""Which of the facts change what a model answers, wherever it is asked from."""


@attrs.frozen(eq=False)
class ProcessState:
    """The state of a process at one moment.

    Args:
        facts: What must be the same afterwards, by what it is called.
        generators: The states of the global random generators, which are put back without a word.
    """

    facts: dict[str, Any]
    generators: dict[str, Any]

    @classmethod
    def now(cls) -> ProcessState:
        """As it is now."""
        return cls(shared_facts(), {name: read() for name, (read, _) in _generators().items()})

    def changes(self) -> list[str]:
        """What is different now."""
        now = shared_facts()
        return [] if now == self.facts else [name for name in now if now[name] != self.facts[name]]

    def restore(self) -> None:
        """Put everything back, the generators too."""
        for name in self.changes():
            SETTERS[name](self.facts[name])
        self.restore_generators()

    def restore_generators(self) -> None:
        """Put the states of the global random generators back."""
        for name, (_, write) in _generators().items():
            if name in self.generators:
                write(self.generators[name])


def shared_facts() -> dict[str, Any]:
    """What code can change for all other code of the process, by what it is called."""
    return {
        "grad mode": torch.is_grad_enabled(),
        "inference mode": torch.is_inference_mode_enabled(),
        "default dtype": torch.get_default_dtype(),
        "default device": getattr(sys.modules.get("torch.utils._device"), "CURRENT_DEVICE", None),
        "number of threads": torch.get_num_threads(),
        "autocast": [(torch.is_autocast_enabled(kind), torch.get_autocast_dtype(kind)) for kind in AUTOCAST],
        "anomaly detection": torch.is_anomaly_enabled(),
        "deterministic algorithms": (
            torch.are_deterministic_algorithms_enabled(),
            torch.is_deterministic_algorithms_warn_only_enabled(),
        ),
        "precision of matrix products": torch.get_float32_matmul_precision(),
        "modes of cuDNN": (
            torch.backends.cudnn.enabled,
            torch.backends.cudnn.benchmark,
            torch.backends.cudnn.deterministic,
        ),
        "attention kernels": [getattr(torch.backends.cuda, f"{name}_enabled")() for name in ATTENTION],
        "hooks of all modules": [tuple(each) for each in _global_hooks()],
        "error handling of numpy": np.geterr(),
        "working folder": _folder(),
    }


def seed_all(seed: int) -> None:
    """Seed the global generators of torch, numpy and the standard library."""
    torch.default_generator.manual_seed(seed)  # torch.manual_seed asks for every sort of device: ten times as long
    if torch.cuda.is_initialized():
        torch.cuda.manual_seed_all(seed)
    np.random.seed(seed % 2**32)
    random.seed(seed)


def _folder() -> str | None:
    try:
        return os.getcwd()
    except OSError:  # it was deleted
        return None


def _global_hooks() -> list[dict[int, Any]]:
    return [
        hooked._global_forward_hooks,
        hooked._global_forward_pre_hooks,
        hooked._global_backward_hooks,
        hooked._global_backward_pre_hooks,
    ]


def _generators() -> dict[str, tuple[Callable[[], Any], Callable[[Any], None]]]:
    """Name -> how to read its state, and how to write it."""
    found: dict[str, tuple[Callable[[], Any], Callable[[Any], None]]] = {
        "random": (random.getstate, random.setstate),
        "numpy": (np.random.get_state, np.random.set_state),
        "torch": (torch.get_rng_state, torch.set_rng_state),
    }
    if torch.cuda.is_initialized():
        found["cuda"] = (torch.cuda.get_rng_state_all, torch.cuda.set_rng_state_all)
    return found


def _set_inference_mode(_: bool) -> None:
    """Only its own context manager ends it; whoever left it open is refused."""


def _set_autocast(values: list[tuple[bool, torch.dtype]]) -> None:
    for kind, (enabled, dtype) in zip(AUTOCAST, values, strict=True):
        torch.set_autocast_enabled(kind, enabled)
        torch.set_autocast_dtype(kind, dtype)


def _set_cudnn(values: tuple[bool, bool, bool]) -> None:
    backend: Any = torch.backends.cudnn
    backend.enabled, backend.benchmark, backend.deterministic = values


def _set_attention(values: list[bool]) -> None:
    for name, value in zip(ATTENTION, values, strict=True):
        getattr(torch.backends.cuda, f"enable_{name}")(value)


def _set_hooks(kept: list[tuple[int, ...]]) -> None:
    for held, names in zip(_global_hooks(), kept, strict=True):
        for name in set(held) - set(names):
            del held[name]


def _set_folder(folder: str | None) -> None:
    if folder is not None:
        os.chdir(folder)


SETTERS: dict[str, Callable[[Any], object]] = {
    "grad mode": torch.set_grad_enabled,
    "inference mode": _set_inference_mode,
    "default dtype": torch.set_default_dtype,
    "default device": torch.set_default_device,
    "number of threads": torch.set_num_threads,
    "autocast": _set_autocast,
    "anomaly detection": torch.autograd.set_detect_anomaly,
    "deterministic algorithms": lambda now: torch.use_deterministic_algorithms(now[0], warn_only=now[1]),
    "precision of matrix products": torch.set_float32_matmul_precision,
    "modes of cuDNN": _set_cudnn,
    "attention kernels": _set_attention,
    "hooks of all modules": _set_hooks,
    "error handling of numpy": lambda now: np.seterr(**now),
    "working folder": _set_folder,
}
"""How each of them is put back."""
