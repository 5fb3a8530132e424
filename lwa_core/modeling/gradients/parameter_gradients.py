"""What a weighted module did in a forward pass, and each example's own gradient of its parameters.

The gradient of example n with respect to a Linear's weight is a sum over its positions of g_t a_tᵀ (g: gradient at the
output, a: input), and the squared norm of that sum is Σ_ts (g_t·g_s)(a_t·a_s) ("ghost norm", Li et al. 2022, Large
language models can be strong differentially private learners), which needs no matrix of the weight's size.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, TypeGuard

import attrs
import torch
from torch import nn

LOW = (torch.float16, torch.bfloat16)

AT_ONCE = 2**22
"""Numbers that the gradients of several examples take at most at once."""


class EmbeddingByExample(nn.Embedding):
    """A table in a layer that is looked up with one row of ids an example, so that their gradients are told apart."""


@attrs.define(eq=False)
class Inputs:
    """What one or several modules were called with, and what was made of it, for as long as backward passes follow.

    Args:
        values: (examples, positions, in), or ids (examples, positions).
    """

    values: torch.Tensor
    _pairs: torch.Tensor | None = None
    _lengths: torch.Tensor | None = None
    _normed: torch.Tensor | None = None

    @property
    def paired(self) -> bool:
        """Whether `pairs` costs nothing any more."""
        return self._pairs is not None

    @property
    def pairs(self) -> torch.Tensor:
        """a_t·a_s of every example (examples, positions²)."""
        if self._pairs is None:
            self._pairs = _pairs(self.values)
        return self._pairs

    @property
    def lengths(self) -> torch.Tensor:
        """‖a_t‖² (examples, positions)."""
        if self._lengths is None:
            self._lengths = torch.linalg.vector_norm(self.values, dim=2).square()
        return self._lengths

    def normed(self, module: nn.Module) -> torch.Tensor:
        """What a norm multiplies its weight with (examples, positions, in). A norm's inputs are its own."""
        if self._normed is None:
            self._normed = _normed(module, self.values)
        return self._normed


