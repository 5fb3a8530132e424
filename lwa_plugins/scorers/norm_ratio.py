"""`norm-ratio`: how long a layer's contribution is, next to the state that it leaves."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import attrs

if TYPE_CHECKING:
    import torch

    from lwa_core.modeling.observation import Observation


@attrs.frozen
class NormRatio:
    """E ‖h_{l+1} − h_l‖ / ‖h_{l+1}‖ over the real positions of each history.

    In a stream that grows with depth later layers look smaller. Says how much is added, not what it is good for.
    """

    observes: ClassVar[frozenset[str]] = frozenset({"states"})
    unit: ClassVar[str] = "share of the norm"

    def observe(self, seen: Observation) -> torch.Tensor:
        import torch

        assert seen.states is not None  # it was asked for above
        least = torch.finfo(torch.double).tiny
        columns = []
        for before, after in zip(seen.states[:-1], seen.states[1:], strict=True):
            added = (after.double() - before.double()).norm(dim=-1)
            columns.append(seen.over_positions(added / after.double().norm(dim=-1).clamp(min=least)))
        return torch.stack(columns, dim=1)
