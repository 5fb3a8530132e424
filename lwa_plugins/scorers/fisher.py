"""`fisher`: the trace of the empirical Fisher information of each layer's weights."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import attrs

if TYPE_CHECKING:
    import torch

    from lwa_core.modeling.observation import Observation


@attrs.frozen
class Fisher:
    """(1/N) Σ_n ‖∇_θl ℓ_n‖², the gradient taken example by example at the observed next item.

    Needs nothing to be at a minimum, but says how sensitive the loss is to small noise on the weights, which is not
    what removing a layer does to it: compare with `leave-one-out`. Bigger layers have bigger traces.
    """

    observes: ClassVar[frozenset[str]] = frozenset({"gradient_norms"})
    unit: ClassVar[str] = "nats²"

    def observe(self, seen: Observation) -> torch.Tensor:
        assert seen.gradient_norms is not None  # it was asked for above
        return seen.gradient_norms
