"""From the logits of one micro-batch to what is asked about it: loss, rank, and divergence from the full model."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

CUT_OFF = 10


class ExampleMetrics:
    """Loss, rank and, with `kl`, divergence of every example (examples,), as tensors on the logits' device.

    Args:
        targets: The item that followed each history (examples,).
        kl: Whether the divergence is wanted; the first logits that are judged are then those of the full model.
    """

    def __init__(self, targets: torch.Tensor, kl: bool) -> None:
        self.targets = targets
        self.kl = kl
        self.full: torch.Tensor | None = None  # log-probabilities of the full model (examples, items)

    def __call__(self, logits: torch.Tensor) -> tuple[torch.Tensor, ...]:
        logits = at_least_single(logits)
        losses = F.cross_entropy(logits, self.targets, reduction="none")
        own = logits.gather(1, self.targets[:, None])
        # Differences and their signs as floats take half as long as comparisons; sums of ones are exact up to 2^24.
        ranks = 1 + (logits - own).gt_(0).sum(dim=1)
        if not self.kl:
            return losses, ranks
        log_odds = logits.log_softmax(dim=1)
        self.full = log_odds if self.full is None else self.full
        return losses, ranks, F.kl_div(log_odds, self.full, reduction="none", log_target=True).sum(dim=1)


def at_least_single(values: torch.Tensor) -> torch.Tensor:
    """Half-precision numbers as float32: three digits are too few to compare losses, and too few to count ranks."""
    return values if torch.finfo(values.dtype).bits >= 32 else values.float()


def ndcg_of(ranks: NDArray[Any]) -> NDArray[np.float64]:
    """NDCG@10 of ranks, one relevant item each."""
    gains = 1 / np.log2(1.0 + ranks.astype(np.float64))
    return np.where(ranks <= CUT_OFF, gains, 0.0)
