"""From the logits of one micro-batch to what is asked about it: loss, rank, divergence, and loss by temperature."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from lwa_core.modeling.kernels.target_ranks import LeftOut, target_ranks

SCALES = tuple(2.0 ** (step / 6) for step in range(-15, 7))
"""Factors of the logits that `scaled` losses are of: 0.18 to 2, each 1.12 times the one before; 1 is among them."""


class ExampleMetrics:
    """Loss, rank and ties of every example (examples,), and what is asked for besides, on the logits' device.

    The first logits that are judged are those of the full model. An answer that is not finite is the worst there is: an
    infinite loss and divergence, and rank 0, by which the target has no place.

    Args:
        targets: The item that followed each history (examples,).
        besides: `kl`: the divergence from the full model (examples,); `scaled`: the losses of the logits times each of
            `SCALES` (scales, examples); empty: nothing.
        left_out: Items that are not ranked; None: all are.
    """

    def __init__(self, targets: torch.Tensor, besides: str = "", left_out: LeftOut | None = None) -> None:
        self.targets = targets
        self.besides = besides
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
        if self.besides == "kl":
            return (*found, self._divergence(logits))
        return (*found, self._scaled(logits, finite)) if self.besides == "scaled" else found

    def _scaled(self, logits: torch.Tensor, finite: torch.Tensor) -> torch.Tensor:
        losses = [F.cross_entropy(logits * scale, self.targets, reduction="none") for scale in SCALES]
        return torch.stack(losses).masked_fill(~finite, torch.inf)

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
