"""The models that compressors and recommenders return, looked at where they come back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from lwa_core.errors import ModelError, PluginError
from lwa_core.modeling.layers.layered import LayeredModel

COMPARED = 4096
"""Numbers of each weight by which a layer of a student is told from those of the teacher."""

NEARER = 0.01
"""A layer is taken for another one where its squared distance to that is less than this share of that to its own."""


def checked_network(who: str, network: Any) -> nn.Module:
    """A model, if it is one and all of its numbers are finite. Raises PluginError otherwise."""
    if not isinstance(network, nn.Module):
        raise PluginError(f"{who} gave {type(network).__name__}, not a model (torch.nn.Module)")
    for name, tensor in [*network.named_parameters(), *network.named_buffers()]:
        if tensor.is_floating_point() and tensor.device.type != "meta" and not _finite(tensor):
            raise PluginError(f"{who} gave a model whose `{name}` holds numbers that are not finite")
    return network


def checked_student(
    who: str, network: Any, teacher: LayeredModel, kept: Sequence[int], blocks: str | None = None
) -> nn.Module:
    """A compressor's student, if it has the layers that were planned.

    Args:
        who: The compressor and its provider.
        network: What it gave.
        teacher: The full model.
        kept: The planned layers.
        blocks: Where the list of blocks is, if it is known.

    Raises:
        PluginError: It is no model, holds numbers that are not finite, or has other layers.
    """
    student = checked_network(who, network)
    try:
        layered = LayeredModel(student, blocks)
        layers = list(layered.layers)
    except ModelError as error:
        raise PluginError(f"{who} gave a model whose layers cannot be found: {error.message}", error.hint) from error
    if len(layers) != len(kept):
        planned = ", ".join(map(str, kept))
        said = f"{who} gave a model with {len(layers)} layers, where {len(kept)} were planned (layers {planned})"
        raise PluginError(said, "`job.cut()` gives the student with just the planned layers")
    originals = list(teacher.layers)
    for place, (layer, planned_layer) in enumerate(zip(layers, kept, strict=True)):
        other = _stands_for(layer, originals, planned_layer)
        if other is not None:
            said = f"{who} gave a model whose layer {place} is the teacher's layer {other}, not layer {planned_layer}"
            raise PluginError(said, "`job.kept` names the planned layers")
    return student


def _finite(tensor: torch.Tensor) -> bool:
    try:  # a sum is finite only where all are, unless it overflows
        return bool(torch.isfinite(tensor.detach().sum(dtype=torch.float64)) or torch.isfinite(tensor).all())
    except (RuntimeError, NotImplementedError):  # a type that knows no sums
        return True


def _stands_for(layer: nn.Module, originals: Sequence[nn.Module], planned: int) -> int | None:
    """Which of the teacher's layers it plainly is, if that is another one than was planned."""
    distances = [_distance(layer, original) for original in originals]
    own = distances[planned]
    if own is None or own == 0:
        return None
    near = {place: far for place, far in enumerate(distances) if far is not None and far < NEARER * own}
    return min(near, key=lambda place: near[place]) if near else None


def _distance(layer: nn.Module, original: nn.Module) -> float | None:
    """Squared distance of the weights that both have in one shape; None where there are none."""
    theirs = dict(original.named_parameters())
    parts = [
        (
            mine.detach().reshape(-1)[:COMPARED].float()
            - theirs[name].detach().reshape(-1)[:COMPARED].to(mine.device).float()
        )
        .square()
        .sum()
        for name, mine in layer.named_parameters()
        if name in theirs and mine.shape == theirs[name].shape and mine.is_floating_point()
    ]
    return float(torch.stack(parts).sum()) if parts else None
