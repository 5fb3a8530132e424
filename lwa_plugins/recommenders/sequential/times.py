"""How long lies between two events, as a bias of attention.

The time of the item that is to be predicted is known in training and not when a user asks, so it is never looked at:
a position's own time is that of its event, and not that of the event after it, as HSTU has it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from lwa_core import History, ModelError, TimedHistory
from lwa_plugins.recommenders._sequences import padded

BUCKETS = 80
"""The last one begins at about 670 years."""
WIDTH = 0.301
"""Of a bucket, in natural logarithms of seconds (Zhai et al. 2024, HSTU, in its code)."""
EDGES = torch.tensor([math.ceil(1000 * math.exp(WIDTH * bucket)) for bucket in range(1, BUCKETS)])
"""Where every bucket but the first begins, in milliseconds: whole numbers, so that every device finds the same."""


def gap_buckets(queries: torch.Tensor, keys: torch.Tensor) -> torch.Tensor:
    """⌊ln(max(1, |t_q − t_k|)) / 0.301⌋ in seconds, for times in milliseconds.

    Args:
        queries: (examples, queries), int64.
        keys: (examples, keys), int64.

    Returns:
        Buckets from 0 to `BUCKETS` − 1 (examples, queries, keys), int64.
    """
    gaps = (queries[:, :, None] - keys[:, None]).abs()
    return torch.bucketize(gaps, EDGES.to(gaps.device), right=True)


def padded_times(histories: Sequence[History]) -> torch.Tensor:
    """Times in milliseconds (histories, time), int64, 0 behind the end of each.

    Raises:
        ModelError: A history has no times.
    """
    times = [history.times for history in histories if isinstance(history, TimedHistory) and history.times is not None]
    if len(times) < len(histories):
        raise ModelError(
            "a model that looks at times was given a history without any", "give a lwa_core.data.TimedHistory"
        )
    return torch.from_numpy(padded(times, first=0))