@attrs.frozen(eq=False)
class ParameterGradient:
    """One use of a parameter in a forward pass, and the gradient that came back to it.

    Args:
        parameter: What was used.
        gradient: At the module's output (examples, positions, out).
        inputs: What the parameter was multiplied with: the module's input (examples, positions, in) for a `product`,
            the normalised input (examples, positions, out) for a `scale`, ids (examples, positions) for a `lookup`;
            None for a `bias` and for what is `whole`.
        kind: `product` (Linear, Conv1D), `scale` (the weight of a norm), `bias`, `lookup` (Embedding), `whole`
            (anything, of one example alone: its gradient is given as it is).
        transposed: A product whose weight is (in, out) instead of (out, in).
        biased: A product whose module also adds a bias.
        source: Where `inputs` come from, if they are shared with other uses.
    """

    parameter: nn.Parameter
    gradient: torch.Tensor
    inputs: torch.Tensor | None
    kind: str
    transposed: bool = False
    biased: bool = False
    source: Inputs | None = None

    def matrix(self, out: torch.Tensor | None = None) -> torch.Tensor:
        """Every example's gradient of the parameter (examples, *shape of the parameter), the caller's to change.

        That of a product is written to `out`, if given.
        """
        if self.kind == "whole":
            return self.gradient.clone()
        if self.kind == "bias":
            return self.gradient.sum(dim=1)
        assert self.inputs is not None
        if self.kind == "scale":
            return (self.gradient * self.inputs).sum(dim=1)
        if self.kind == "lookup":
            empty = self.gradient.new_zeros(len(self.gradient), *self.parameter.shape)
            return empty.scatter_add_(1, self.inputs[:, :, None].expand_as(self.gradient), self.gradient)
        if self.transposed:
            return torch.bmm(self.inputs.transpose(1, 2), self.gradient, out=out)
        return torch.bmm(self.gradient.transpose(1, 2), self.inputs, out=out)

    def squared_norm(self) -> torch.Tensor:
        """Squared norm of every example's gradient of the parameter (examples,), double."""
        if self.kind == "product":
            known = self.known
            positions, wide, high = self.gradient.shape[1], known.values.shape[2], self.gradient.shape[2]
            if positions * (high + (0 if known.paired else wide)) <= wide * high:  # multiplications, either way
                both: torch.Tensor = torch.linalg.vecdot(known.pairs, _pairs(self.gradient))
                return both.double()
        found = [squares(matrix) for matrix in self.matrices()]
        return found[0] if len(found) == 1 else torch.cat(found)

    def matrices(self, scratch: torch.Tensor | None = None) -> Iterator[torch.Tensor]:
        """Every example's gradient, some examples at a time (examples, *shape of the parameter).

        Each is the caller's to change until the next is asked for; `scratch` (`AT_ONCE`,) is written over.
        """
        size = self.parameter.numel()
        step = max(1, AT_ONCE // size)
        for start in range(0, len(self.gradient), step):
            rows = slice(start, start + step)
            inputs = None if self.inputs is None else self.inputs[rows]
            part = (
                self if step >= len(self.gradient) else attrs.evolve(self, gradient=self.gradient[rows], inputs=inputs)
            )
            numbers = len(part.gradient) * size
            fits = scratch is not None and self.kind == "product" and numbers <= len(scratch)
            yield part.matrix(
                scratch[:numbers].view(-1, *self.parameter.shape) if fits and scratch is not None else None
            )

    @property
    def known(self) -> Inputs:
        """The inputs with what was made of them."""
        assert self.inputs is not None
        shared = self.source is not None and self.source.values is self.inputs
        return self.source if shared and self.source is not None else Inputs(self.inputs)


def squares(matrix: torch.Tensor) -> torch.Tensor:
    """Sum of squares of each example's gradient (examples,), double."""
    norms: torch.Tensor = torch.linalg.vector_norm(matrix.flatten(1), dim=1)
    return norms.double().square()


def gradients_of(module: nn.Module, source: Inputs, gradient: torch.Tensor) -> list[ParameterGradient]:
    """The parameters of a module with the gradients of their one use.

    Args:
        module: Linear, Conv1D, LayerNorm, an RMSNorm, or Embedding.
        source: Its inputs.
        gradient: At its output (examples, ..., out).
    """
    gradient = gradient if gradient.dim() == 3 else gradient.reshape(len(gradient), -1, gradient.shape[-1])
    gradient = gradient.float() if gradient.dtype in LOW else gradient
    weight, bias = getattr(module, "weight", None), getattr(module, "bias", None)
    uses = []
    if isinstance(weight, nn.Parameter):
        if isinstance(module, nn.Embedding):
            uses.append(
                ParameterGradient(weight, _without_padding(module, source.values, gradient), source.values, "lookup")
            )
        elif is_norm(module):
            uses.append(ParameterGradient(weight, gradient, source.normed(module), "scale"))
        else:
            transposed, biased = not isinstance(module, nn.Linear), bias is not None
            uses.append(ParameterGradient(weight, gradient, source.values, "product", transposed, biased, source))
    if isinstance(bias, nn.Parameter):
        uses.append(ParameterGradient(bias, gradient, None, "bias"))
    return uses


def inputs_of(module: nn.Module, value: torch.Tensor) -> Inputs:
    """A module's input with its positions along one axis: (examples, ..., in) or, of an Embedding, (examples, ...)."""
    value = value.detach()
    if isinstance(module, nn.Embedding):
        return Inputs(value.reshape(len(value), -1))
    value = value.float() if value.dtype in LOW else value
    return Inputs(value.reshape(len(value), -1, value.shape[-1]))


def owns_weights(module: nn.Module) -> bool:
    """Whether a module has parameters of its own."""
    return next(nn.Module.named_parameters(module, recurse=False), None) is not None


def is_known(module: nn.Module) -> bool:
    """Whether the gradients of the module's own parameters follow from its input and the gradient at its output."""
    names = {name for name, _ in nn.Module.named_parameters(module, recurse=False)}
    if not names <= {"weight", "bias"}:
        return False
    plain = isinstance(module, nn.Linear) and type(module).forward is nn.Linear.forward
    return plain or _is_conv1d(module) or is_norm(module) or isinstance(module, EmbeddingByExample)


def is_norm(module: nn.Module) -> TypeGuard[Any]:
    """LayerNorm, torch's RMSNorm, and the RMSNorms of transformers (T5 calls its own a LayerNorm)."""
    if isinstance(module, (nn.LayerNorm, nn.RMSNorm)):
        plain = type(module).forward in (nn.LayerNorm.forward, nn.RMSNorm.forward)
        return plain and len(module.normalized_shape) == 1
    name = type(module).__name__
    return (name.endswith("RMSNorm") or name == "T5LayerNorm") and getattr(module, "weight", torch.empty(0)).dim() == 1


def _is_conv1d(module: nn.Module) -> bool:
    """GPT-2's linear map, whose weight is (in, out)."""
    return type(module).__name__ == "Conv1D" and getattr(module, "weight", torch.empty(0)).dim() == 2


def _normed(module: nn.Module, inputs: torch.Tensor) -> torch.Tensor:
    if isinstance(module, nn.LayerNorm):
        return nn.functional.layer_norm(inputs, module.normalized_shape, eps=module.eps)
    known = (getattr(module, name, None) for name in ("variance_epsilon", "eps"))
    eps = next((value for value in known if value is not None), torch.finfo(inputs.dtype).eps)
    return inputs * torch.rsqrt(inputs.square().mean(dim=-1, keepdim=True) + eps)


def _pairs(values: torch.Tensor) -> torch.Tensor:
    return torch.bmm(values, values.transpose(1, 2)).flatten(1)


def _without_padding(module: nn.Embedding, ids: torch.Tensor, gradient: torch.Tensor) -> torch.Tensor:
    """The row of `padding_idx` gets no gradient."""
    return gradient if module.padding_idx is None else gradient * (ids != module.padding_idx)[:, :, None]
