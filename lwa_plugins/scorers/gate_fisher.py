"""`gate-fisher`: the Fisher information of a gate on each layer."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import attrs

if TYPE_CHECKING:
    import torch

    from lwa_core import Observation


@attrs.frozen
class GateFisher:
    """E (∂ℓ_n/∂g_l)² of a gate on the layer's branch (Molchanov et al. 2019; Theis et al. 2018, for whole channels).

    One number a layer, whatever its size and however its weights are scaled. Squared example by example; the square of
    a batch mean is something else.
    """

    observes: ClassVar[frozenset[str]] = frozenset({"gate_gradients"})
    unit: ClassVar[str] = "nats²"

    def observe(self, seen: Observation) -> torch.Tensor:
        assert seen.gate_gradients is not None  # it was asked for above
        return seen.gate_gradients.square()
