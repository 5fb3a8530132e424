"""How far scorers agree on the order of the layers, and one order out of many.

Everything here works on ranks: scores of different scorers have different units, and their sizes are never compared or
averaged. Tables are (scorers, layers), one row a scorer's mean scores, higher is better; tied layers share their
average rank. P-values are those of permutation tests: the null hypothesis is that a scorer's order has nothing to do
with the others', every order being as likely. They are never 0: p = (1 + b) / (1 + m) for b of m random permutations
that are as extreme (Phipson & Smyth 2010), and b / m where all permutations were gone through, the observed one among
them.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator

import attrs
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

PERMUTATIONS = 9999
ALL_UP_TO = 40320
"""As many permutations as 8 layers have: up to here all are gone through."""

ENTRIES_AT_ONCE = 2**22


@attrs.frozen
class Concordance:
    """Kendall's W of several scorers, 0 to 1, and its permutation p-value (one-sided: more agreement)."""

    w: float
    p: float
    permutations: int
    exact: bool


@attrs.frozen(eq=False)
class Correlations:
    """Kendall's tau-b of every two scorers and its two-sided permutation p-value (scorers, scorers)."""

    tau: Floats
    p: Floats
    permutations: int
    exact: bool


@attrs.frozen(eq=False)
class Overlap:
    """How many of the k best layers every two scorers share (scorers, scorers).

    `chance` is what two random orders share on average, k²/L; `p` is the hypergeometric probability of as many or more.
    """

    k: int
    shared: Integers
    chance: float
    p: Floats


def spearman(a: Floats, b: Floats) -> float:
    """Spearman's rank correlation, ties given their average rank; 0 where one side is constant."""
    return float(spearman_rows(np.asarray(a)[None], np.asarray(b)[None])[0])


def spearman_rows(a: Floats, b: Floats) -> Floats:
    """`spearman` of each row of one table with the same row of another: along the last axis."""
    from scipy.stats import rankdata

    first, second = rankdata(a, axis=-1), rankdata(b, axis=-1)
    first -= first.mean(axis=-1, keepdims=True)
    second -= second.mean(axis=-1, keepdims=True)
    scale = np.sqrt((first**2).sum(axis=-1) * (second**2).sum(axis=-1))
    products = (first * second).sum(axis=-1)
    return np.asarray(np.divide(products, scale, out=np.zeros_like(products), where=scale > 0), dtype=np.float64)


def concordance(scores: Floats, permutations: int = PERMUTATIONS, seed: int = 0) -> Concordance | None:
    """Kendall's W with the correction for ties (Kendall 1948; Siegel & Castellan 1988, section 9.6).

    W = 12 Σ_i (R_i − R̄)² / (m²(L³ − L) − m Σ_j Σ_ties (t³ − t)) over the rank sums R_i of L layers by m scorers. None
    for fewer than two scorers or layers, and where every scorer gives all layers the same score.
    """
    scorers, layers = scores.shape
    if scorers < 2 or layers < 2:
        return None
    doubled = _doubled_ranks(scores)
    ties = sum(int((t**3 - t).sum()) for t in (np.unique(row, return_counts=True)[1] for row in doubled))
    whole = scorers**2 * (layers**3 - layers) - scorers * ties
    if whole == 0:
        return None
    observed = int(_spread(doubled.sum(axis=0)))
    count = math.factorial(layers) ** (scorers - 1)  # the first scorer's order can stay as it is
    exact = count <= ALL_UP_TO
    sums = _all_rank_sums(doubled) if exact else _random_rank_sums(doubled, permutations, seed)
    extreme = sum(int((_spread(block) >= observed).sum()) for block in sums)
    p = extreme / count if exact else (1 + extreme) / (1 + permutations)
    w = 12 * observed / (4 * layers) / whole  # doubled ranks, and L times the spread: see _spread
    return Concordance(w, p, count if exact else permutations, exact)


def correlations(scores: Floats, permutations: int = PERMUTATIONS, seed: int = 0) -> Correlations:
    """Kendall's tau-b between every two scorers, 0 where one of them gives all layers the same score (Kendall 1945).

    The p-values are of each pair alone, not corrected for how many pairs there are.
    """
    scorers, layers = scores.shape
    pairs = np.triu_indices(layers, 1)
    signs = np.sign(scores[:, pairs[0]] - scores[:, pairs[1]]).astype(np.float32)  # (scorers, pairs of layers)
    concordant = (signs @ signs.T).astype(np.float64)  # whole numbers: exact
    scale = np.sqrt(np.outer(np.diag(concordant), np.diag(concordant)))
    tau = np.divide(concordant, scale, out=np.zeros_like(concordant), where=scale > 0)
    np.fill_diagonal(tau, 1.0)
    count = math.factorial(layers)
    exact = count <= ALL_UP_TO
    extreme = np.zeros((scorers, scorers), dtype=np.int64)
    for orders in _all_orders(layers, len(pairs[0])) if exact else _random_orders(layers, permutations, seed):
        for other in range(1, scorers):
            shuffled = scores[other][orders]
            moved = np.sign(shuffled[:, pairs[0]] - shuffled[:, pairs[1]]).astype(np.float32)
            found = np.abs(moved @ signs[:other].T) >= np.abs(concordant[other, :other])
            extreme[other, :other] += found.sum(axis=0)
    p = extreme / count if exact else (1 + extreme) / (1 + permutations)
    p = np.where(np.tri(scorers, k=-1, dtype=bool), p, p.T)
    np.fill_diagonal(p, 1 / count if exact else 1 / (1 + permutations))
    return Correlations(tau, p, count if exact else permutations, exact)


