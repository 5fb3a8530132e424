"""`fisher`: the trace of the empirical Fisher information of each layer's weights."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import attrs

from lwa_core import setting

if TYPE_CHECKING:
    import torch

    from lwa_core import Observation, Probe


@attrs.frozen
class Fisher:
    """(1/N) Σ_n ‖∇_θl ℓ_n‖², the gradient taken example by example at the observed next item.

    Needs nothing to be at a minimum, but says how sensitive the loss is to small noise on the weights, which is not
    what removing a layer does to it: compare with `leave-one-out`. Bigger layers have bigger traces.

    `batch-squared` squares the gradient of each micro-batch's mean loss instead, as is often done by mistake. Its
    expectation is 1/B of the trace plus (1 − 1/B) of the squared mean gradient (B: examples in a batch), so it depends
    on the batch size and ranks layers by something else (Kunstner, Hennig & Balles 2019). A row is then a micro-batch,
    of histories of similar length. It is there to be compared, not to be used.
    """

    unit: ClassVar[str] = "nats²"

    estimator: str = setting(
        "per-example",
        help="per-example: the empirical Fisher; batch-squared: a common mistake, as a negative baseline",
        choices=("per-example", "batch-squared"),
    )
    per: str = setting(
        "layer", help="layer: the trace; parameter: divided by the layer's parameters", choices=("layer", "parameter")
    )

    @property
    def observes(self) -> frozenset[str]:
        return frozenset({"gradient_norms" if self.estimator == "per-example" else "batch_gradient_norms"})

    def observe(self, seen: Observation) -> torch.Tensor:
        norms = seen.gradient_norms if self.estimator == "per-example" else seen.batch_gradient_norms
        assert norms is not None  # it was asked for above
        return norms

    def finish(self, rows: torch.Tensor, probe: Probe) -> torch.Tensor:
        import torch

        if self.per == "layer":
            return rows
        sizes = [sum(p.numel() for p in layer.parameters()) for layer in probe.model.layers]
        return rows / torch.tensor(sizes, dtype=rows.dtype).clamp(min=1)
