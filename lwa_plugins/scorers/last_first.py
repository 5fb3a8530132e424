"""`last-first`: the last layers before the first."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import attrs

if TYPE_CHECKING:
    import torch

    from lwa_core import Probe


@attrs.frozen
class LastFirst:
    """l: the first layers go first. Looks at no data: an order to be beaten."""

    baseline: ClassVar[bool] = True
    unit: ClassVar[str] = "position"

    def score(self, probe: Probe) -> torch.Tensor:
        import torch

        return torch.arange(probe.depth, dtype=torch.double)[None, :]
