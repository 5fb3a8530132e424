"""How far a choice of layers is from the best one, where every subset was measured.

A table is (2^depth, examples): the utility (higher is better, any unit) of every example under every subset of the
layers, its rows numbered as in `lwa_core.statistics.subsets`. The examples are independent draws.

The best of many subsets on some examples looks better on these examples than it is, and the more so the more subsets
there are (the winner's curse). The **oracle** of a size is therefore cross-fitted: it is chosen on one half of the
examples and scored on the other, then the other way round, and both are averaged (Chernozhukov et al. 2018,
Double/debiased machine learning, section 3; Andrews, Kitagawa & McCloskey 2024, Inference on winners). Its value has
the expectation of the true value of a set that half of the examples choose: it does not flatter, and where half of them
choose worse than all would, it stays below the true optimum.

The **regret** of a set is how much more the best set of its size is worth, which is never below 0. Its estimate is the
oracle's mean less the set's own, and 0 where that is below 0: a set that was itself chosen on these examples is
flattered, and may look better than an oracle that is not. Its interval allows for that choice, and for the oracle's: it
is made of intervals of the differences of all sets to this one that hold together, from the largest of their lower ends
(at least 0) to the largest of their upper ends (multiple comparisons with the best, Hsu 1981).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TypeAlias

import attrs
import numpy as np
from numpy.typing import NDArray

from lwa_core.statistics.estimate import Estimate
from lwa_core.statistics.means import mean_estimate
from lwa_core.statistics.simultaneous import simultaneous_interval
from lwa_core.statistics.subsets import Kept, kept_of, row_of, rows_of_size

Floats: TypeAlias = NDArray[np.float64]

SPLITS = 20
"""Random splits into halves that are averaged, so that the figures hang little on one of them."""


@attrs.frozen(kw_only=True)
class Regret(Estimate):
    """How much more the best sets of their sizes are worth than the sets that were chosen, at least 0.

    Args:
        mean: The cross-fitted estimate.
        low: Lower end of the interval, at least 0; None, as `high`, where there are too few examples for one.
        high: Upper end.
        oracle: Cross-fitted mean utility of the oracle, averaged over the sizes of the sets.
        value: Mean utility of the sets, flattered where they were chosen on the same examples.
        choices: How often each subset was the oracle's choice, as a share of all halves; by size, then by share.
    """

    oracle: float
    value: float
    choices: Mapping[Kept, float]


def best_of_size(table: Floats, depth: int, size: int) -> Kept:
    """The subset of `size` layers with the highest mean utility over all examples; of equals the one of later layers.

    Its mean on these examples is flattered (see above).
    """
    _check(table, depth)
    rows = rows_of_size(depth, size)[::-1]
    return kept_of(int(rows[int(table[rows].mean(axis=1).argmax())]))


def oracle_values(
    table: Floats, depth: int, size: int, *, splits: int = SPLITS, seed: int = 0
) -> tuple[Floats, dict[Kept, float]]:
    """Utility of every example under the subset of `size` layers that the other half of the examples chose.

    Returns:
        The values (examples,), averaged over `splits` random splits, and how often each subset was chosen, as a share
        of all halves, the most frequent first. The splits depend on the number of examples and on `seed` alone, so that
        oracles of several sizes and tables are paired.
    """
    _check(table, depth)
    rows = rows_of_size(depth, size)[::-1]
    candidates = table[rows]
    halves = _halves(table.shape[1], splits, seed)  # (splits, examples)
    sums = candidates @ np.concatenate([halves, ~halves]).T.astype(np.float64)  # (subsets, 2 · splits)
    chosen = sums.argmax(axis=0)
    first, second = chosen[:splits], chosen[splits:]
    scored = np.where(halves, candidates[second], candidates[first])  # each half by the choice of the other
    values = scored[0] + (scored - scored[0]).mean(axis=0)  # exact where all splits choose the same
    counts = Counter(kept_of(int(row)) for row in rows[chosen])
    return values, {kept: count / (2 * splits) for kept, count in counts.most_common()}


def regret(
    table: Floats, depth: int, kept: Sequence[int], *, splits: int = SPLITS, confidence: float = 0.95, seed: int = 0
) -> Regret:
    """How far one set of layers falls short of the best one of its size, whether or not these examples chose it.

    Args:
        table: Utilities (2^depth, examples), at least two examples.
        depth: Number of layers.
        kept: The layers of the set.
        splits: How many random splits into halves are averaged.
        confidence: Of the interval.
        seed: Of the splits.
    """
    return mean_regret(table, depth, [kept], splits=splits, confidence=confidence, seed=seed)


def mean_regret(
    table: Floats,
    depth: int,
    sets: Sequence[Sequence[int]],
    *,
    splits: int = SPLITS,
    confidence: float = 0.95,
    seed: int = 0,
) -> Regret:
    """The regret averaged over sets of several sizes, each against the best of its own size.

    The interval is from the mean of the lower to the mean of the upper ends, all of which hold together. Arguments as
    for `regret`.
    """
    _check(table, depth)
    oracles = [oracle_values(table, depth, len(set(kept)), splits=splits, seed=seed) for kept in sets]
    best = float(np.mean([values.mean() for values, _ in oracles]))
    own = float(np.mean([table[row_of(kept)].mean() for kept in sets]))
    low, high = _regret_ends(table, depth, sets, confidence, seed)
    lost = max(0.0, best - own) if low is None or high is None else min(max(low, best - own), high)
    choices = {kept: share for _, chosen in oracles for kept, share in chosen.items()}
    return Regret(mean=lost, low=low, high=high, oracle=best, value=own, choices=choices)


def _regret_ends(
    table: Floats, depth: int, sets: Sequence[Sequence[int]], confidence: float, seed: int
) -> tuple[float, float] | tuple[None, None]:
    """Both ends of the interval of the mean regret; None for too few examples."""
    others = [rows_of_size(depth, len(set(kept))) for kept in sets]  # the set itself among them, with the difference 0
    apart = np.concatenate([table[rows] - table[row_of(kept)] for rows, kept in zip(others, sets, strict=True)])
    ends = simultaneous_interval(apart, confidence, seed)
    if ends is None:
        return None, None
    starts = np.cumsum([0, *map(len, others[:-1])])
    low, high = (float(np.maximum.reduceat(end, starts).mean()) for end in ends)
    return low, high


def random_expectation(table: Floats, depth: int, size: int) -> Floats:
    """Expected utility of every example under a random subset of `size` layers, all as likely (examples,).

    Exact: the mean over all of them.
    """
    _check(table, depth)
    return np.asarray(table[rows_of_size(depth, size)].mean(axis=0), dtype=np.float64)


def gain_over_random(table: Floats, depth: int, sets: Sequence[Sequence[int]], *, confidence: float = 0.95) -> Estimate:
    """Mean utility of sets less that of random subsets of their sizes, averaged over the sets.

    An interval above 0: better than chance. It is that of sets which were not chosen on these examples.

    Args:
        table: Utilities (2^depth, examples).
        depth: Number of layers.
        sets: One set, or sets of several sizes.
        confidence: Of the interval.
    """
    own = np.mean([table[row_of(kept)] for kept in sets], axis=0)
    chance = np.mean([random_expectation(table, depth, len(set(kept))) for kept in sets], axis=0)
    return mean_estimate(own - chance, confidence)


def _halves(examples: int, splits: int, seed: int) -> NDArray[np.bool_]:
    """Which examples are in the first half, in each split (splits, examples)."""
    first = np.arange(examples) < examples // 2
    return np.random.default_rng(seed).permuted(np.broadcast_to(first, (splits, examples)), axis=1)


def _check(table: Floats, depth: int) -> None:
    if table.ndim != 2 or table.shape[0] != 2**depth:
        raise ValueError(f"a table of {depth} layers is (2^{depth}, examples), not {table.shape}")
    if table.shape[1] < 2:
        raise ValueError("halves need at least two examples")
