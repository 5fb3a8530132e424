"""Two compressors whose students have other modules than their recommender builds: low-rank factors, and int8 weights.

Written with the public names alone, as a plugin of somebody else would be.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from lwa_core import Component, CompressionJob, LayeredModel, hookimpl, load_weights, save_weights, setting

if TYPE_CHECKING:
    import torch


def replaced(model: LayeredModel, make: Callable[[Any], Any]) -> torch.nn.Module:
    """The model with what `make` gives for each linear map of its layers in the map's place."""
    from torch import nn

    for layer in model.layers:
        for name, module in list(layer.named_modules()):
            if isinstance(module, nn.Linear):
                layer.set_submodule(name, make(module))
    return model.model


@attrs.frozen
class LowRank:
    """Two thin linear maps in the place of each: the truncated singular value decomposition of its weights."""

    rank: int = setting(4, help="rank of the factors", minimum=1)

    def compress(self, job: CompressionJob) -> torch.nn.Module:
        return replaced(job.cut(), self._factors)

    def save(self, model: torch.nn.Module, folder: Path) -> None:
        save_weights(model, folder)

    def restore(self, model: torch.nn.Module, folder: Path) -> torch.nn.Module:
        return load_weights(replaced(LayeredModel(model), self._factors), folder)

    def _factors(self, module: Any) -> torch.nn.Module:
        import torch
        from torch import nn

        u, s, v = torch.linalg.svd(module.weight.detach(), full_matrices=False)
        rank = min(self.rank, len(s))
        down = nn.Linear(module.in_features, rank, bias=False)
        up = nn.Linear(rank, module.out_features, bias=module.bias is not None)
        with torch.no_grad():
            down.weight.copy_(v[:rank])
            up.weight.copy_(u[:, :rank] * s[:rank])
            if module.bias is not None:
                up.bias.copy_(module.bias)
        return nn.Sequential(down, up)


@attrs.frozen
class Int8:
    """Weights of the linear maps as whole numbers of 8 bits, with one scale for each row."""

    def compress(self, job: CompressionJob) -> torch.nn.Module:
        return replaced(job.cut(), quantised)

    def save(self, model: torch.nn.Module, folder: Path) -> None:
        save_weights(model, folder)

    def restore(self, model: torch.nn.Module, folder: Path) -> torch.nn.Module:
        return load_weights(replaced(LayeredModel(model), quantised), folder)


def quantised(module: Any) -> torch.nn.Module:
    """One linear map with weights in 8 bits."""
    import torch
    import torch.nn.functional as F
    from torch import nn

    class Int8Linear(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            weight = module.weight.detach()
            scale = weight.abs().amax(dim=1, keepdim=True).clamp(min=1e-12) / 127
            self.weight = nn.Parameter((weight / scale).round().to(torch.int8), requires_grad=False)
            self.scale = nn.Parameter(scale, requires_grad=False)
            self.bias = module.bias

        def forward(self, states: torch.Tensor) -> torch.Tensor:
            return F.linear(states, self.weight * self.scale, self.bias)

    return Int8Linear()


@hookimpl
def lwa_compressors() -> list[Component[Any]]:
    return [Component("low-rank", LowRank), Component("int8", Int8)]
