"""Ranking metrics of many users, from ranks and top lists."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from lwa_core.data import Catalogue
from lwa_core.recommendation.ranking import Ranking
from lwa_core.statistics.rank_metrics import SAMPLED, ndcg, recall, reciprocal_rank

Floats = NDArray[np.float64]

PAIRS_AT_ONCE = 2**22


def coverage(ranking: Ranking, catalogue: Catalogue, k: int) -> float:
    """Share of the catalogue that is in anyone's top k. A property of the whole set of users: it has no interval."""
    _check(ranking, catalogue, k)
    shown = np.unique(ranking.top[:, :k])
    return int(np.count_nonzero(shown >= 0)) / len(catalogue)


def diversity(ranking: Ranking, catalogue: Catalogue, ks: Sequence[int]) -> dict[int, Floats] | None:
    """Intra-list diversity at each k (examples,): mean of 1 - Jaccard(categories) over the pairs of a top list.

    Only pairs count in which both items have categories; NaN where a list has none. None where the whole catalogue
    has no categories. Ziegler et al. 2005, Improving recommendation lists through topic diversification.

    Where a list is longer than there are sets of categories, its items are counted by their set, so that neither time
    nor memory grows with k².
    """
    if catalogue.categories is None or not any(catalogue.categories):
        return None
    _check(ranking, catalogue, max(ks))
    sets = _Sets(catalogue.categories)
    longest = min(max(ks), ranking.depth)
    per_list = sets.count if sets.count <= longest else longest * (longest - 1) // 2
    chunk = max(1, PAIRS_AT_ONCE // max(per_list, 1))
    means: dict[int, list[Floats]] = {k: [] for k in ks}
    for start in range(0, len(ranking.top), chunk):
        top = ranking.top[start : start + chunk, :longest]
        found = sets.by_counts(top, ks) if sets.count <= longest else sets.by_pairs(top, ks)
        for k, (total, pairs) in found.items():
            means[k].append(np.where(pairs > 0, total / np.maximum(pairs, 1), np.nan))
    return {k: np.concatenate(parts) if parts else np.zeros(0) for k, parts in means.items()}


def per_user(ranking: Ranking, catalogue: Catalogue, ks: Sequence[int]) -> dict[str, Floats]:
    """Every metric that has a value for each example, by name: `ndcg@k`, `recall@k`, `mrr`, `diversity@k`; where items
    were sampled, `ndcg@k_sampled` and `recall@k_sampled`, too.

    `diversity@k` is left out where the catalogue has no categories, and NaN for the users for whom it is not defined.
    """
    _check(ranking, catalogue, max(ks))
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


def _check(ranking: Ranking, catalogue: Catalogue, k: int) -> None:
    if ranking.depth < min(k, len(catalogue)):
        raise ValueError(f"top lists of {ranking.depth} items cannot tell what is in the top {k}")


class _Sets:
    """The distinct sets of categories, and how far they are apart.

    Args:
        categories: Of each item; the item's set is -1 where it has none.
    """

    def __init__(self, categories: Sequence[Sequence[str]]) -> None:
        from scipy.sparse import csr_array

        sets = [tuple(sorted(set(names))) for names in categories]
        distinct = sorted({names for names in sets if names})
        place = {names: number for number, names in enumerate(distinct)}
        columns = {name: column for column, name in enumerate(sorted({name for names in distinct for name in names}))}
        indices = [columns[name] for names in distinct for name in names]
        offsets = np.cumsum([0, *map(len, distinct)])
        self.count = len(distinct)
        self.of_item = np.array([place.get(names, -1) for names in sets], dtype=np.int64)
        self.has = csr_array((np.ones(len(indices)), indices, offsets), shape=(len(distinct), len(columns)))
        self.sizes = np.diff(offsets)

    def by_counts(self, top: NDArray[np.int32], ks: Sequence[int]) -> dict[int, tuple[Floats, Floats]]:
        """Sum of the distances over the pairs of each list, and how many pairs those are, at each k (lists,)."""
        owners, places = np.nonzero(top >= 0)
        sets = self.of_item[top[owners, places]]
        found = {}
        for k in ks:
            inside = (places < k) & (sets >= 0)
            counts = np.zeros((len(top), self.count))
            np.add.at(counts, (owners[inside], sets[inside]), 1.0)
            total = counts.sum(axis=1)
            found[k] = ((counts @ self._all) * counts).sum(axis=1) / 2, total * (total - 1) / 2
        return found

    def by_pairs(self, top: NDArray[np.int32], ks: Sequence[int]) -> dict[int, tuple[Floats, Floats]]:
        """The same, pair by pair."""
        first, second = np.triu_indices(top.shape[1], 1)
        sets = np.where(top >= 0, self.of_item[top], -1)
        a, b = sets[:, first], sets[:, second]
        told = (a >= 0) & (b >= 0)
        # The same pairs come up for many users: each is computed once.
        unique, places = np.unique(np.where(told, a * self.count + b, 0), return_inverse=True)
        apart = self._distances(unique // self.count, unique % self.count)[places.reshape(a.shape)]
        found = {}
        for k in ks:
            inside = told & (second < k)
            found[k] = np.where(inside, apart, 0.0).sum(axis=1), inside.sum(axis=1).astype(np.float64)
        return found

    @cached_property
    def _all(self) -> Floats:
        """1 - Jaccard of every pair of sets (sets, sets)."""
        both: Floats = (self.has @ self.has.T).toarray()
        apart: Floats = 1 - both / (self.sizes[:, None] + self.sizes[None, :] - both)
        return apart

    def _distances(self, a: NDArray[np.int64], b: NDArray[np.int64]) -> Floats:
        both: Floats = np.asarray(self.has[a].multiply(self.has[b]).sum(axis=1)).ravel()
        apart: Floats = 1 - both / (self.sizes[a] + self.sizes[b] - both)
        return apart
