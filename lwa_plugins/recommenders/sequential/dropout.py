"""Dropout in training on a CPU, where torch draws its masks one element at a time and attends in its slow form."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

LEVELS = 2**16
QUERIES = 50


class Dropout(nn.Dropout):
    """Dropout whose rate is rounded to a multiple of 1/65536 on a CPU; elsewhere, torch's own."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        if not self.training or input.device.type != "cpu":
            return super().forward(input)
        return input * dropout_factors(input, self.p)


def dropout_factors(like: torch.Tensor, rate: float) -> torch.Tensor:
    """0 where an element is dropped, else 1/(1 − rate), drawn from torch's generator, 16 bits an element.

    The rate is rounded to a multiple of 1/65536, and the factor is that of the rounded rate: the mean is exactly 1.
    """
    dropped = round(rate * LEVELS)
    bits = torch.empty(-(-like.numel() // 4), dtype=torch.int64).random_(-(2**63), None).view(torch.int16)
    kept = bits[: like.numel()].view(like.shape) >= dropped - LEVELS // 2
    return kept.to(like.dtype).mul_(LEVELS / (LEVELS - dropped))


def causal_attention(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, dropout: float) -> torch.Tensor:
    """Causal scaled dot-product attention with dropout on the probabilities; all (batch, heads, time, size).

    With dropout on a CPU, torch forms the whole matrix of every head. Here some queries at a time look at the keys up
    to the last of them: half of the matrix, in parts that stay in the cache.
    """
    if not dropout or q.device.type != "cpu":
        return F.scaled_dot_product_attention(q, k, v, is_causal=True, dropout_p=dropout)
    mixed = []
    q = q * q.shape[-1] ** -0.5
    for start in range(0, q.shape[2], QUERIES):
        end = min(start + QUERIES, q.shape[2])
        later = q.new_full((end - start, end), -torch.inf).triu(start + 1)
        probabilities = (q[:, :, start:end] @ k[:, :, :end].transpose(2, 3)).add_(later).softmax(dim=-1)
        mixed.append((probabilities * dropout_factors(probabilities, dropout)) @ v[:, :, :end])
    return torch.cat(mixed, dim=2)


def biased_attention(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, bias: torch.Tensor, dropout: float
) -> torch.Tensor:
    """The same over all keys, with `bias` added to the logits (batch, heads or 1, queries or 1, keys).

    Minus infinity hides a key.
    """
    if not dropout or q.device.type != "cpu":
        return F.scaled_dot_product_attention(q, k, v, attn_mask=bias, dropout_p=dropout)
    mixed = []
    q = q * q.shape[-1] ** -0.5
    parts = bias.expand(-1, -1, q.shape[2], -1).split(QUERIES, dim=2)
    for rows, added in zip(q.split(QUERIES, dim=2), parts, strict=True):
        probabilities = (rows @ k.transpose(2, 3) + added).softmax(dim=-1)
        mixed.append((probabilities * dropout_factors(probabilities, dropout)) @ v)
    return torch.cat(mixed, dim=2)
