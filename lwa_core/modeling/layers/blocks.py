"""What a block is called with and gives back, and a module that stands in for one.

A block takes hidden states, first or by the name `hidden_states`, and gives back hidden states, alone or first in a
tuple. What else is in the tuple may be needed by the blocks behind it: T5's first block makes the position bias that
all the others add.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from lwa_core.errors import ModelError


def block_input(args: tuple[Any, ...], kwargs: dict[str, Any]) -> torch.Tensor:
    """The hidden states that a block was called with."""
    value = args[0] if args else kwargs.get("hidden_states")
    if not isinstance(value, torch.Tensor):
        raise ModelError("a block was called without hidden states as its first argument")
    return value


def block_output(output: Any) -> torch.Tensor:
    """The hidden states that a block gave back (many families give a tuple)."""
    value = output[0] if isinstance(output, tuple) else output
    if not isinstance(value, torch.Tensor):
        raise ModelError(f"a block gave back {type(value).__name__} instead of hidden states")
    return value


def with_output(output: Any, states: torch.Tensor) -> Any:
    """`output` with other hidden states in it."""
    return (states, *output[1:]) if isinstance(output, tuple) else states


class StandIn(nn.Module):
    """Stands in for a layer and gives out what it is told to.

    Args:
        layer: The layer.
        output: What to give out: states, or a tuple of states and what the layer hands on besides.
    """

    def __init__(self, layer: nn.Module, output: Any) -> None:
        super().__init__()
        self.__dict__["_layer"] = layer  # not a submodule: it must not be seen by hooks or state_dict
        self.__dict__["_output"] = output

    def forward(self, *_: Any, **__: Any) -> Any:
        return self._output

    def __getattr__(self, name: str) -> Any:
        # Models look at attributes of their blocks, such as `attention_type`.
        return getattr(self.__dict__["_layer"], name)


def assert_same_shape(before: torch.Tensor, after: torch.Tensor) -> None:
    """A block can only be left out where what comes out fits in the place of what went in."""
    if before.shape != after.shape:
        raise ModelError(
            f"a block turns states of shape {tuple(before.shape)} into {tuple(after.shape)}, so it cannot be left out"
        )
