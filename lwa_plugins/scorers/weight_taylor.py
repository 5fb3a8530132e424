"""`weight-taylor`: what setting a layer's weights to zero does to the loss, to first order."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import attrs

from lwa_core import setting

if TYPE_CHECKING:
    import torch

    from lwa_core import Observation


@attrs.frozen
class WeightTaylor:
    """Σ_w |w ∂ℓ_n/∂w| over the layer's weights, example by example (Molchanov et al. 2017; Lee et al. 2019, SNIP).

    `signed` is −Σ_w w ∂ℓ_n/∂w, the first-order rise of the loss when all weights go to zero together: another score, in
    which weights cancel. Both are means over examples: Σ_w |w ∂ℓ/∂w| of the mean loss is a third one, and smaller.
    Weights at zero leave a residual layer as the identity, so this is removal, but to first order and far from there.
    """

    observes: ClassVar[frozenset[str]] = frozenset({"weight_products"})
    unit: ClassVar[str] = "nats"

    form: str = setting("absolute", help="absolute: Σ |w g|; signed: −Σ w g", choices=("absolute", "signed"))

    def observe(self, seen: Observation) -> torch.Tensor:
        assert seen.weight_products is not None  # it was asked for above
        return seen.weight_products[..., 1] if self.form == "absolute" else -seen.weight_products[..., 0]
