"""Layers planted into a trained model, of which it is known that the model does not need them.

A scorer that claims to say how much a layer matters must put a planted layer last.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from lwa_core.errors import ModelError
from lwa_core.modeling.layers.layered import LayeredModel, stated_depth
from lwa_core.modeling.layers.packed_weights import assert_plain_weights

KINDS = ("identity", "duplicate", "noise")
LAST_OF_A_BRANCH = ("o_proj", "down_proj", "out_proj", "c_proj", "fc2", "dense_4h_to_h", "lin2", "out_lin", "wo", "o")


def plant(model: LayeredModel, kind: str, at: int, seed: int = 0) -> tuple[LayeredModel, tuple[int, ...]]:
    """A copy of a model with one layer more, and which layers a scorer may put last.

    `identity`: a copy of layer `at` whose branches end in zeros, so that it gives out what comes in, though its other
    weights are as large as any. `duplicate`: layer `at` twice in a row; either of the two may come last. `noise`: a
    copy with its weights redrawn at their own scale, which nobody trained.

    Raises:
        ModelError: The branches of the model's layers have ends that are not known, or its weights are quantised.
    """
    if kind not in KINDS:
        raise ModelError(f"there is no planted layer {kind!r}", f"there are: {', '.join(KINDS)}")
    assert_plain_weights(model, "copies with other weights")
    planted = LayeredModel(copy.deepcopy(model.base), model.path)
    layer = copy.deepcopy(planted.layers[at])
    with torch.no_grad():
        if kind == "identity":
            _end_in_zeros(layer)
        elif kind == "noise":
            generator = torch.Generator().manual_seed(seed)
            for parameter in layer.parameters():
                drawn = torch.randn(parameter.shape, generator=generator).to(parameter.device, parameter.dtype)
                parameter.copy_(drawn * parameter.std(unbiased=False) + parameter.mean())
    layers = list(planted.layers)
    layers.insert(at + 1, layer)
    parent, _, name = planted.path.rpartition(".")
    setattr(planted.base.get_submodule(parent), name, nn.ModuleList(layers))
    _renumber(planted, layers)
    return planted, (at, at + 1) if kind == "duplicate" else (at + 1,)


def _end_in_zeros(layer: nn.Module) -> None:
    ends = [module for name, module in layer.named_modules() if name.rpartition(".")[2] in LAST_OF_A_BRANCH]
    if not ends:
        raise ModelError(f"the ends of the branches of a {type(layer).__name__} are not known")
    for module in ends:
        for parameter in module.parameters():
            parameter.zero_()


def _renumber(planted: LayeredModel, layers: Sequence[nn.Module]) -> None:
    """The copy goes by its own number, and the configuration counts it."""
    for number, layer in enumerate(layers):
        for module in layer.modules():
            if isinstance(getattr(module, "layer_idx", None), int):
                module.layer_idx = number  # type: ignore[assignment]
    config: Any = getattr(planted.base, "config", None)
    depth = stated_depth(planted.base)
    for name, value in list(vars(config).items()) if config is not None else []:
        if value == depth and isinstance(value, int) and "layer" in name:
            setattr(config, name, len(layers))
