"""`gate-taylor`: what removing a layer does to the loss, to first order."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import attrs

from lwa_core import setting

if TYPE_CHECKING:
    import torch

    from lwa_core import Observation


@attrs.frozen
class GateTaylor:
    """−∂ℓ_n/∂g_l: the rise of the loss when the layer's gate goes from 1 to 0, to first order (Molchanov et al. 2019).

    The gate stands on the layer's branch, h + g (block(h) − h), and one backward pass gives its gradient for every
    example. Negative where the model is better off without the layer. The gradient is taken at g = 1 and removal is not
    a small step: compare with `leave-one-out`. `absolute` averages |∂ℓ_n/∂g_l| instead, and forgets which way.
    """

    observes: ClassVar[frozenset[str]] = frozenset({"gate_gradients"})
    unit: ClassVar[str] = "nats"

    form: str = setting(
        "signed", help="signed: −g, whose mean is the estimate; absolute: |g|", choices=("signed", "absolute")
    )

    def observe(self, seen: Observation) -> torch.Tensor:
        assert seen.gate_gradients is not None  # it was asked for above
        return seen.gate_gradients.abs() if self.form == "absolute" else -seen.gate_gradients
