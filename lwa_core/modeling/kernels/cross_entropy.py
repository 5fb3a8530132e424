"""Cross-entropy over a whole catalogue that never holds the logits of more than a few hundred positions.

The gradients of a chunk are formed while its logits are still in the cache, as its softmax is all that they need; so
the logits are computed once, and what is kept for the backward pass is as small as the hidden states and the table.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias, cast

import torch
from torch.autograd.function import once_differentiable

from lwa_core.modeling.kernels.matmul import product

Prior: TypeAlias = "Callable[[slice], torch.Tensor]"

CHUNK = 256
"""Positions at once on a CPU: with a few thousand items their logits fit into the second- and third-level cache."""

DEVICE_CHUNK = 4096
"""Positions at once on a GPU, where each chunk costs a few launches."""


def cross_entropy(
    hidden: torch.Tensor,
    table: torch.Tensor,
    targets: torch.Tensor,
    prior: Prior | None = None,
    scale: torch.Tensor | None = None,
) -> torch.Tensor:
    """Cross-entropy of each target over the whole catalogue (targets,), of the logits h·tableᵀ + scale · prior.

    Args:
        hidden: (targets, width); in half precision the loss is computed in float32, as three digits are too few.
        table: Output embeddings (items, width).
        targets: Item indices (targets,).
        prior: Scores of all items at some of the targets' positions (chunk, items), which learn nothing; none: 0.
        scale: Scalar, given with a prior.
    """
    hidden, table = (each if each.element_size() >= 4 else each.float() for each in (hidden, table))
    if not len(hidden):
        return hidden.sum(dim=1)
    scale = hidden.new_zeros(()) if scale is None else scale.float()
    forming = torch.is_grad_enabled()
    into = forming and hidden.requires_grad, forming and table.requires_grad
    with torch.autocast(hidden.device.type, enabled=False):
        losses = _CrossEntropy.apply(hidden, table, targets, scale, prior, into)  # type: ignore[no-untyped-call]
        return cast(torch.Tensor, losses)


class _CrossEntropy(torch.autograd.Function):
    """Losses of all targets; the gradients are made in the forward pass, for a sum of the losses."""

    @staticmethod
    def forward(
        ctx: Any,
        hidden: torch.Tensor,
        table: torch.Tensor,
        targets: torch.Tensor,
        scale: torch.Tensor,
        prior: Prior | None,
        into: tuple[bool, bool],
    ) -> torch.Tensor:
        losses, *gradients = _chunked(hidden, table, targets, scale, prior, into)
        ctx.save_for_backward(hidden, table, targets, scale, *gradients)
        ctx.prior = prior
        return losses

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, weights: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        hidden, table, targets, scale, into_hidden, into_table, into_scale = ctx.saved_tensors
        if into_hidden is not None:
            into_hidden = into_hidden * weights[:, None]
        if into_table is not None and bool((weights == weights[0]).all()):
            into_table = into_table * weights[0]
        elif into_table is not None:  # the sum over targets is weighted: it has to be formed again
            into_table = _chunked(hidden, table, targets, scale, ctx.prior, (False, True), weights)[2]
        return into_hidden, into_table, None, into_scale @ weights, None, None


def _chunked(
    hidden: torch.Tensor,
    table: torch.Tensor,
    targets: torch.Tensor,
    scale: torch.Tensor,
    prior: Prior | None,
    into: tuple[bool, bool],
    weights: torch.Tensor | None = None,
) -> tuple[torch.Tensor, torch.Tensor | None, torch.Tensor | None, torch.Tensor]:
    """Losses (targets,), the gradient of each by its hidden state, that of their weighted sum by the table, and of each
    by the scale (targets,).
    """
    losses, into_scale = hidden.new_empty(len(hidden)), hidden.new_zeros(len(hidden))
    into_hidden = torch.empty_like(hidden) if into[0] else None
    into_table = table.new_zeros(table.shape[1], table.shape[0]) if into[1] else None
    chunk = CHUNK if hidden.device.type == "cpu" else DEVICE_CHUNK
    for start in range(0, len(hidden), chunk):
        rows = slice(start, start + chunk)
        states, wanted = hidden[rows], targets[rows, None]
        softmax = product(states, table)  # logits, so far (chunk, items)
        known = None if prior is None else prior(rows)
        if known is not None:
            softmax.add_(known * scale)
        own, top = softmax.gather(1, wanted)[:, 0], softmax.amax(dim=1)
        torch.softmax(softmax, dim=1, out=softmax)
        # The softmax of the highest logit is 1 / Σ exp(logit − highest), and never underflows.
        losses[rows] = top - softmax.amax(dim=1).log() - own
        if known is not None:
            into_scale[rows] = (softmax * known).sum(dim=1) - known.gather(1, wanted)[:, 0]
        if not any(into):
            continue
        softmax.scatter_add_(1, wanted, softmax.new_full((1, 1), -1.0).expand_as(wanted))
        if weights is not None:
            softmax *= weights[rows, None]
        if into_hidden is not None:
            into_hidden[rows] = product(softmax, table.T)
        if into_table is not None:
            into_table += product(states.T, softmax.T)
    return losses, into_hidden, None if into_table is None else into_table.T, into_scale
