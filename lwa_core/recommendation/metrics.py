"""Ranking metrics of many users, from ranks and top lists."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from lwa_core.data import Catalogue
from lwa_core.recommendation.ranking import Ranking
from lwa_core.statistics.rank_metrics import ndcg, recall, reciprocal_rank

Floats = NDArray[np.float64]

PAIRS_AT_ONCE = 2**22

SAMPLED = "_sampled"
"""Stands behind the name of a metric of ranks among few sampled items."""


def coverage(ranking: Ranking, catalogue: Catalogue, k: int) -> float:
    """Share of the catalogue that is in anyone's top k. A property of the whole set of users: it has no interval."""
    _check(ranking, k)
    shown = np.unique(ranking.top[:, :k])
    return int(np.count_nonzero(shown >= 0)) / len(catalogue)


def diversity(ranking: Ranking, catalogue: Catalogue, ks: Sequence[int]) -> dict[int, Floats] | None:
    """Intra-list diversity at each k (examples,): mean of 1 - Jaccard(categories) over the pairs of a top list.

    Only pairs count in which both items have categories; NaN where a list has none. None where the whole catalogue
    has no categories. Ziegler et al. 2005, Improving recommendation lists through topic diversification.
    """
    if catalogue.categories is None or not any(catalogue.categories):
        return None
    _check(ranking, max(ks))
    pair_distance = _Distances(catalogue.categories)
    first, second = np.triu_indices(max(ks), 1)
    chunk = max(1, PAIRS_AT_ONCE // max(len(first), 1))
    means: dict[int, list[Floats]] = {k: [] for k in ks}
    for start in range(0, len(ranking.top), chunk):
        top = ranking.top[start : start + chunk, : max(ks)]
        distances = pair_distance(top[:, first], top[:, second])  # (examples, pairs)
        for k in ks:
            inside = distances[:, second < k]
            counted = ~np.isnan(inside)
            count = counted.sum(axis=1)
            total = np.where(counted, inside, 0.0).sum(axis=1)
            means[k].append(np.where(count > 0, total / np.maximum(count, 1), np.nan))
    return {k: np.concatenate(parts) if parts else np.zeros(0) for k, parts in means.items()}


def per_user(ranking: Ranking, catalogue: Catalogue, ks: Sequence[int]) -> dict[str, Floats]:
    """Every metric that has a value for each example, by name: `ndcg@k`, `recall@k`, `mrr`, `diversity@k`; where items
    were sampled, `ndcg@k_sampled` and `recall@k_sampled`, too.

    `diversity@k` is left out where the catalogue has no categories, and NaN for the users for whom it is not defined.
    """
    _check(ranking, max(ks))
    ranks, tied = ranking.ranks, ranking.tied
    values = {f"ndcg@{k}": ndcg(ranks, k, tied) for k in ks}
    values |= {f"recall@{k}": recall(ranks, k, tied) for k in ks}
    values["mrr"] = reciprocal_rank(ranks, tied)
    for k, diverse in (diversity(ranking, catalogue, ks) or {}).items():
        values[f"diversity@{k}"] = diverse
    if ranking.among_sampled is not None:
        ranks, tied = ranking.among_sampled
        values |= {f"ndcg@{k}{SAMPLED}": ndcg(ranks, k, tied) for k in ks}
        values |= {f"recall@{k}{SAMPLED}": recall(ranks, k, tied) for k in ks}
    return values


def _check(ranking: Ranking, k: int) -> None:
    if ranking.depth < k:
        raise ValueError(f"top lists of {ranking.depth} items cannot tell what is in the top {k}")


class _Distances:
    """1 - Jaccard of the categories of pairs of items; NaN where one of the two has none, or is -1."""

    def __init__(self, categories: Sequence[Sequence[str]]) -> None:
        from scipy.sparse import csr_array

        sets = [sorted(set(names)) for names in categories]
        columns = {name: column for column, name in enumerate(sorted({name for names in sets for name in names}))}
        indices = [columns[name] for names in sets for name in names]
        offsets = np.cumsum([0, *map(len, sets)])
        ones = np.ones(len(indices))
        self.has = csr_array((ones, indices, offsets), shape=(len(sets), len(columns)))  # (items, categories)
        self.sizes = np.diff(offsets)

    def __call__(self, a: NDArray[np.int32], b: NDArray[np.int32]) -> Floats:
        # The same pairs of popular items come up for many users: each is computed once.
        items = len(self.sizes)
        known = (a >= 0) & (b >= 0)
        keys = np.where(known, a.astype(np.int64) * items + b, 0)
        unique, places = np.unique(keys, return_inverse=True)
        left, right = unique // items, unique % items
        both = np.asarray(self.has[left].multiply(self.has[right]).sum(axis=1)).ravel()
        either = self.sizes[left] + self.sizes[right] - both
        told = (self.sizes[left] > 0) & (self.sizes[right] > 0)
        distances = np.where(told, 1 - both / np.maximum(either, 1), np.nan)
        return np.where(known, distances[places].reshape(a.shape), np.nan)
