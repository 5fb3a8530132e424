"""What a block is called with and gives back, and modules that stand in for one.

A block takes hidden states, first or by the name `hidden_states`, and gives back hidden states, alone or first in a
tuple. What else is in the tuple may be needed by the blocks behind it: T5's first block makes the position bias that
all the others add.
"""

from __future__ import annotations

from collections import UserDict
from typing import Any
from weakref import WeakKeyDictionary

import attrs
import torch
from torch import nn

from lwa_core.errors import ModelError

COMPUTED = "(computed)"
"""An entry of a block's output that the block has to be run for."""


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
    """Stands in for a layer, gives out given states or its input, and hands on what the layer would hand on.

    Args:
        layer: The layer.
        state: What to give out; the input where left out.
        plain: The layer is known to give back nothing but its states, or nobody needs the rest.
    """

    def __init__(self, layer: nn.Module, state: torch.Tensor | None = None, plain: bool = False) -> None:
        super().__init__()
        self.__dict__["_layer"] = layer  # not a submodule: it must not be seen by hooks or state_dict
        self.__dict__["_state"] = state
        self.__dict__["_plain"] = plain

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        state = self._state if self._state is not None else block_input(args, kwargs)
        if self._plain:
            return state
        form = form_of(self._layer, args, kwargs)
        handed = form.handed_on(args, kwargs)
        if handed is None:
            return with_output(self._layer(*args, **kwargs), state)
        return (state, *handed) if form.tupled else state

    def __getattr__(self, name: str) -> Any:
        # Models look at attributes of their blocks, such as `attention_type`.
        return getattr(self.__dict__["_layer"], name)


@attrs.frozen
class Form:
    """What a block gives back besides its states.

    Args:
        tupled: It gives back a tuple.
        rest: Each entry of it behind the states: None; the argument (its place or name) that is handed on as it came;
            `COMPUTED`.
        writes: It leaves something in an argument that other blocks read (Gemma 3n shares keys and values so).
    """

    tupled: bool
    rest: tuple[Any, ...] = ()
    writes: bool = False

    def handed_on(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[Any] | None:
        """The entries for a call, or None where the block has to be run for them."""
        came: dict[Any, Any] = {**dict(enumerate(args)), **kwargs}
        entries = [None if key is None else came.get(key) for key in self.rest]
        lacking = any(key is not None and entry is None for key, entry in zip(self.rest, entries, strict=True))
        return None if self.writes or lacking else entries


_FORMS: WeakKeyDictionary[nn.Module, Form] = WeakKeyDictionary()


def form_of(layer: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Form:
    """What a layer gives back besides its states. Runs each layer once, on its first call, to see it.

    Raises:
        ModelError: It gives back states of another shape than it takes, so that it cannot be left out.
    """
    if layer not in _FORMS:
        came = {key: _uncached(value) for key, value in [*enumerate(args), *kwargs.items()]}
        before = {key: _entries(value) for key, value in came.items()}
        with torch.no_grad():
            output = layer(
                *(value for key, value in came.items() if isinstance(key, int)),
                **{key: value for key, value in came.items() if isinstance(key, str)},
            )
        assert_same_shape(block_input(args, kwargs), block_output(output))
        writes = any(not _same(before[key], _entries(value)) for key, value in came.items())
        tupled = isinstance(output, tuple)
        _FORMS[layer] = Form(tupled, tuple(_origin(v, came) for v in output[1:]) if tupled else (), writes)
    return _FORMS[layer]


def assert_same_shape(before: torch.Tensor, after: torch.Tensor) -> None:
    """A block can only be left out where what comes out fits in the place of what went in."""
    if before.shape != after.shape:
        raise ModelError(
            f"a block turns states of shape {tuple(before.shape)} into {tuple(after.shape)}, so it cannot be left out"
        )


def _origin(value: Any, came: dict[Any, Any]) -> Any:
    if value is None:
        return None
    if not isinstance(value, (torch.Tensor, tuple)):
        return COMPUTED
    return next((key for key, argument in came.items() if argument is value), COMPUTED)


def _uncached(value: Any) -> Any:
    """An argument, or None for a cache of keys and values: looking at a layer must leave no trace in it."""
    return None if hasattr(value, "get_seq_length") else value


def _entries(value: Any) -> list[Any]:
    """What a container that a block may write to holds."""
    if isinstance(value, (dict, UserDict)):
        return list(value.values())
    return list(value) if isinstance(value, list) else []


def _same(a: list[Any], b: list[Any]) -> bool:
    return len(a) == len(b) and all(x is y for x, y in zip(a, b, strict=True))
