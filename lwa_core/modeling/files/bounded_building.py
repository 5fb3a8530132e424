"""Building a model that may not become larger than the weights that it is for."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import nn
from torch.nn.modules import module as registration

from lwa_core.errors import ModelError
from lwa_core.modeling.files.model_folder import Held

NUMBERS, BUFFERS, MODULES = 2**22, 2**26, 10_000
"""What any model may have of each, however little its weights hold."""


@contextmanager
def no_larger_than(held: Held) -> Iterator[None]:
    """Inside, a module that is built beyond what weights hold is a ModelError, before anything is allocated for it.

    transformers builds on the meta device and gives memory to whatever the weights then lack or have in another shape:
    a width of a million would be allocated before anyone is told that it does not fit.

    Args:
        held: What the weights hold.
    """
    seen: dict[int, torch.Tensor] = {}  # kept, so that no number comes to stand for another tensor
    counts = {"modules": 0, "numbers": 0, "buffered numbers": 0}
    most = {
        "modules": 32 * held.tensors + MODULES,
        "numbers": 4 * held.numbers + NUMBERS,  # tied weights are in the files once, 4-bit ones are built twice
        "buffered numbers": 4 * held.numbers + BUFFERS,
    }

    def count(what: str, more: int) -> None:
        counts[what] += more
        if counts[what] > most[what]:
            said = f"it would have more than {most[what]} {what}, and its weights hold {held.numbers} numbers"
            raise ModelError(f"config.json describes a larger model than its weights: {said}")

    def tensor(what: str) -> Any:
        def added(_: nn.Module, __: str, value: torch.Tensor | None) -> None:
            if value is not None and value.device.type == "meta" and id(value) not in seen:
                seen[id(value)] = value
                count(what, value.numel())

        return added

    def module(_: nn.Module, __: str, value: nn.Module | None) -> None:
        count("modules", value is not None)

    with ExitStack() as hooks:
        for register, hook in (
            (registration.register_module_module_registration_hook, module),
            (registration.register_module_parameter_registration_hook, tensor("numbers")),
            (registration.register_module_buffer_registration_hook, tensor("buffered numbers")),
        ):
            hooks.callback(register(hook).remove)
        yield
