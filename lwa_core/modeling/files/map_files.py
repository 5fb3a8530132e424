"""The maps between a model's layers in files of their own, beside weights that stay a plain checkpoint."""

from __future__ import annotations

import re
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn

from lwa_core.errors import ModelError
from lwa_core.modeling.layers.layered import LayeredModel
from lwa_core.modeling.layers.state_maps import StateMap, maps_of, put_map

FILE = "state_maps.safetensors"
NAME = re.compile(r"(0|[1-9][0-9]{0,5})\.(weight|bias)", re.ASCII)
"""`3.weight`, `3.bias`: the map behind the third layer; `0` is before the first."""


def write_maps(model: nn.Module, blocks: str | None, folder: Path) -> None:
    """Write the maps of a model, whose list of layers is at `blocks` (None: it is found)."""
    tensors = {
        f"{boundary}.{name}": tensor.detach().cpu().contiguous()
        for boundary, each in maps_of(LayeredModel(model, blocks)).items()
        for name, tensor in each.named_parameters()
    }
    save_file(tensors, folder / FILE)


def with_saved_maps(model: nn.Module, blocks: str | None, folder: Path) -> nn.Module:
    """The model with the maps that lie in its folder, if any do.

    Args:
        model: As its weights have it; is changed.
        blocks: Path of its list of layers; None: it is found.
        folder: Where it was read from.

    Raises:
        ModelError: The maps are damaged, or those of another model.
    """
    if not (folder / FILE).is_file():
        return model
    layered = LayeredModel(model, blocks)
    for boundary, parts in _read(folder / FILE).items():
        weight, bias = parts.get("weight"), parts.get("bias")
        if weight is None or weight.dim() > 2 or len({*weight.shape, *(() if bias is None else bias.shape)}) > 1:
            raise ModelError(f"{folder / FILE}: what it has for boundary {boundary} is no map of states")
        put_map(layered, boundary, StateMap(weight, bias))
    return model.eval()


def _read(file: Path) -> dict[int, dict[str, torch.Tensor]]:
    found: dict[int, dict[str, torch.Tensor]] = {}
    try:
        with safe_open(file, "pt") as opened:
            for key in opened.keys():  # noqa: SIM118 -- it is no mapping
                if NAME.fullmatch(key) is None:
                    raise ModelError(f"{file}: {key[:40]!r} names no map of states")
                boundary, _, name = key.partition(".")
                found.setdefault(int(boundary), {})[name] = opened.get_tensor(key)
    except ModelError:
        raise
    except Exception as error:  # safetensors raises its own kind, the system others
        raise ModelError(f"cannot read {file}: {error}") from error
    return found
