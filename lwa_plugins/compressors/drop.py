"""`drop`: remove the layers that the plan leaves out, and train nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from lwa_core import CompressionJob

if TYPE_CHECKING:
    import torch


@attrs.frozen
class Drop:
    """The student is the teacher without the other layers. What this loses is what later steps have to win back."""

    def compress(self, job: CompressionJob) -> torch.nn.Module:
        return job.cut().model
