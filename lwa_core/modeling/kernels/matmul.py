"""Matrix products on a CPU.

torch gives float32 products to MKL, which makes no use of the wide registers of some processors: oneDNN, which comes
with torch too, was 2.2 times as fast on the AMD one that this was written on.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import cache
from typing import Any, TypeAlias, cast

import torch
import torch.nn.functional as F
from torch.autograd.function import once_differentiable
from torch.overrides import TorchFunctionMode

Product: TypeAlias = "Callable[[torch.Tensor, torch.Tensor, torch.Tensor | None], torch.Tensor]"

SMALLEST = 2**14
"""Fewer input numbers than these are left to MKL, which is called more quickly."""

ROWS = 2048
"""Rows at once in a weight's gradient, so that what is transposed on the way stays in the cache."""


def product(left: torch.Tensor, right: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
    """left·rightᵀ + bias, without a gradient, by oneDNN where it can: (..., k), (m, k) and (m,) -> (..., m)."""
    fast = _onednn_product() if _fits(left, right) else None
    return F.linear(left, right, bias) if fast is None else fast(left, right, bias)


def fast_linear_maps() -> AbstractContextManager[Any]:
    """A context in which linear maps of float32 on a CPU are made by oneDNN, for one backward pass at most.

    `torch.nn.functional.linear` itself is caught, so that the modules stay what they are: 4-bit loading replaces only
    those that are exactly `nn.Linear`.
    """
    return nullcontext() if _onednn_product() is None else _FastLinear()


class _FastLinear(TorchFunctionMode):
    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        small = func is not F.linear or len(args) != 3 or args[0].numel() < SMALLEST or args[0].dim() < 2
        if small or kwargs or not _fits(*args[:2]):
            return func(*args, **(kwargs or {}))
        if not torch.is_grad_enabled():
            return product(*args)
        states, weight, bias = args
        # Flat: oneDNN gives a view for anything else, and autograd lets nobody change a view of a Function in place.
        flat = _Linear.apply(states.flatten(0, -2), weight, bias)  # type: ignore[no-untyped-call]
        return flat.unflatten(0, states.shape[:-1])


class _Linear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, states: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
        ctx.save_for_backward(states, weight)
        return product(states, weight, bias)

    @staticmethod
    @once_differentiable
    def backward(
        ctx: Any, gradient: torch.Tensor
    ) -> tuple[torch.Tensor | None, torch.Tensor | None, torch.Tensor | None]:
        states, weight = ctx.saved_tensors
        rows, flat = gradient.flatten(0, -2), states.flatten(0, -2)
        by_input = by_weight = by_bias = None
        if ctx.needs_input_grad[0]:
            by_input = product(rows, weight.T).view(states.shape)
        if ctx.needs_input_grad[1]:
            by_weight = torch.zeros_like(weight)
            for part, given in zip(rows.split(ROWS), flat.split(ROWS), strict=True):
                by_weight += product(part.T, given.T)
        if ctx.needs_input_grad[2]:
            by_bias = rows.sum(dim=0)
        return by_input, by_weight, by_bias


def _fits(left: torch.Tensor, right: torch.Tensor) -> bool:
    plain = left.dtype == right.dtype == torch.float32 and left.device.type == right.device.type == "cpu"
    return plain and left.numel() > 0 and right.numel() > 0


@cache
def _onednn_product() -> Product | None:
    """The operator that torch's compiler emits for a linear map on a CPU; tried first, as it has no public name."""

    def linear(left: torch.Tensor, right: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
        return cast(torch.Tensor, torch.ops.mkldnn._linear_pointwise(left, right, bias, "none", [], ""))

    left, right, bias = torch.arange(12.0).view(3, 4), torch.arange(20.0).view(5, 4), torch.arange(5.0)
    try:
        return linear if torch.equal(linear(left, right, bias), left @ right.T + bias) else None
    except (AttributeError, NotImplementedError, RuntimeError):
        return None
