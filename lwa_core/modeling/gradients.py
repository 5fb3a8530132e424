"""Per-example squared gradient norms of each layer's weights, at the price of about one training step.

The gradient of example n with respect to a Linear's weight is a sum over its positions of g_t a_tᵀ (g: gradient at the
output, a: input). Its squared norm needs no gradient matrix a position: either the sum over pairs of positions
(g_t·g_s)(a_t·a_s) ("ghost norm", Li et al. 2022, Large language models can be strong differentially private learners)
or the norm of the one summed matrix, whichever is cheaper. This is the empirical Fisher's trace, example by example;
squaring the gradient of a batch mean is something else (Kunstner, Hennig & Balles 2019).
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import torch
from torch import nn

from lwa_core.modeling.layered import LayeredModel


def squared_gradient_norms(model: LayeredModel, losses: Callable[[], torch.Tensor]) -> torch.Tensor:
    """Squared norm of every example's gradient, layer by layer (examples, layers).

    Args:
        model: In eval mode; no two examples may mix inside it.
        losses: Runs the model, and gives the loss of each example (examples,).

    Blocks of Linear and LayerNorm modules take one forward and one backward pass; others one backward pass an example.
    """
    if all(_supported(layer) for layer in model.layers):
        return _by_hooks(model, losses)
    return _by_loop(model, losses)


def _supported(layer: nn.Module) -> bool:
    return all(isinstance(m, (nn.Linear, nn.LayerNorm)) for m in layer.modules() if _owns_weights(m))


def _owns_weights(module: nn.Module) -> bool:
    return next(module.parameters(recurse=False), None) is not None


def _by_hooks(model: LayeredModel, losses: Callable[[], torch.Tensor]) -> torch.Tensor:
    parts: dict[int, list[torch.Tensor]] = {i: [] for i in range(model.depth)}

    def watch(index: int, module: nn.Module) -> Any:
        def after(_: nn.Module, args: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
            def arrived(gradient: torch.Tensor) -> None:
                parts[index].append(_squared_norm(module, args[0].detach(), gradient))

            output.register_hook(arrived)

        return after

    def rooted(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        # The graph starts at the first block; with frozen weights no weight gradient is ever formed.
        if args:
            return (args[0].detach().requires_grad_(), *args[1:]), kwargs
        return args, {**kwargs, "hidden_states": kwargs["hidden_states"].detach().requires_grad_()}

    wanted = [p for p in model.base.parameters() if p.requires_grad]
    with ExitStack() as stack, torch.enable_grad():
        for parameter in wanted:
            parameter.requires_grad_(False)
            stack.callback(parameter.requires_grad_, True)
        stack.callback(model.layers[0].register_forward_pre_hook(rooted, with_kwargs=True).remove)
        for index, layer in enumerate(model.layers):
            for module in layer.modules():
                if _owns_weights(module):
                    stack.callback(module.register_forward_hook(watch(index, module)).remove)
        losses().sum().backward()
    return torch.stack([torch.stack(parts[i]).sum(dim=0) for i in range(model.depth)], dim=1)


def _squared_norm(module: nn.Module, inputs: torch.Tensor, gradient: torch.Tensor) -> torch.Tensor:
    """Squared norm of each example's gradient of one module's parameters (examples,).

    inputs (examples, time, in), gradient (examples, time, out). In double: sums of squares of small numbers.
    """
    inputs, gradient = inputs.double(), gradient.double()
    if isinstance(module, nn.LayerNorm):
        normed = nn.functional.layer_norm(inputs, module.normalized_shape, eps=module.eps)
        weight = (gradient * normed).sum(dim=1).square().sum(dim=-1)
    elif 2 * inputs.shape[1] ** 2 < inputs.shape[2] * gradient.shape[2]:
        weight = ((inputs @ inputs.transpose(1, 2)) * (gradient @ gradient.transpose(1, 2))).sum(dim=(1, 2))
    else:
        weight = (gradient.transpose(1, 2) @ inputs).square().sum(dim=(1, 2))
    if module.bias is None:
        return weight
    return weight + gradient.sum(dim=1).square().sum(dim=-1)


def _by_loop(model: LayeredModel, losses: Callable[[], torch.Tensor]) -> torch.Tensor:
    groups = [[p for p in layer.parameters() if p.requires_grad] for layer in model.layers]
    flat = [p for group in groups for p in group]
    rows = []
    with torch.enable_grad():
        values = losses()
        for n, value in enumerate(values):
            gradients = torch.autograd.grad(value, flat, retain_graph=n + 1 < len(values), allow_unused=True)
            squares = iter(
                [torch.zeros((), dtype=torch.double) if g is None else g.double().square().sum() for g in gradients]
            )
            rows.append(torch.stack([sum((next(squares) for _ in group), torch.zeros(())) for group in groups]))
    return torch.stack(rows)
