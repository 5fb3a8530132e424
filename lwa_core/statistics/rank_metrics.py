"""Metrics of one target's rank, as they are expected where items that tie with it come in any order.

Ranks are those of `lwa_core.modeling.kernels.target_ranks`: `ranks` behind all items of the same score, 0 for a target
that has no place, and `tied` other items of that score. Every order of the tied items is as likely, so the metric is
the mean over the places from `ranks - tied` to `ranks` (McSherry & Najork 2008, Computing information retrieval
performance measures efficiently in the presence of tied scores). A model that scores all items alike then has what a
random order has. Without `tied` the rank counts as it is: behind all that tie.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

SAMPLED = "_sampled"
"""Stands behind the name of a metric of ranks among few sampled items."""

Floats = NDArray[np.float64]
Ranks = NDArray[np.integer]


def ndcg(ranks: Ranks, k: int, tied: Ranks | None = None) -> Floats:
    """Expected 1 / log2(1 + rank) where 1 <= rank <= k, else 0 (examples,): one target, so that the ideal DCG is 1.

    Järvelin & Kekäläinen 2002, binary relevance.
    """
    first, last = _places(ranks, tied)
    k = min(k, max(1, int(last.max(initial=1))))  # there is no place behind the last one
    gains = 1 / np.log2(2 + np.arange(k))  # of the places 1 to k
    sums = np.concatenate([[0.0], np.cumsum(gains)])
    alone = np.where((last >= 1) & (last <= k), gains[np.clip(last, 1, k) - 1], 0.0)
    shared = (sums[np.minimum(last, k)] - sums[np.minimum(first - 1, k)]) / (last - first + 1)
    return np.where(first == last, alone, shared)


def recall(ranks: Ranks, k: int, tied: Ranks | None = None) -> Floats:
    """Chance that 1 <= rank <= k (examples,). With one target this is also the hit rate."""
    first, last = _places(ranks, tied)
    inside = np.maximum(np.minimum(last, k) - np.maximum(first, 1) + 1, 0)
    return np.where(last >= 1, inside / (last - first + 1), 0.0)


def reciprocal_rank(ranks: Ranks, tied: Ranks | None = None) -> Floats:
    """Expected 1 / rank over the whole list, 0 for rank 0 (examples,)."""
    from scipy.special import digamma

    first, last = _places(ranks, tied)
    alone = np.where(last >= 1, 1 / np.maximum(last, 1), 0.0)
    # 1 / first + … + 1 / last is a difference of harmonic numbers.
    shared = (digamma(last + 1.0) - digamma(np.maximum(first, 1) * 1.0)) / (last - first + 1)
    return np.where(first == last, alone, shared)


def headline_cutoff(ks: Sequence[int]) -> int:
    """The k of the NDCG@k that sentences are about, and that the utility `ndcg` is: 10 if it is asked for, or the
    largest.
    """
    return 10 if 10 in ks else max(ks)


def _places(ranks: Ranks, tied: Ranks | None) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The first and the last place that a target can have (examples,)."""
    last = np.asarray(ranks, dtype=np.int64)
    return last if tied is None else last - np.asarray(tied, dtype=np.int64), last
