"""Where the target stands among all items: one rule for calibration, validation and test examples."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray

Places: TypeAlias = "tuple[torch.Tensor, torch.Tensor]"
"""Rows and columns of entries of a table, each entry once (entries,)."""


def target_ranks(
    scores: torch.Tensor, targets: torch.Tensor, left_out: Places | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """The rank of each target behind all items that score as high, and how many of those there are.

    Args:
        scores: Of every item (examples, items), higher is better, without NaN and +inf.
        targets: Item of each example (examples,).
        left_out: Items that are ranked in no place, of each example.

    Returns:
        `ranks` (examples,), int64: 1 + the other items whose score is no lower. 0: the target has no place, because it
        is left out or its score is -inf. `tied` (examples,), int64: how many others have its score. By which of the
        places from `ranks - tied` to `ranks` a target is judged, the metrics say.
    """
    own = scores.gather(1, targets[:, None])
    # Signs of differences as floats take a fifth of the time of two comparisons; sums of ones are exact up to 2^24.
    signs = (scores - own).sign_()
    exact = torch.promote_types(scores.dtype, torch.float32)
    higher_less_lower, other = signs.sum(dim=1, dtype=exact), signs.abs_().sum(dim=1, dtype=exact)
    ahead = ((higher_less_lower + other) / 2).long()
    tied = scores.shape[1] - 1 - other.long()
    placed = ~torch.isneginf(own[:, 0])
    if left_out is not None:
        rows, columns = left_out
        sign = (scores[rows, columns] - own[rows, 0]).sign()
        is_target = columns == targets[rows]
        ahead = ahead.index_add(0, rows, -(sign > 0).long())
        tied = tied.index_add(0, rows, -((sign == 0) & ~is_target).long())
        placed = placed & (torch.zeros_like(ahead).index_add(0, rows, is_target.long()) == 0)
    return torch.where(placed, 1 + ahead + tied, 0), torch.where(placed, tied, 0)


def places_of(items: Sequence[NDArray[np.integer]], device: torch.device) -> Places:
    """The entries of a table that belong to these items of each row, each once."""
    each = [np.unique(np.asarray(row)) for row in items]
    rows = np.repeat(np.arange(len(each)), [len(row) for row in each])
    columns = np.concatenate([*each, np.zeros(0, dtype=np.int64)]).astype(np.int64)
    return torch.from_numpy(rows).to(device), torch.from_numpy(columns).to(device)
