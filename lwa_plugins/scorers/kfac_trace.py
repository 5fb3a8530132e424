"""`kfac-trace`: the trace of the Kronecker-factored Fisher of each layer's linear maps."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import attrs

if TYPE_CHECKING:
    import torch

    from lwa_core import Observation, Probe


@attrs.frozen
class KfacTrace:
    """Σ_maps tr(A) tr(G), with A the mean over examples and positions of a aᵀ, G that over examples of Σ_t g_t g_tᵀ.

    K-FAC takes inputs a and output gradients g for independent (Martens & Grosse 2015); for maps that are shared over
    positions this is the convention "expand" (Eschenhagen et al. 2023, section 3.2), in which every example weighs the
    same in A however long it is. Gradients are those at the observed items (empirical Fisher), a bias is an input that
    is 1, norms are left out. No factor has to be formed for a trace. The product of two means is no mean: the rows
    are its linearisation around them, whose mean is the product and whose standard error is that of the delta method.
    """

    observes: ClassVar[frozenset[str]] = frozenset({"factors"})
    unit: ClassVar[str] = "nats²"

    def observe(self, seen: Observation) -> torch.Tensor:
        assert seen.factors is not None  # it was asked for above
        return seen.factors

    def finish(self, rows: torch.Tensor, probe: Probe) -> torch.Tensor:
        inputs, gradients = rows.unbind(dim=-1)  # (examples, layers, maps)
        a, g = inputs.mean(dim=0), gradients.mean(dim=0)
        return (a * gradients + inputs * g - a * g).sum(dim=2)
