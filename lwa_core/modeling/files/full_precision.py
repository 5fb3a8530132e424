"""A plain copy of a model, whatever was done to its weights: what is exported, and never kept as the model."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import nn

from lwa_core.errors import ModelError
from lwa_core.modeling.files.adapters import decoded, merged
from lwa_core.modeling.layers.packed_weights import packed_module
from lwa_core.modeling.layers.row_codes import coded

HALF = (torch.float16, torch.bfloat16)


def full_precision(model: nn.Module) -> nn.Module:
    """A copy of a model in float32, on the CPU, in eval mode; the model stays as it is.

    Weights in codes are decoded, and adapters beside weights are added to them afterwards, in float32.

    Raises:
        ModelError: It holds weights in codes of another kind.
    """
    own: Any = copy.deepcopy(model)
    own = merged(own) if hasattr(own, "peft_config") else decoded(own)
    for name, module in coded(own).items():
        own.set_submodule(name, module.plain())
    packed = packed_module(own)
    if packed is not None:
        said = f"the model holds quantised weights ({type(packed).__name__}) that cannot be decoded"
        raise ModelError(said, "export the student of the step before")
    plain: nn.Module = own.to("cpu").float().eval()
    return plain


def computes_in_float32(model: nn.Module) -> bool:
    """Whether no weight and no product of a model is in half precision, so that its full-precision copy equals it."""
    halves = any(parameter.dtype in HALF for parameter in model.parameters())
    return not halves and all(getattr(module, "compute_dtype", None) not in HALF for module in model.modules())
