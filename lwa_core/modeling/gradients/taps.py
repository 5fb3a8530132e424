"""Gradients of the weights of every layer, example by example, from one backward pass and without forming them twice.

Hooks keep what went into each weighted module and catch the gradient at its output; every example's own gradient
follows from the two (`lwa_core.modeling.gradients.parameter_gradients`). Weights are frozen meanwhile: the batch's own
gradient is not formed.

The squared norm of an example's gradient is the empirical Fisher's trace for that example; squaring the gradient of a
batch mean is something else (Kunstner, Hennig & Balles 2019).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, TypeAlias

import torch
from torch import nn

from lwa_core.errors import ModelError
from lwa_core.modeling.gradients.parameter_gradients import (
    LOW,
    Inputs,
    ParameterGradient,
    gradients_of,
    inputs_of,
    is_known,
    is_norm,
    owns_weights,
)
from lwa_core.modeling.gradients.relative_bias import bias_by_example, bias_table
from lwa_core.modeling.layers.layered import LayeredModel, block_input
from lwa_core.modeling.layers.packed_weights import assert_plain_weights

__all__ = ["GradientTap", "LoopTap", "ParameterGradient", "Visit", "Weights", "frozen", "looped", "tapped"]

Visit: TypeAlias = Callable[[tuple[int, ...], ParameterGradient, "torch.Tensor | None"], None]
"""Called for every parameter as its gradients come back: (layers that hold it, the use, the examples' gradients).

The gradients (examples, *shape) are given where they had to be formed, because the parameter was used several times and
its uses add up; else None, and `use.matrix()` or `use.squared_norm()` makes what is needed.
"""


class Weights:
    """Where the weights of the layers are, found once for all passes over a model."""

    def __init__(self, model: LayeredModel) -> None:
        self.model = model
        self.holders: dict[int, tuple[int, ...]] = {}
        self.modules: dict[int, nn.Module] = {}
        self.tables: list[tuple[nn.Module, nn.Embedding]] = []
        for index, layer in enumerate(model.layers):
            for _, parameter in nn.Module.named_parameters(layer):  # the class's: quantised layers hide their own
                self.holders[id(parameter)] = (*self.holders.get(id(parameter), ()), index)
            for module in layer.modules():
                if owns_weights(module):
                    self.modules[id(module)] = module
                if (table := bias_table(module)) is not None:
                    self.tables.append((module, table))
        for _, table in self.tables:
            self.modules.pop(id(table), None)
        self.unknown = next((module for module in self.modules.values() if not is_known(module)), None)
        self.thawed = [parameter for parameter in model.model.parameters() if parameter.requires_grad]


class GradientTap:
    """Catches per-example weight gradients inside `tapped`; `backward` runs one backward pass and visits them all."""

    def __init__(self, weights: Weights, visit: Visit) -> None:
        self.visit = visit
        self.holders = weights.holders
        self.examples = 0
        self.uses: Counter[int] = Counter()
        self.inputs: dict[tuple[Any, ...], tuple[torch.Tensor, Inputs]] = {}
        self.pending: dict[int, tuple[ParameterGradient, torch.Tensor]] = {}

    def backward(self, total: torch.Tensor, *, again: bool = False) -> None:
        """One backward pass from a sum over examples; `again`: another one through the same graph will follow."""
        total.backward(retain_graph=again)
        for use, matrix in self.pending.values():
            self.visit(self.holders[id(use.parameter)], use, matrix)
        self.pending.clear()

    def forget(self) -> None:
        """Before another forward pass."""
        self.uses.clear()
        self.inputs.clear()

    def count(self, module: nn.Module) -> None:
        """The parameters of a module are used once more."""
        self.uses.update(id(parameter) for parameter in module.parameters(recurse=False))

    def watch(self, module: nn.Module) -> Any:
        """A forward hook for one weighted module."""
        alone = id(module) if is_norm(module) else 0

        def after(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: torch.Tensor) -> None:
            if not torch.is_grad_enabled():
                return
            if len(output) != self.examples or not output.requires_grad:
                raise ModelError(f"a {type(module).__name__} in a layer is not called with states, one row an example")
            self.count(module)
            inputs = self._inputs(module, args[0] if args else next(iter(kwargs.values())), alone)

            def arrived(gradient: torch.Tensor) -> None:
                for use in gradients_of(module, inputs, gradient):
                    self.arrived(use)

            output.register_hook(arrived)

        return after

    def arrived(self, use: ParameterGradient) -> None:
        """A gradient came back to a parameter."""
        key = id(use.parameter)
        if self.uses[key] == 1:
            self.visit(self.holders[key], use, None)
            return
        matrix = use.matrix()
        before = self.pending.get(key)
        self.pending[key] = (use, matrix if before is None else before[1] + matrix)

    def _inputs(self, module: nn.Module, value: torch.Tensor, alone: int) -> Inputs:
        """The same for all maps that are called with the same tensor, such as those to queries, keys and values."""
        key = (value.data_ptr(), value.shape, value.stride(), value._version, alone)
        if key not in self.inputs:  # the tensor is kept too, so that no other can come to lie in its place
            self.inputs[key] = (value.detach(), inputs_of(module, value))
        return self.inputs[key][1]


@contextmanager
def tapped(model: LayeredModel, visit: Visit, weights: Weights | None = None) -> Iterator[GradientTap]:
    """Catch per-example weight gradients of the layers in forward and backward passes inside.

    Args:
        model: Whose layers.
        visit: Gets the gradients.
        weights: Those of the model, where they were found before.

    Raises:
        ModelError: A layer has weights in a module of a kind that is not known (`Weights.unknown`), or one that is
            not called with one row an example; or quantised weights.
    """
    assert_plain_weights(model)
    weights = weights or Weights(model)
    if weights.unknown is not None:
        raise ModelError(f"per-example gradients of a {type(weights.unknown).__name__} are not known")
    tap = GradientTap(weights, visit)

    def begins(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        tap.examples = len(block_input(args, kwargs))

    with frozen(model, weights), ExitStack() as hooks, torch.enable_grad():
        hooks.callback(tap.forget)
        hooks.callback(model.layers[0].register_forward_pre_hook(begins, with_kwargs=True).remove)
        for module, table in weights.tables:
            hooks.enter_context(bias_by_example(module, table, lambda: tap.examples, tap.count, tap.arrived))
        for module in weights.modules.values():
            hooks.callback(module.register_forward_hook(tap.watch(module), with_kwargs=True).remove)
        yield tap


@contextmanager
def frozen(model: LayeredModel, weights: Weights | None = None) -> Iterator[None]:
    """No weight gradients: the graph starts at the input of the first block."""

    def rooted(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        state = block_input(args, kwargs).detach().requires_grad_()
        return ((state, *args[1:]), kwargs) if args else (args, {**kwargs, "hidden_states": state})

    thawed = [p for p in model.model.parameters() if p.requires_grad] if weights is None else weights.thawed
    handle = model.layers[0].register_forward_pre_hook(rooted, with_kwargs=True)
    try:
        for parameter in thawed:
            parameter.requires_grad_(False)
        yield
    finally:
        for parameter in thawed:
            parameter.requires_grad_(True)
        handle.remove()


class LoopTap:
    """The same for modules of any kind, for batches of one example: autograd forms the gradient of every parameter."""

    def __init__(self, model: LayeredModel, visit: Visit, weights: Weights | None = None) -> None:
        self.visit = visit
        self.holders = (weights or Weights(model)).holders
        unique = {id(p): p for layer in model.layers for p in layer.parameters() if p.is_floating_point()}
        self.parameters = list(unique.values())

    def backward(self, total: torch.Tensor, *, again: bool = False) -> None:
        """One backward pass from the loss of the one example."""
        gradients = torch.autograd.grad(total, self.parameters, retain_graph=again, allow_unused=True)
        for parameter, gradient in zip(self.parameters, gradients, strict=True):
            if gradient is not None:
                whole = gradient.float() if gradient.dtype in LOW else gradient
                self.visit(self.holders[id(parameter)], ParameterGradient(parameter, whole[None], None, "whole"), None)

    def forget(self) -> None:
        """Nothing is kept between passes."""


@contextmanager
def looped(model: LayeredModel, visit: Visit, weights: Weights | None = None) -> Iterator[LoopTap]:
    """As `tapped`, by autograd; what training holds fixed has a gradient inside as well.

    Raises:
        ModelError: A layer has quantised weights.
    """
    assert_plain_weights(model)
    tap = LoopTap(model, visit, weights)
    fixed = [parameter for parameter in tap.parameters if not parameter.requires_grad]
    try:
        for parameter in fixed:
            parameter.requires_grad_(True)
        yield tap
    finally:
        for parameter in fixed:
            parameter.requires_grad_(False)
