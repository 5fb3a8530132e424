"""`first-last`: the first layers before the last."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import attrs

if TYPE_CHECKING:
    import torch

    from lwa_core import Probe


@attrs.frozen
class FirstLast:
    """−l: the last layers go first. Looks at no data: an order to be beaten.

    Language models lose little by it for a while (Gromov et al. 2024, The unreasonable ineffectiveness of the deeper
    layers).
    """

    baseline: ClassVar[bool] = True
    unit: ClassVar[str] = "position"

    def score(self, probe: Probe) -> torch.Tensor:
        import torch

        return -torch.arange(probe.depth, dtype=torch.double)[None, :]
