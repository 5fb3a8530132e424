"""From the logits of one micro-batch to what is asked about it: loss, rank, and divergence from the full model."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from lwa_core.modeling.kernels.target_ranks import LeftOut, target_ranks


class ExampleMetrics:
    """Loss, rank, ties and, with `kl`, divergence of every example (examples,), as tensors on the logits' device.

    The first logits that are judged are those of the full model. An answer that is not finite is the worst there is: an
    infinite loss and divergence, and rank 0, by which the target has no place.

    Args:
        targets: The item that followed each history (examples,).
        kl: Whether the divergence is wanted.
        left_out: Items that are not ranked; None: all are.
    """

    def __init__(self, targets: torch.Tensor, kl: bool, left_out: LeftOut | None = None) -> None:
        self.targets = targets
        self.kl = kl
        self.left_out = left_out
        self.full: torch.Tensor | None = None  # log-probabilities of the full model (examples, items)
        self.impossible: torch.Tensor | None = None  # where the full model's are -inf (examples, items)
        self.lost: torch.Tensor | None = None  # examples to which the full model gives no finite answer, a scalar

    def __call__(self, logits: torch.Tensor) -> tuple[torch.Tensor, ...]:
        logits = at_least_single(logits)
        losses = F.cross_entropy(logits, self.targets, reduction="none")
        # NaN and +inf among the logits of an example make its loss NaN or infinite; so does a target that is ruled out.
        finite = losses.isfinite()
        ranks, tied = target_ranks(logits, self.targets, self.left_out)
        found = losses.masked_fill(~finite, torch.inf), ranks * finite, tied * finite
        if self.lost is None:
            ruled_out = losses.isposinf() & logits.gather(1, self.targets[:, None])[:, 0].isneginf()
            self.lost = (~finite & ~ruled_out).sum()
        return (*found, self._divergence(logits)) if self.kl else found

    def _divergence(self, logits: torch.Tensor) -> torch.Tensor:
        log_odds = logits.log_softmax(dim=1)
        if self.full is None:
            self.full = log_odds
            impossible = log_odds.isneginf()
            self.impossible = impossible if bool(impossible.any()) else None
        terms = F.kl_div(log_odds, self.full, reduction="none", log_target=True)
        if self.impossible is not None:
            terms = terms.masked_fill(self.impossible, 0.0)  # p log (p / q) tends to 0 with p
        divergences = terms.sum(dim=1)
        return torch.where(divergences.isfinite(), divergences, torch.inf)


def at_least_single(values: torch.Tensor) -> torch.Tensor:
    """Half-precision numbers as float32: three digits are too few to compare losses."""
    return values if torch.finfo(values.dtype).bits >= 32 else values.float()
