"""Gradients of the weights of every layer, example by example, from one backward pass and without forming them twice.

Hooks keep what went into each weighted module and catch the gradient at its output. From the two every example's own
gradient follows, and often its squared norm follows without it: the gradient of example n with respect to a Linear's
weight is a sum over its positions of g_t a_tᵀ (g: gradient at the output, a: input), and the squared norm of that sum
is Σ_ts (g_t·g_s)(a_t·a_s) ("ghost norm", Li et al. 2022, Large language models can be strong differentially private
learners). Weights are frozen meanwhile, so that no weight gradient of the batch is formed.

The squared norm of an example's gradient is the empirical Fisher's trace for that example; squaring the gradient of a
batch mean is something else (Kunstner, Hennig & Balles 2019).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, TypeAlias

import attrs
import torch
from torch import nn

from lwa_core.errors import ModelError
from lwa_core.modeling.layered import LayeredModel, block_input


@attrs.frozen(eq=False)
class Use:
    """One use of a parameter in a forward pass, and the gradient that came back to it.

    Args:
        parameter: What was used.
        gradient: At the module's output (examples, positions, out).
        inputs: What the parameter was multiplied with: the module's input (examples, positions, in) for a `product`,
            the normalised input (examples, positions, out) for a `scale`, ids (examples, positions) for a `lookup`;
            None for a `bias`.
        kind: `product` (Linear, Conv1D), `scale` (the weight of a norm), `bias`, `lookup` (Embedding).
        transposed: A product whose weight is (in, out) instead of (out, in).
        biased: A product whose module also adds a bias.
    """

    parameter: nn.Parameter
    gradient: torch.Tensor
    inputs: torch.Tensor | None
    kind: str
    transposed: bool = False
    biased: bool = False

    def matrix(self) -> torch.Tensor:
        """Every example's gradient of the parameter (examples, *shape of the parameter)."""
        if self.kind == "bias":
            return self.gradient.sum(dim=1)
        assert self.inputs is not None
        if self.kind == "scale":
            return (self.gradient * self.inputs).sum(dim=1)
        if self.kind == "lookup":
            empty = self.gradient.new_zeros(len(self.gradient), *self.parameter.shape)
            return empty.scatter_add_(1, self.inputs[:, :, None].expand_as(self.gradient), self.gradient)
        if self.transposed:
            return self.inputs.transpose(1, 2) @ self.gradient
        return self.gradient.transpose(1, 2) @ self.inputs

    def squared_norm(self) -> torch.Tensor:
        """Squared norm of every example's gradient of the parameter (examples,), double."""
        if self.kind == "product":
            assert self.inputs is not None
            positions, fan = self.inputs.shape[1], self.inputs.shape[2] * self.gradient.shape[2]
            if 2 * positions**2 < fan:
                pairs = (self.inputs @ self.inputs.transpose(1, 2)) * (self.gradient @ self.gradient.transpose(1, 2))
                return pairs.sum(dim=(1, 2)).double()
        return _squares(self.matrix())


Visit: TypeAlias = Callable[[tuple[int, ...], Use, "torch.Tensor | None"], None]
"""Called for every parameter as its gradients come back: (layers that hold it, the use, the examples' gradients).

The gradients (examples, *shape) are given where they had to be formed, because the parameter was used several times and
its uses add up; else None, and `use.matrix()` or `use.squared_norm()` makes what is needed.
"""


