"""Training losses of `sequential` that look at sampled items instead of the whole catalogue."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch.autograd.function import once_differentiable

from lwa_core.modeling import product

CHUNK = 256
"""Positions whose scores of all items a prior gives at once."""


def sampled_softmax(
    hidden: torch.Tensor,
    table: torch.Tensor,
    targets: torch.Tensor,
    negatives: torch.Tensor,
    prior: Callable[[slice], torch.Tensor] | None = None,
    scale: torch.Tensor | None = None,
) -> torch.Tensor:
    """Cross-entropy of each target against the same sampled items (targets,), corrected for the sampling.

    log q, q = negatives/items, is taken off each negative's logit (logQ correction: Bengio & Senécal 2008; Yi et al.
    2019), so that the mean of the sum under the logarithm is the full softmax's; with every item as a negative it is
    the full softmax. A negative that is the target itself is left out.

    Args:
        hidden: (targets, width).
        table: Output embeddings (items, width).
        targets: Item indices (targets,).
        negatives: Distinct item indices, each drawn with the same chance (negatives,).
        prior: Scores of all items at some of the targets' positions (chunk, items), to be added to the logits `scale`
            times; none: 0.
        scale: Scalar, given with a prior.
    """
    own = (hidden * F.embedding(targets, table)).sum(dim=1)
    column = targets.new_full((len(table),), -1)
    column[negatives] = torch.arange(len(negatives), device=column.device)
    candidates = F.embedding(negatives, table)
    added = None
    if prior is not None and scale is not None:
        known, of_target = _of_columns(prior, targets, negatives)
        own, added = own + scale * of_target, scale * known
    others: torch.Tensor = _LogSumExp.apply(hidden, candidates, column[targets], added)  # type: ignore[no-untyped-call]
    return F.softplus(others - math.log(len(negatives) / len(table)) - own)


def _of_columns(
    prior: Callable[[slice], torch.Tensor], targets: torch.Tensor, columns: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """The prior's scores of some items (targets, columns), and of the targets (targets,)."""
    parts, own = [], []
    for start in range(0, len(targets), CHUNK):
        rows = slice(start, start + CHUNK)
        scores = prior(rows)
        parts.append(scores[:, columns])
        own.append(scores.gather(1, targets[rows, None])[:, 0])
    return torch.cat(parts), torch.cat(own)


class _LogSumExp(torch.autograd.Function):
    """log Σ exp(h·c + a) over the candidates (targets,), one left out where `left_out` (targets,) is its column.

    `left_out` is −1 where none is, and `added` is a (targets, candidates); None: 0.

    Its own function because the softmax in place is all that the backward pass needs, and oneDNN makes the products.
    """

    @staticmethod
    def forward(
        ctx: Any, hidden: torch.Tensor, candidates: torch.Tensor, left_out: torch.Tensor, added: torch.Tensor | None
    ) -> torch.Tensor:
        softmax = product(hidden, candidates)  # logits, so far (targets, candidates)
        if added is not None:
            softmax += added
        (rows,) = (left_out >= 0).nonzero(as_tuple=True)
        softmax[rows, left_out[rows]] = torch.finfo(softmax.dtype).min / 4  # finite: it may be the only one
        top = softmax.amax(dim=1)
        softmax = softmax.softmax(dim=1)
        ctx.save_for_backward(hidden, candidates, softmax)
        return top - softmax.amax(dim=1).log()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        hidden, candidates, softmax = ctx.saved_tensors
        weighted = softmax * gradient[:, None]
        into_added = weighted if ctx.needs_input_grad[3] else None
        return product(weighted, candidates.T), product(weighted.T, hidden.T), None, into_added


def gbce(
    hidden: torch.Tensor, table: torch.Tensor, targets: torch.Tensor, negatives: torch.Tensor, calibration: float
) -> torch.Tensor:
    """Generalised binary cross-entropy at every position (examples, time), averaged over the target and the negatives.

    −(log σᵝ(s⁺) + Σ log(1 − σ(s⁻))) / (negatives + 1), with β = α(t(1 − 1/α) + 1/α) for the sampling rate
    α = negatives/(items − 1) and the calibration t (Petrov & Macdonald 2023, gSASRec). t = 0 is
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
