"""Linear maps of the states at the boundaries of a model's layers: what stands in a gap that a cut has left.

A map is a submodule of the layer whose output it takes, or of the first layer, whose input it takes then; a hook
applies it. The layers stay modules of their own family, so that whatever runs, trains, quantises or exports the model
does as it did. In files the maps lie apart (`lwa_core.modeling.files.map_files`): the weights stay a plain checkpoint.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from lwa_core.errors import ModelError
from lwa_core.modeling.layers.blocks import block_input, block_output, with_output

if TYPE_CHECKING:
    from lwa_core.modeling.layers.layered import LayeredModel

ON_OUTPUT, ON_INPUT = "output_map", "input_map"
"""What the map is called in a layer."""


class StateMap(nn.Module):
    """h ↦ A h + c for states (…, width), where A is a number (), a diagonal (width,) or a matrix (width, width).

    Args:
        weight: A.
        bias: c (width,); None: there is none.
    """

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor | None = None) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight)
        self.bias = None if bias is None else nn.Parameter(bias)

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        if self.weight.dim() == 2:
            return nn.functional.linear(states, self.weight, self.bias)
        mapped = states * self.weight
        return mapped if self.bias is None else mapped + self.bias


def put_map(model: LayeredModel, boundary: int, state_map: StateMap) -> None:
    """Map the states at a boundary of the layers, in place of the map that may be there.

    Args:
        model: Is changed.
        boundary: 0 before the first layer, i behind the i-th.
        state_map: Moved to the device and precision of the layer.

    Raises:
        ModelError: There is no such boundary.
    """
    if not 0 <= boundary <= model.depth:
        raise ModelError(f"there is no boundary {boundary} in a model of {model.depth} layers")
    layer, name = (model.layers[boundary - 1], ON_OUTPUT) if boundary else (model.layers[0], ON_INPUT)
    kept = next((p for p in layer.parameters() if p.is_floating_point()), None)
    present = name in dict(layer.named_children())
    layer.add_module(name, state_map if kept is None else state_map.to(kept.device, kept.dtype))
    if present:
        return
    if boundary:
        layer.register_forward_hook(_map_output)
    else:
        layer.register_forward_pre_hook(_map_input, with_kwargs=True)


def maps_of(model: LayeredModel) -> dict[int, StateMap]:
    """The maps in a model, by boundary."""
    found: dict[int, StateMap] = {}
    for number, layer in enumerate(model.layers):
        for name, boundary in ((ON_INPUT, number), (ON_OUTPUT, number + 1)):
            child = layer._modules.get(name)
            found |= {boundary: child} if isinstance(child, StateMap) else {}
    return found


def has_maps(model: nn.Module) -> bool:
    """Whether any boundary of the model has a map."""
    return any(isinstance(module, StateMap) for module in model.modules())


@contextmanager
def maps_apart(model: nn.Module) -> Iterator[Mapping[str, StateMap]]:
    """Take the maps out of a model for a while, so that its weights are those of a plain one; yields them by name."""
    found = {name: module for name, module in model.named_modules() if isinstance(module, StateMap)}
    for name in found:
        del _owner(model, name)._modules[name.rpartition(".")[2]]
    try:
        yield found
    finally:
        for name, module in found.items():
            _owner(model, name).add_module(name.rpartition(".")[2], module)


def _owner(model: nn.Module, name: str) -> nn.Module:
    return model.get_submodule(name.rpartition(".")[0])


def _map_output(layer: nn.Module, _: Any, output: Any) -> Any:
    state_map = layer._modules.get(ON_OUTPUT)  # there is none while it is apart
    return output if state_map is None else with_output(output, state_map(block_output(output)))


def _map_input(layer: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    state_map = layer._modules.get(ON_INPUT)
    if state_map is None:
        return args, kwargs
    mapped = state_map(block_input(args, kwargs))
    return ((mapped, *args[1:]), kwargs) if args else (args, {**kwargs, "hidden_states": mapped})