class GradientTap:
    """Catches per-example weight gradients inside `tapped`; `backward` runs one backward pass and visits them all."""

    def __init__(self, model: LayeredModel, visit: Visit) -> None:
        self.visit = visit
        self.holders: dict[int, tuple[int, ...]] = {}
        for index, layer in enumerate(model.layers):
            for parameter in layer.parameters():
                self.holders[id(parameter)] = (*self.holders.get(id(parameter), ()), index)
        self.uses: Counter[int] = Counter()
        self.pending: dict[int, tuple[Use, torch.Tensor]] = {}

    def backward(self, total: torch.Tensor, *, again: bool = False) -> None:
        """One backward pass from a sum over examples; `again`: another one through the same graph will follow."""
        total.backward(retain_graph=again)  # type: ignore[no-untyped-call]
        for use, matrix in self.pending.values():
            self.visit(self.holders[id(use.parameter)], use, matrix)
        self.pending.clear()

    def forget(self) -> None:
        """Before another forward pass."""
        self.uses.clear()

    def watch(self, module: nn.Module) -> Any:
        """A forward hook for one weighted module."""
        parameters = [id(parameter) for parameter in module.parameters(recurse=False)]

        def after(_: nn.Module, args: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
            self.uses.update(parameters)
            inputs = args[0].detach()

            def arrived(gradient: torch.Tensor) -> None:
                for use in uses_of(module, inputs, gradient):
                    self._arrived(use)

            if output.requires_grad:
                output.register_hook(arrived)

        return after

    def _arrived(self, use: Use) -> None:
        key = id(use.parameter)
        if self.uses[key] == 1:
            self.visit(self.holders[key], use, None)
            return
        matrix = use.matrix()
        before = self.pending.get(key)
        self.pending[key] = (use, matrix if before is None else before[1] + matrix)


@contextmanager
def tapped(model: LayeredModel, visit: Visit) -> Iterator[GradientTap]:
    """Catch per-example weight gradients of the layers in forward and backward passes inside.

    Raises:
        ModelError: A layer has weights in a module of a kind that is not known (`supported` says so beforehand).
    """
    odd = next((m for layer in model.layers for m in layer.modules() if _owns_weights(m) and not _known(m)), None)
    if odd is not None:
        raise ModelError(f"per-example gradients of a {type(odd).__name__} are not known")
    tap = GradientTap(model, visit)
    with frozen(model), ExitStack() as hooks, torch.enable_grad():
        seen: set[int] = set()
        for layer in model.layers:
            for module in layer.modules():
                if _owns_weights(module) and id(module) not in seen:
                    seen.add(id(module))
                    hooks.callback(module.register_forward_hook(tap.watch(module)).remove)
        yield tap


def supported(model: LayeredModel) -> bool:
    """Whether every weighted module of every layer is of a kind whose per-example gradients are known."""
    return all(_known(module) for layer in model.layers for module in layer.modules() if _owns_weights(module))


@contextmanager
def frozen(model: LayeredModel) -> Iterator[None]:
    """No weight gradients: the graph starts at the input of the first block."""

    def rooted(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        state = block_input(args, kwargs).detach().requires_grad_()
        return ((state, *args[1:]), kwargs) if args else (args, {**kwargs, "hidden_states": state})

    wanted = [parameter for parameter in model.model.parameters() if parameter.requires_grad]
    with ExitStack() as stack:
        for parameter in wanted:
            parameter.requires_grad_(False)
            stack.callback(parameter.requires_grad_, True)
        stack.callback(model.layers[0].register_forward_pre_hook(rooted, with_kwargs=True).remove)
        yield


def uses_of(module: nn.Module, inputs: torch.Tensor, gradient: torch.Tensor) -> list[Use]:
    """The parameters of a module with the gradients of their one use.

    Args:
        module: Linear, Conv1D, LayerNorm, an RMSNorm, or Embedding.
        inputs: (examples, ..., in), or ids (examples, ...).
        gradient: (examples, ..., out).
    """
    examples = len(gradient)
    gradient = gradient.reshape(examples, -1, gradient.shape[-1])
    weight, bias = getattr(module, "weight", None), getattr(module, "bias", None)
    uses = []
    if isinstance(weight, nn.Parameter):
        if isinstance(module, nn.Embedding):
            ids = inputs.reshape(examples, -1)
            uses.append(Use(weight, _without_padding(module, ids, gradient), ids, "lookup"))
        elif _is_norm(module):
            normed = _normed(module, inputs).reshape(examples, -1, inputs.shape[-1])
            uses.append(Use(weight, gradient, normed, "scale"))
        else:
            flat = inputs.reshape(examples, -1, inputs.shape[-1])
            transposed = not isinstance(module, nn.Linear)
            uses.append(Use(weight, gradient, flat, "product", transposed, biased=bias is not None))
    if isinstance(bias, nn.Parameter):
        uses.append(Use(bias, gradient, None, "bias"))
    return uses


def _without_padding(module: nn.Embedding, ids: torch.Tensor, gradient: torch.Tensor) -> torch.Tensor:
    """The row of `padding_idx` gets no gradient."""
    return gradient if module.padding_idx is None else gradient * (ids != module.padding_idx)[:, :, None]


def _owns_weights(module: nn.Module) -> bool:
    return next(module.parameters(recurse=False), None) is not None


def _known(module: nn.Module) -> bool:
    names = {name for name, _ in module.named_parameters(recurse=False)}
    if not names <= {"weight", "bias"}:
        return False
    return isinstance(module, (nn.Linear, nn.Embedding)) or _is_conv1d(module) or _is_norm(module)


def _is_conv1d(module: nn.Module) -> bool:
    """GPT-2's linear map, whose weight is (in, out)."""
    return type(module).__name__ == "Conv1D" and getattr(module, "weight", torch.empty(0)).dim() == 2


def _is_norm(module: nn.Module) -> bool:
    """LayerNorm, torch's RMSNorm, and the RMSNorms of transformers (T5 calls its own a LayerNorm)."""
    if isinstance(module, (nn.LayerNorm, nn.RMSNorm)):
        return len(module.normalized_shape) == 1
    name = type(module).__name__
    return (name.endswith("RMSNorm") or name == "T5LayerNorm") and getattr(module, "weight", torch.empty(0)).dim() == 1


def _normed(module: nn.Module, inputs: torch.Tensor) -> torch.Tensor:
    """What a norm multiplies its weight with."""
    if isinstance(module, nn.LayerNorm):
        return nn.functional.layer_norm(inputs, module.normalized_shape, eps=module.eps)
    known = (getattr(module, name, None) for name in ("variance_epsilon", "eps"))
    eps = next((value for value in known if value is not None), torch.finfo(inputs.dtype).eps)
    return inputs * torch.rsqrt(inputs.square().mean(dim=-1, keepdim=True) + eps)


def _squares(matrix: torch.Tensor) -> torch.Tensor:
    """Sum of squares of each example (examples,), double."""
    flat = matrix.flatten(1)
    return torch.linalg.vector_norm(flat, dim=1).double().square()


class LoopTap:
    """The same for modules of any kind, for batches of one example: autograd forms the gradient of every parameter."""

    def __init__(self, model: LayeredModel, visit: Visit) -> None:
        self.visit = visit
        self.holders = GradientTap(model, visit).holders
        unique = {id(p): p for layer in model.layers for p in layer.parameters() if p.requires_grad}
        self.parameters = list(unique.values())

    def backward(self, total: torch.Tensor, *, again: bool = False) -> None:
        """One backward pass from the loss of the one example."""
        gradients = torch.autograd.grad(total, self.parameters, retain_graph=again, allow_unused=True)
        for parameter, gradient in zip(self.parameters, gradients, strict=True):
            if gradient is not None:
                use = Use(parameter, gradient[None], None, "whole")
                self.visit(self.holders[id(parameter)], use, gradient[None])

    def forget(self) -> None:
        """Nothing is kept between passes."""
