"""Training losses of `sequential` that look at sampled items instead of the whole catalogue."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F


def sampled_softmax(
    hidden: torch.Tensor, table: torch.Tensor, targets: torch.Tensor, negatives: torch.Tensor
) -> torch.Tensor:
    """Cross-entropy of each target against the same sampled items (targets,), corrected for the sampling.

    log q, q = negatives/items, is taken off each negative's logit (Bengio & Senécal 2008, section III; Yi et al. 2019,
    equation 3), so that the sum under the logarithm has the mean of the full softmax's; with every item as a negative
    it is the full softmax. A negative that is the target itself is left out.

    Args:
        hidden: (targets, width).
        table: Output embeddings (items, width).
        targets: Item indices (targets,).
        negatives: Distinct item indices, each drawn with the same chance (negatives,).
    """
    own = (hidden * F.embedding(targets, table)).sum(dim=1)
    others = hidden @ F.embedding(negatives, table).T - math.log(len(negatives) / len(table))
    others = others.masked_fill(negatives == targets[:, None], -torch.inf)
    return torch.cat([own[:, None], others], dim=1).logsumexp(dim=1) - own


def gbce(
    hidden: torch.Tensor, table: torch.Tensor, targets: torch.Tensor, negatives: torch.Tensor, calibration: float
) -> torch.Tensor:
    """Generalised binary cross-entropy at every position (examples, time), averaged over the target and the negatives.

    −(log σᵝ(s⁺) + Σ log(1 − σ(s⁻))) / (negatives + 1), with β = α(t(1 − 1/α) + 1/α) for the sampling rate
    α = negatives/(items − 1) and the calibration t (Petrov & Macdonald 2023, gSASRec, equations 9 and 12). t = 0 is
    plain binary cross-entropy; t = 1 takes back the whole overconfidence that few negatives cause. A negative that is
    the target itself counts nothing.

    Args:
        hidden: (examples, time, width).
        table: Output embeddings (items, width).
        targets: Item indices (examples, time).
        negatives: Item indices, drawn uniformly for each example (examples, negatives).
        calibration: t, from 0 to 1.
    """
    rate = min(1.0, negatives.shape[1] / max(1, len(table) - 1))
    beta = rate * (calibration * (1 - 1 / rate) + 1 / rate)
    own = (hidden * F.embedding(targets, table)).sum(dim=2)
    others = hidden @ F.embedding(negatives, table).transpose(1, 2)  # (examples, time, negatives)
    others = others.masked_fill(negatives[:, None] == targets[:, :, None], -torch.inf)
    return (beta * F.softplus(-own) + F.softplus(others).sum(dim=2)) / (negatives.shape[1] + 1)
