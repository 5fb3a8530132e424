"""What is added up of the gradients that come back to the layers' parameters in one backward pass."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable

import torch
from torch import nn

from lwa_core.errors import ModelError
from lwa_core.modeling.gradients.parameter_gradients import AT_ONCE, ParameterGradient, squares


class GradientAccumulators:
    """Adds up over the parameters of each layer; give `visit` to `tapped`, and `take` what a backward pass left.

    Args:
        depth: Layers of the model.
        mask: Which positions of the micro-batch are real (examples, time).
        needs: Names of observables (`lwa_core.modeling.probing.observation`) that are made of weight gradients.
    """

    def __init__(self, depth: int, mask: torch.Tensor, needs: Collection[str]) -> None:
        self.depth, self.mask, self.needs = depth, mask, frozenset(needs)
        self.real = mask.float()
        self.examples = len(mask)
        self.scratch: torch.Tensor | None = None
        self._clear()

    def _clear(self) -> None:
        self.norms: dict[int, list[torch.Tensor]] = defaultdict(list)
        self.products: dict[int, list[torch.Tensor]] = defaultdict(list)
        self.factors: dict[int, list[torch.Tensor]] = defaultdict(list)
        self.batch = [torch.zeros((), dtype=torch.double, device=self.mask.device) for _ in range(self.depth)]
        self.vectors: dict[tuple[int, ...], list[tuple[torch.Tensor, nn.Parameter]]] = defaultdict(list)

    def visit(self, layers: tuple[int, ...], use: ParameterGradient, matrix: torch.Tensor | None) -> None:
        """Take the gradients of one parameter."""
        if use.parameter.dim() < 2:  # biases and norms: added up together, since each is next to nothing
            own = use.matrix() if matrix is None else matrix
            self.vectors[layers].append((own.reshape(len(own), -1), use.parameter))
            return
        if "factors" in self.needs and use.kind == "product":
            found = self._factors(use)
            for layer in layers:
                self.factors[layer].append(found)
        if matrix is not None:
            self._add_matrices(layers, use.parameter, [matrix])
        elif "weight_products" in self.needs:
            if self.scratch is None:
                self.scratch = use.gradient.new_empty(AT_ONCE)
            self._add_matrices(layers, use.parameter, use.matrices(self.scratch))
        else:
            if "gradient_norms" in self.needs:
                self._add(self.norms, layers, use.squared_norm())
            if "batch_gradient_norms" in self.needs:
                self._add_batch(layers, _summed(use))

    def _add_matrices(self, layers: tuple[int, ...], parameter: torch.Tensor, matrices: Iterable[torch.Tensor]) -> None:
        """Take the examples' gradients of a parameter, some examples at a time; they are written over."""
        norms, products, summed = [], [], torch.zeros(())
        for matrix in matrices:
            if "batch_gradient_norms" in self.needs:
                summed = summed.to(matrix) + matrix.sum(dim=0)
            if "gradient_norms" in self.needs:
                norms.append(squares(matrix))
            if "weight_products" in self.needs:
                products.append(_products(matrix, parameter))
        if norms:
            self._add(self.norms, layers, torch.cat(norms))
        if products:
            self._add(self.products, layers, torch.cat(products))
        if "batch_gradient_norms" in self.needs:
            self._add_batch(layers, summed)

    def take(self) -> dict[str, torch.Tensor]:
        """The observables, by name."""
        self._visit_vectors()
        found = {}
        if "gradient_norms" in self.needs:
            found["gradient_norms"] = self._columns(self.norms, (self.examples,))
        if "weight_products" in self.needs:
            found["weight_products"] = self._columns(self.products, (self.examples, 3))
        if "batch_gradient_norms" in self.needs:
            found["batch_gradient_norms"] = torch.stack(self.batch)[None]
        if "factors" in self.needs:
            found["factors"] = self._maps()
        self._clear()
        return found

    def _factors(self, use: ParameterGradient) -> torch.Tensor:
        """Mean of ‖a‖² and sum of ‖g‖² over the real positions of each example (examples, 2), double."""
        a, g = use.known.lengths, torch.linalg.vector_norm(use.gradient, dim=2).square()  # (examples, positions)
        real = self.real.to(a.dtype) if self.real.shape == a.shape else torch.ones_like(a)
        mean = torch.linalg.vecdot(a, real) / real.sum(dim=1) + use.biased
        return torch.stack([mean, torch.linalg.vecdot(g, real)], dim=1).double()

    def _visit_vectors(self) -> None:
        for layers, vectors in self.vectors.items():
            parameter = torch.cat([vector.reshape(-1) for _, vector in vectors])
            self._add_matrices(layers, parameter, [torch.cat([matrix for matrix, _ in vectors], dim=1)])

    def _add(self, sums: dict[int, list[torch.Tensor]], layers: tuple[int, ...], term: torch.Tensor) -> None:
        for layer in layers:
            sums[layer].append(term)

    def _add_batch(self, layers: tuple[int, ...], summed: torch.Tensor) -> None:
        squared = (torch.linalg.vector_norm(summed).double() / self.examples).square()
        for layer in layers:
            self.batch[layer] = self.batch[layer] + squared

    def _columns(self, sums: dict[int, list[torch.Tensor]], shape: tuple[int, ...]) -> torch.Tensor:
        """(examples, layers, ...); a layer without parameters has zeros."""
        empty = torch.zeros(shape, dtype=torch.double, device=self.mask.device)
        return torch.stack([torch.stack([empty, *sums[layer]]).sum(dim=0) for layer in range(self.depth)], dim=1)

    def _maps(self) -> torch.Tensor:
        most = max((len(maps) for maps in self.factors.values()), default=0)
        if not most:
            raise ModelError("the layers have no linear maps whose inputs are seen, so there are no Kronecker factors")
        empty = torch.zeros(self.examples, 2, dtype=torch.double, device=self.mask.device)
        rows = [self.factors[layer] for layer in range(self.depth)]
        return torch.stack([torch.stack(maps + [empty] * (most - len(maps)), dim=1) for maps in rows], dim=1)


def _products(matrix: torch.Tensor, parameter: torch.Tensor) -> torch.Tensor:
    """Σ w g, Σ |w g|, Σ w² g² (examples, 3), double. Changes `matrix`: it is large, and no one needs it any more."""
    product = matrix.mul_(parameter.detach()).flatten(1)
    signed, squared = product.sum(dim=1), squares(product)
    return torch.stack([signed.double(), product.abs_().sum(dim=1).double(), squared], dim=1)


def _summed(use: ParameterGradient) -> torch.Tensor:
    """The gradient of the summed loss of the batch."""
    if use.kind == "product" and use.inputs is not None:
        return use.gradient.flatten(0, 1).T @ use.inputs.flatten(0, 1)
    return use.matrix().sum(dim=0)
