"""`random`: scores drawn from a generator, the baseline that every scorer must beat."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import attrs

if TYPE_CHECKING:
    import torch

    from lwa_core import Probe


@attrs.frozen
class Random:
    """Uniform random scores, from the recipe's seed. They say nothing about the layers, and are there to be beaten."""

    unit: ClassVar[str] = "random"
    baseline: ClassVar[bool] = True

    def score(self, probe: Probe) -> torch.Tensor:
        import torch

        return torch.from_numpy(probe.generator.random((1, probe.depth)))
