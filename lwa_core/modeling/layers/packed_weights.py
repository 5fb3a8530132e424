"""Weights that a layer holds as packed codes: found, decoded, or refused.

Whoever reads the parameters of a quantised layer as numbers gets bytes, or only the norms that were left alone: figures
that look like any others. So what is made of weights or of their gradients goes through here first.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from lwa_core.errors import ModelError
from lwa_core.modeling.layers.layered import LayeredModel

PLAIN = (torch.float64, torch.float32, torch.float16, torch.bfloat16)
CODES = (torch.int8, torch.uint8, torch.int16, torch.int32)
HINT = "score the model in full precision, or by what needs no weights: leave-one-out, block-influence, gate-taylor"


def packed_module(layer: nn.Module) -> nn.Module | None:
    """The first module in a layer whose weights are not plain numbers, or None."""
    return next((module for module in layer.modules() if _is_packed(module)), None)


def assert_plain_weights(model: LayeredModel, what: str = "weight gradients") -> None:
    """See that the weights of all layers are numbers.

    Args:
        model: Whose layers.
        what: What would be made of them, for the message.

    Raises:
        ModelError: A layer holds codes.
    """
    for index, layer in enumerate(model.layers):
        packed = packed_module(layer)
        if packed is not None:
            said = f"layer {index} holds quantised weights ({type(packed).__name__}), of which there are no {what}"
            raise ModelError(said, HINT)


def layer_weights(layer: nn.Module) -> list[torch.Tensor]:
    """The weights of a layer as numbers, each parameter once, without gradients: what a weight scorer looks at.

    Those that bitsandbytes packed into 4 or 8 bits are decoded.

    Raises:
        ModelError: There are codes of another kind.
    """
    weights = []
    for module in layer.modules():
        if _is_packed(module) and not _is_decodable(module):
            said = f"a layer holds quantised weights ({type(module).__name__}) that cannot be decoded"
            raise ModelError(said, HINT)
        weights += [(id(p), module, p) for p in _own(module)]
    unique = {key: (module, parameter) for key, module, parameter in weights}
    return [_decoded(module, parameter) for module, parameter in unique.values()]


def decode_nf4(packed: torch.Tensor, state: Any) -> torch.Tensor:
    """Decode 4-bit weights from their definition: code book entry times the scale of its block of the flattened tensor.

    Args:
        packed: The codes, two a byte, the first in the high bits.
        state: bitsandbytes' QuantState, nested (double quantisation) or not.
    """
    scales = state.absmax
    if state.nested:
        inner = state.state2
        blocks = torch.arange(len(scales), device=scales.device) // inner.blocksize
        scales = inner.code[scales.long()] * inner.absmax[blocks] + state.offset
    flat = packed.flatten().view(torch.uint8)
    codes = torch.stack([flat >> 4, flat & 15], dim=1).flatten()[: state.shape.numel()]
    blocks = torch.arange(len(codes), device=codes.device) // state.blocksize
    decoded: torch.Tensor = (state.code[codes.long()] * scales[blocks]).reshape(state.shape)
    return decoded


def assert_decodes(name: str, weight: Any) -> None:
    """See that bitsandbytes decodes a 4-bit weight as its definition says.

    Raises:
        ModelError: It does not, on this machine.
    """
    import bitsandbytes.functional as bnb

    decoded = bnb.dequantize_4bit(weight.data, weight.quant_state).float()
    error = float((decoded - decode_nf4(weight.data, weight.quant_state).float()).abs().max())
    if error > 0.01 * float(decoded.abs().max()):
        raise ModelError(
            f"the 4-bit weights of {name} are decoded wrongly on this machine (off by {error:.3g})",
            "leave out the qlora step here; `lwa doctor` shows the check",
        )


@contextmanager
def codes_hidden(model: LayeredModel) -> Iterator[None]:
    """Inside, asking a quantised layer for its parameters is a ModelError: they are no numbers, but look like some.

    For the code of others. `layer_weights` decodes them.
    """

    def refuse(*_: Any, **__: Any) -> Any:
        raise ModelError("the parameters of a quantised layer are packed codes, not its weights", HINT)

    hidden = [layer for layer in model.layers if packed_module(layer) is not None]
    try:
        for layer in hidden:
            vars(layer).update(parameters=refuse, named_parameters=refuse)
        yield
    finally:
        for layer in hidden:
            for name in ("parameters", "named_parameters"):
                vars(layer).pop(name, None)


def assert_loaded_weights_decode(model: nn.Module) -> None:
    """`assert_decodes` for every 4-bit weight of a model that was loaded."""
    for name, parameter in model.named_parameters():
        if getattr(parameter, "quant_state", None) is not None:
            assert_decodes(name, parameter)


def _own(module: nn.Module) -> Iterator[nn.Parameter]:
    # Of the class itself: `codes_hidden` hides those of the object.
    return (parameter for _, parameter in nn.Module.named_parameters(module, recurse=False))


def _is_packed(module: nn.Module) -> bool:
    own = list(_own(module))
    if any(_is_code(parameter) for parameter in own) or getattr(module, "_packed_params", None) is not None:
        return True
    # GPTQ, AWQ and their kin hold integers in buffers, and no matrix beside them.
    codes = [b for b in module.buffers(recurse=False) if b.dtype in CODES and b.dim() >= 2]
    return bool(codes) and not any(parameter.dim() >= 2 for parameter in own)


def _is_code(parameter: nn.Parameter) -> bool:
    """Whether a parameter is no plain tensor of numbers: integers, 8-bit floats, a class that packs them (torchao)."""
    if parameter.dtype not in PLAIN or getattr(parameter, "quant_state", None) is not None:
        return True  # 4-bit codes may be stored as bfloat16
    kind = type(parameter.data)
    return kind not in (torch.Tensor, nn.Parameter) and not kind.__module__.startswith("torch.")


def _is_decodable(module: nn.Module) -> bool:
    packed = [parameter for parameter in _own(module) if _is_code(parameter)]
    return bool(packed) and all(_state(module, parameter) is not None for parameter in packed)


def _state(module: Any, parameter: Any) -> Any:
    """What decodes a weight of bitsandbytes: the state of 4 bits, or the largest magnitude of each row of 8."""
    if getattr(parameter, "quant_state", None) is not None:
        return parameter.quant_state
    if parameter.dtype is not torch.int8 or type(parameter).__name__ != "Int8Params":
        return None
    return parameter.SCB if getattr(parameter, "SCB", None) is not None else getattr(module.state, "SCB", None)


def _decoded(module: nn.Module, parameter: nn.Parameter) -> torch.Tensor:
    if not _is_code(parameter):
        return parameter.detach()
    state = _state(module, parameter)
    if isinstance(state, torch.Tensor):
        return parameter.detach().float() * state.float()[:, None] / 127
    return decode_nf4(parameter.detach(), state).float()
