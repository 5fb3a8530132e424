"""The Fisher information of the layers' weights, in a form that can be inverted: diagonal, or Kronecker factors.

Both are added up from the per-example gradients that `lwa_core.modeling.gradients.taps.tapped` catches. A block belongs
to one module's weight (with its bias) and knows the eigenvalues of its part of the Fisher, from which everything
follows: a Gaussian's precision, its log-determinant, a quadratic form, a draw.

The Kronecker factors are those of K-FAC (Martens & Grosse 2015, Optimizing neural networks with Kronecker-factored
approximate curvature), with positions treated as in K-FAC-expand (Eschenhagen et al. 2023, Kronecker-factored
approximate curvature for modern neural network architectures).
"""

from __future__ import annotations

from collections.abc import Iterator

import attrs
import torch
from torch import nn

from lwa_core.errors import ModelError
from lwa_core.modeling.gradients.taps import ParameterGradient
from lwa_core.modeling.layers.layered import LayeredModel

STRUCTURES = ("kfac", "diagonal")
AT_ONCE = 2**25
"""Numbers that per-example gradients may take at once."""


@attrs.define(eq=False)
class Diagonal:
    """E g² of every number of one parameter."""

    parameter: nn.Parameter
    layer: int
    center: float
    values: torch.Tensor

    @classmethod
    def of(cls, use: ParameterGradient, layer: int) -> Diagonal:
        """An empty one. The neutral value of a norm's scale is 1, of anything else 0."""
        center = 1.0 if use.kind == "scale" else 0.0
        return cls(use.parameter, layer, center, torch.zeros_like(use.parameter, dtype=torch.double))

    def add(self, use: ParameterGradient, matrix: torch.Tensor | None, mask: torch.Tensor | None) -> None:
        """Another micro-batch."""
        for _, part in _matrices(use, matrix):
            self.values += part.double().square().sum(dim=0)

    def close(self, count: int) -> None:
        """All is added up, over `count` gradients: `values` are from here on the eigenvalues of the Fisher."""
        self.values /= count

    def quadratic(self, use: ParameterGradient, matrix: torch.Tensor | None, precision: torch.Tensor) -> torch.Tensor:
        """The quadratic form g Σ gᵀ of every example's gradient g (examples,), double."""
        found = torch.empty(len(use.gradient), dtype=torch.double, device=precision.device)
        for rows, part in _matrices(use, matrix):
            found[rows] = (part.double().square() / precision).flatten(1).sum(dim=1)
        return found

    def shaped(self, draw: torch.Tensor) -> Iterator[tuple[nn.Parameter, torch.Tensor]]:
        """A draw in the coordinates of `values`, as a change of the parameter."""
        yield self.parameter, draw

    @property
    def squared_distance(self) -> float:
        """Of the parameter from its neutral value."""
        return float((self.parameter.detach().double() - self.center).square().sum())


@attrs.define(eq=False)
class Kronecker:
    """A ⊗ G of a linear map's weight and bias: A = E a aᵀ over inputs a (with 1 appended), G = E g gᵀ."""

    parameter: nn.Parameter
    bias: nn.Parameter | None
    layer: int
    transposed: bool
    a: torch.Tensor
    g: torch.Tensor
    values: torch.Tensor

    @classmethod
    def of(cls, use: ParameterGradient, bias: nn.Parameter | None, layer: int) -> Kronecker:
        """An empty one."""
        assert use.inputs is not None
        wide, high = use.inputs.shape[2] + (bias is not None), use.gradient.shape[2]
        empty = torch.empty(0, dtype=torch.double, device=use.gradient.device)
        a, g = empty.new_zeros(wide, wide), empty.new_zeros(high, high)
        return cls(use.parameter, bias, layer, use.transposed, a, g, empty)

    def add(self, use: ParameterGradient, matrix: torch.Tensor | None, mask: torch.Tensor | None) -> None:
        """Another micro-batch. `mask` (examples, positions): which positions are real."""
        inputs = self._inputs(use)
        if mask is None or mask.shape != inputs.shape[:2]:
            mask = torch.ones(inputs.shape[:2], dtype=torch.bool, device=inputs.device)
        weight = (mask / mask.sum(dim=1, keepdim=True)).to(inputs.dtype)
        self.a += ((inputs * weight[:, :, None]).flatten(0, 1).T @ inputs.flatten(0, 1)).double()
        gradient = (use.gradient * mask[:, :, None]).flatten(0, 1)
        self.g += (gradient.T @ gradient).double()

    def close(self, count: int) -> None:
        """All is added up, over `count` gradients: `a` and `g` become eigenvectors, `values` (out, in) eigenvalues."""
        (over_a, self.a), (over_g, self.g) = (torch.linalg.eigh(factor / count) for factor in (self.a, self.g))
        self.values = over_g.clamp_min(0)[:, None] * over_a.clamp_min(0)

    def quadratic(self, use: ParameterGradient, matrix: torch.Tensor | None, precision: torch.Tensor) -> torch.Tensor:
        """The quadratic form g Σ gᵀ of every example's gradient g (examples,), double."""
        kind = use.gradient.dtype
        turned = attrs.evolve(
            use, gradient=use.gradient @ self.g.to(kind), inputs=self._inputs(use) @ self.a.to(kind), transposed=False
        )
        found = torch.empty(len(use.gradient), dtype=torch.double, device=precision.device)
        for rows, part in _matrices(turned, None):
            found[rows] = (part.double().square() / precision).flatten(1).sum(dim=1)
        return found

    def shaped(self, draw: torch.Tensor) -> Iterator[tuple[nn.Parameter, torch.Tensor]]:
        """A draw in the coordinates of `values`, as changes of weight and bias."""
        matrix = self.g @ draw @ self.a.T
        if self.bias is not None:
            yield self.bias, matrix[:, -1]
            matrix = matrix[:, :-1]
        yield self.parameter, matrix.T if self.transposed else matrix

    @property
    def squared_distance(self) -> float:
        """Of weight and bias from 0."""
        own = (self.parameter, self.bias) if self.bias is not None else (self.parameter,)
        return sum(float(parameter.detach().double().square().sum()) for parameter in own)

    def _inputs(self, use: ParameterGradient) -> torch.Tensor:
        """What went in, with 1 appended where there is a bias (examples, positions, in)."""
        assert use.inputs is not None
        return use.inputs if self.bias is None else nn.functional.pad(use.inputs, (0, 1), value=1.0)