def overlap(scores: Floats, k: int) -> Overlap:
    """How many of their k highest layers every two scorers share; of equal scores the later layer is the higher."""
    from scipy.stats import hypergeom

    scorers, layers = scores.shape
    top = np.zeros((scorers, layers), dtype=np.int64)
    best = np.argsort(scores, axis=1, kind="stable")[:, layers - k :]
    np.put_along_axis(top, best, 1, axis=1)
    shared = top @ top.T
    p = np.asarray(hypergeom.sf(shared - 1, layers, k, k), dtype=np.float64)
    return Overlap(k, shared, k * k / layers, p)


def borda_points(scores: Floats) -> Floats:
    """Borda's points of each layer by each scorer: how many layers it is above, 0 to L − 1, half for a tie.

    Their mean over the scorers orders the layers by Borda's count (Borda 1781; Dwork et al. 2001).
    """
    return _doubled_ranks(scores) / 2.0 - 1


def robust_rank_aggregation(scores: Floats) -> Floats:
    """P-value of each layer for being ranked high by some of the scorers more often than chance would (layers,).

    A layer's ranks over L, from the best 1/L, sorted: r_(1) ≤ … ≤ r_(m). If they were independent and uniform, r_(k)
    would have the distribution Beta(k, m − k + 1). ρ is the smallest of the m probabilities P(Beta ≤ r_(k)) (Kolde et
    al. 2012, equations 1 and 2). Being a minimum, ρ is no p-value yet; what is given is P(ρ' ≤ ρ) under that null
    hypothesis, exactly, where the paper bounds it by m·ρ. Ranks out of few layers are coarser than uniform, which makes
    it err on the careful side. It is not corrected for the number of layers.
    """
    from scipy.special import betainc

    scorers, layers = scores.shape
    ranks = np.sort((_doubled_ranks(-scores) / (2.0 * layers)), axis=0)
    k = np.arange(1, scorers + 1)[:, None]
    rho = betainc(k, scorers - k + 1, ranks).min(axis=0)
    p = {value: _smallest_beta(value, scorers) for value in set(rho.tolist())}
    return np.array([p[value] for value in rho.tolist()])


def _smallest_beta(rho: float, scorers: int) -> float:
    """P(min_k P(Beta(k, m − k + 1) ≤ U_(k)) ≤ rho) for the order statistics U_(k) of m uniform numbers.

    It is the chance that for some k at least k of the m numbers are below b_k, the rho-quantile of Beta(k, m − k + 1).
    The b_k rise, so the numbers below them are counted from one to the next. All terms are positive: small values keep
    their digits.
    """
    from scipy.special import betaincinv
    from scipy.stats import binom

    bounds = betaincinv(np.arange(1, scorers + 1), np.arange(scorers, 0, -1), rho)
    reached, before = 0.0, 0.0
    below = np.zeros(scorers + 1)  # below[c]: c numbers are below the last bound, and no bound was passed too often
    below[0] = 1.0
    for k, bound in enumerate(bounds, start=1):
        share = (bound - before) / (1 - before) if before < 1 else 0.0
        counts = np.arange(k)  # how many could be below so far
        reached += float(below[:k] @ binom.sf(k - 1 - counts, scorers - counts, share))
        more = binom.pmf(np.arange(k)[:, None] - counts[None, :], scorers - counts[None, :], share)  # (now, before)
        below[:k] = more @ below[:k]
        before = bound
    return min(1.0, reached)


def _doubled_ranks(scores: Floats) -> Integers:
    """Twice the rank of each layer by each scorer, 1 the lowest: whole numbers, so that sums compare exactly."""
    from scipy.stats import rankdata

    return np.asarray(np.rint(2 * rankdata(scores, axis=1)), dtype=np.int64)


def _spread(sums: Integers) -> Integers:
    """L times the sum of squared deviations of rank sums from their mean (..., layers) -> (...)."""
    return np.asarray(sums.shape[-1] * (sums**2).sum(axis=-1) - sums.sum(axis=-1) ** 2)


def _all_rank_sums(doubled: Integers) -> Iterator[Integers]:
    orders = np.array(list(itertools.permutations(range(doubled.shape[1]))))
    sums = doubled[:1]
    for row in doubled[1:]:
        sums = (sums[:, None, :] + row[orders][None, :, :]).reshape(-1, doubled.shape[1])
    yield sums


def _random_rank_sums(doubled: Integers, permutations: int, seed: int) -> Iterator[Integers]:
    rng = np.random.default_rng(seed)
    block = max(1, ENTRIES_AT_ONCE // doubled.size)
    for start in range(0, permutations, block):
        rows = min(block, permutations - start)
        yield rng.permuted(np.broadcast_to(doubled, (rows, *doubled.shape)), axis=2).sum(axis=1)


def _all_orders(layers: int, width: int) -> Iterator[Integers]:
    block = max(1, ENTRIES_AT_ONCE // max(width, 1))
    orders = itertools.permutations(range(layers))
    while rows := list(itertools.islice(orders, block)):
        yield np.array(rows, dtype=np.int64).reshape(len(rows), layers)


def _random_orders(layers: int, permutations: int, seed: int) -> Iterator[Integers]:
    rng = np.random.default_rng(seed)
    block = max(1, ENTRIES_AT_ONCE // (layers * layers))
    for start in range(0, permutations, block):
        rows = min(block, permutations - start)
        yield rng.permuted(np.broadcast_to(np.arange(layers), (rows, layers)), axis=1)
