"""`fisher-saliency`: what setting a layer's weights to zero does to the loss, by the diagonal of the Fisher."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import attrs

if TYPE_CHECKING:
    import torch

    from lwa_core import Observation


@attrs.frozen
class FisherSaliency:
    """½ Σ_w w² F_ww with the diagonal of the empirical Fisher (LeCun et al. 1990, Optimal brain damage, equation 5).

    The Fisher stands in for the Hessian (Theis et al. 2018), the diagonal for the whole of it, and a second-order term
    for a step as large as the weights themselves. The diagonal is a mean over examples, and so is the score.
    """

    observes: ClassVar[frozenset[str]] = frozenset({"weight_products"})
    unit: ClassVar[str] = "nats"

    def observe(self, seen: Observation) -> torch.Tensor:
        assert seen.weight_products is not None  # it was asked for above
        return 0.5 * seen.weight_products[..., 2]