FisherBlock = Diagonal | Kronecker


class Curvature:
    """Adds the Fisher of every layer up. Give `visit` to `tapped`, set `mask` before each backward pass.

    Whatever comes back counts: gradients of log p at labels drawn from the model give the Fisher, at observed labels
    the empirical Fisher. Parameters that are used several times in a pass, norms and embeddings are diagonal always.

    Args:
        model: Whose layers.
        structure: `kfac` or `diagonal`.
    """

    def __init__(self, model: LayeredModel, structure: str) -> None:
        self.structure = structure
        self.blocks: dict[int, FisherBlock] = {}
        self.mask: torch.Tensor | None = None
        self.count = 0
        self._joined: set[int] = set()
        modules = [module for layer in model.layers for module in layer.modules()]
        pairs = ((getattr(module, "weight", None), getattr(module, "bias", None)) for module in modules)
        self._biases = {id(weight): bias for weight, bias in pairs if isinstance(bias, nn.Parameter)}

    def visit(self, layers: tuple[int, ...], use: ParameterGradient, matrix: torch.Tensor | None) -> None:
        """Take the gradients of one parameter."""
        if id(use.parameter) in self._joined:
            return  # a bias, which the block of its weight holds
        block = self.blocks.get(id(use.parameter))
        if block is None:
            block = self.blocks[id(use.parameter)] = self._block(layers, use, matrix)
        block.add(use, matrix, self.mask)

    def block(self, use: ParameterGradient) -> FisherBlock | None:
        """The block that a parameter's gradients belong to; None for a bias that is part of its weight's."""
        return None if id(use.parameter) in self._joined else self.blocks[id(use.parameter)]

    def close(self) -> list[FisherBlock]:
        """All is added up, over `count` gradients."""
        for block in self.blocks.values():
            block.close(self.count)
        return list(self.blocks.values())

    def _block(self, layers: tuple[int, ...], use: ParameterGradient, matrix: torch.Tensor | None) -> FisherBlock:
        if len(layers) > 1:
            raise ModelError(
                f"layers {', '.join(map(str, layers))} share weights, so no uncertainty is any one layer's own",
                "leave `laplace` out",
            )
        if self.structure == "diagonal" or matrix is not None or use.kind != "product":
            return Diagonal.of(use, layers[0])
        bias = self._biases.get(id(use.parameter)) if use.biased else None
        if bias is not None:
            self._joined.add(id(bias))
        return Kronecker.of(use, bias, layers[0])


def _matrices(use: ParameterGradient, matrix: torch.Tensor | None) -> Iterator[tuple[slice, torch.Tensor]]:
    """Every example's gradient, a few examples at a time: which, and (examples, *shape)."""
    if matrix is not None:
        yield slice(None), matrix
        return
    step = max(1, AT_ONCE // use.parameter.numel())
    for start in range(0, len(use.gradient), step):
        rows = slice(start, start + step)
        inputs = None if use.inputs is None else use.inputs[rows]
        yield rows, attrs.evolve(use, gradient=use.gradient[rows], inputs=inputs).matrix()
