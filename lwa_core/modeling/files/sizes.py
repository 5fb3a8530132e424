"""How large a model is, counted: parameters, bytes in memory, and which models are of one size and kind."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

from lwa_core.modeling.layers.row_codes import RowCodes
from lwa_core.store.files import digest


def parameter_count(module: nn.Module) -> int:
    """Parameters, weights in codes counted as the numbers that they stand for and not as their packed bytes."""
    kept = sum(each.shape.numel() for each in module.modules() if isinstance(each, RowCodes))
    return kept + sum(_shape(p).numel() for p in (*module.parameters(), *_packed(module)))


def memory_bytes(module: nn.Module) -> int:
    """Bytes of parameters and buffers as they lie in memory, with the scales of 4-bit weights."""
    return sum(t.numel() * t.element_size() for t in _tensors(module))


def architecture(module: nn.Module) -> str:
    """The same for models of the same modules with weights of the same shapes and number types, whatever they hold."""
    described = [
        [name, type(inner).__name__, [[key, list(t.shape), str(t.dtype)] for key, t in _own(inner)]]
        for name, inner in module.named_modules()
    ]
    return digest(described)


def _own(module: nn.Module) -> Iterator[tuple[str, torch.Tensor]]:
    yield from module.named_parameters(recurse=False)
    yield from module.named_buffers(recurse=False)


def _shape(parameter: Any) -> torch.Size:
    """The shape that a parameter has, or that its packed form stands for."""
    shape: torch.Size = getattr(parameter, "quant_state", parameter).shape
    return shape


def _tensors(module: nn.Module) -> Iterator[torch.Tensor]:
    yield from module.buffers()
    yield from _packed(module)
    for parameter in module.parameters():
        yield parameter
        yield from _scales(getattr(parameter, "quant_state", None))


def _packed(module: nn.Module) -> Iterator[torch.Tensor]:
    """Weights and biases that torch.ao keeps packed in its quantised modules, where they are no parameters."""
    inner: Any
    for inner in module.modules():
        if isinstance(getattr(inner, "_packed_params", None), nn.Module) and hasattr(inner, "_weight_bias"):
            yield from (tensor for tensor in inner._weight_bias() if tensor is not None)


def _scales(state: Any) -> Iterator[torch.Tensor]:
    if state is None:
        return
    yield from (state.absmax, state.code)
    if state.nested:
        yield from (state.offset, state.state2.absmax, state.state2.code)
