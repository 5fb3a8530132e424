"""`norm-ratio`: how long a layer's contribution is, next to the state that it leaves."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import attrs

if TYPE_CHECKING:
    import torch

    from lwa_core import Observation


@attrs.frozen
class NormRatio:
    """E ‖h_{l+1} − h_l‖ / ‖h_{l+1}‖ over the real positions of each history.

    Along a stream that grows with depth, later layers look smaller. Says how much is added, not what it is good for.
    """

    observes: ClassVar[frozenset[str]] = frozenset({"states"})
    unit: ClassVar[str] = "share of the norm"

    def observe(self, seen: Observation) -> torch.Tensor:
        import torch

        assert seen.states is not None  # it was asked for above
        columns = []
        for before, after in zip(seen.states[:-1], seen.states[1:], strict=True):
            added, left = (after - before).norm(dim=-1), after.norm(dim=-1)  # (examples, time)
            columns.append(seen.over_positions(added / left.clamp_min(torch.finfo(left.dtype).tiny)))
        return torch.stack(columns, dim=1)
