"""`gate-path`: the loss's gradient by each layer's gate, summed up while all gates open together."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import attrs

from lwa_core import setting
from lwa_plugins.scorers._values import relative

if TYPE_CHECKING:
    import torch

    from lwa_core import Probe


@attrs.frozen
class GatePath:
    """−∫₀¹ ∂ℓ_n/∂g_l dt at gates g = t·1 on the branches, h + g (block(h) − h): integrated gradients over the gates.

    The Aumann–Shapley values of the gates (Aumann & Shapley 1974; Sundararajan et al. 2017 for the path from a baseline
    to the input): in every row they add up to ℓ(no layer) − ℓ(all layers). By Gauss–Legendre quadrature, which takes
    one forward and one backward pass a node for all layers together. It tells by how much the sum misses.

    Not a cheaper `shapley`: half-open layers are models that nobody would use, and the two can order layers otherwise.
    """

    unit: ClassVar[str] = "nats"

    nodes: int = setting(16, help="nodes of the Gauss–Legendre quadrature", minimum=1, maximum=256)

    def score(self, probe: Probe) -> torch.Tensor:
        import numpy as np
        import torch

        places, weights = np.polynomial.legendre.leggauss(self.nodes)
        table = np.zeros((probe.examples, probe.depth))
        for place, weight in zip((places + 1) / 2, weights / 2, strict=True):
            table -= weight * probe.gate_gradients([place] * probe.depth)
        none, full = probe.evaluate([(), tuple(range(probe.depth))], "loss").mean(axis=1)
        probe.tell("sum", float(table.mean(axis=0).sum()))
        probe.tell("all_layers_together", float(full - none))
        probe.tell("completeness_error", relative(table.mean(axis=0).sum() - (full - none), full - none))
        return torch.from_numpy(table)
