"""The precision of weights: float32 while they are trained, and what a recipe asks for afterwards."""

from __future__ import annotations

import torch
from torch import nn

PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16}
ADAPTER = ".lora_"
"""In the names of an adapter's weights, which stay float32: peft makes them so again when it loads them."""


def cast(model: nn.Module, precision: str) -> nn.Module:
    """Put the weights of a model into a precision, in place, and give it back.

    Weights in 4 bits, whole numbers, and what is computed and not saved stay as they are: rotary frequencies are no
    weights, and have too few digits in bfloat16.
    """
    wanted = PRECISIONS[precision]
    for name, parameter in model.named_parameters():
        if parameter.is_floating_point() and ADAPTER not in name:
            parameter.data = parameter.data.to(wanted)
    for module in model.modules():
        for name, buffer in module.named_buffers(recurse=False):
            if buffer.is_floating_point() and name not in module._non_persistent_buffers_set:
                setattr(module, name, buffer.to(wanted))
    config = getattr(model, "config", None)
    if config is not None:
        config.dtype = wanted  # by which `from_pretrained` knows it
    model.train(model.training)  # what a model keeps in eval mode was made of the weights before
    return model
