"""How sure the scores of layers are, from the samples that they average over.

A table is (samples, layers); its rows are independent draws of one kind (calibration examples, permutation pairs). What
is asked is how far other draws could change the means and, above all, the order of the layers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from lwa_core.statistics.agreement import spearman_rows
from lwa_core.statistics.means import FEWEST, skewed_interval

Floats = NDArray[np.float64]

RESAMPLES = 1000
SPLITS = 100
SMALLEST = 8
"""Samples at which the stability curve begins."""

WEIGHTS_AT_ONCE = 2**22


def bootstrap_weights(rows: int, resamples: int, seed: int) -> Iterator[Floats]:
    """How often each row is in each resample, in blocks (resamples of the block, rows); each line sums to `rows`.

    The resamples depend on `rows` and `seed` alone, whatever is measured with them.
    """
    rng = np.random.default_rng(seed)
    block = max(1, WEIGHTS_AT_ONCE // max(rows, 1))
    for start in range(0, resamples, block):
        lines = min(block, resamples - start)
        drawn = rng.integers(0, rows, size=(lines, rows)) + rows * np.arange(lines)[:, None]
        yield np.bincount(drawn.ravel(), minlength=lines * rows).reshape(lines, rows).astype(np.float64)


def bottom_probability(table: Floats, k: int, resamples: int = RESAMPLES, seed: int = 0) -> Floats | None:
    """How probable it is for each layer to be among the k lowest, by bootstrap over the rows (layers,).

    The share of resamples in which it is; of equal means the earlier layer is the lower. The probabilities add up to k.
    Layers that are really equal get values that depend on the rows: the bootstrap tells clear orders from open ones,
    and does not share out ties (Hall & Miller 2009, Using the bootstrap to quantify the authority of an empirical
    ranking). None for one row.
    """
    rows, layers = table.shape
    if rows < 2:
        return None
    found = np.zeros(layers)
    for weights in bootstrap_weights(rows, resamples, seed):
        lowest = np.argsort(weights @ table, axis=1, kind="stable")[:, :k]
        found += np.bincount(lowest.ravel(), minlength=layers)
    return found / resamples


def stability_at(table: Floats, sizes: Sequence[int], splits: int = SPLITS, seed: int = 0) -> list[float]:
    """Mean Spearman correlation of the means of two disjoint random sets of n rows, for each n of `sizes`.

    Disjoint sets of independent rows are two independent draws: what is estimated is how well the order that n rows
    give is found again by n others. Every n must be at most half the rows.
    """
    rng = np.random.default_rng(seed)
    first, second = (np.empty((len(sizes), splits, table.shape[1])) for _ in range(2))
    for split in range(splits):
        order = rng.permutation(len(table))
        for place, size in enumerate(sizes):
            first[place, split] = table[order[:size]].mean(axis=0)
            second[place, split] = table[order[size : 2 * size]].mean(axis=0)
    return [float(value) for value in spearman_rows(first, second).mean(axis=1)]


def stability_curve(table: Floats, splits: int = SPLITS, seed: int = 0) -> list[tuple[int, float]]:
    """`stability_at` for n = 8, 16, 32 … up to half the rows; empty for fewer than 16 rows or two layers."""
    if table.shape[1] < 2:
        return []
    sizes = [n for n in (SMALLEST << i for i in range(64)) if n <= len(table) // 2]
    return list(zip(sizes, stability_at(table, sizes, splits, seed), strict=True)) if sizes else []


def settled(table: Floats, keep: int, looks: int = 1, confidence: float = 0.95) -> bool:
    """Whether the `keep` layers with the highest means are, at this confidence, those with the highest true means.

    They are when for every kept layer i and every dropped layer j the lower one-sided bound of the mean paired
    difference i − j is above 0, at the level (1 − confidence) / (pairs · looks). A wrong set holds some layer i
    that does not belong to the true set, and lacks some j that does. There are keep · (L − keep) such pairs (i, j)
    whatever the rows say, so this Bonferroni level bounds the chance of calling a wrong set settled at any of the
    `looks` by 1 − confidence, although kept and dropped layers were told apart with the same rows (Dunn 1961, Multiple
    comparisons among means; for looks planned beforehand, Jennison & Turnbull 2000, Group sequential methods). It errs
    on the careful side where there are many pairs. The bounds are corrected for skewness (see `means`); fewer than
    `means.FEWEST` rows settle nothing. Layers with equal true means settle by that chance only.

    Args:
        table: The rows so far (samples, layers).
        keep: How many layers stay.
        looks: How often this question is asked altogether.
        confidence: That the set is the right one, over all looks together.
    """
    rows, layers = table.shape
    pairs = keep * (layers - keep)
    if pairs == 0:
        return True
    if rows < FEWEST:
        return False
    each = 1 - 2 * (1 - confidence) / (pairs * looks)  # two-sided, of which the lower end is taken
    order = np.argsort(table.mean(axis=0), kind="stable")
    dropped, kept = order[: layers - keep], order[layers - keep :]
    return all(bool(np.all(skewed_interval(table[:, [layer]] - table[:, dropped], each)[0] > 0)) for layer in kept)


def until_settled(
    draw: Callable[[int], Floats], keep: int, start: int, most: int, confidence: float = 0.95
) -> tuple[Floats, bool]:
    """Double the number of rows until the `keep` highest layers are settled, or there are `most`.

    How often is looked is known beforehand (once at start, 2·start, 4·start … and at `most`), which `settled` needs.
    A look at too few rows to tell anything counts as one.
    Scores of a table that stopped early lean towards what made it stop: their intervals are not corrected for it.

    Args:
        draw: Gives the first n rows of the table (n, layers): the same rows again, and more, for a larger n.
        keep: How many layers stay.
        start: Rows at the first look, at least 2.
        most: Rows at the last.
        confidence: That a set called settled is the right one.

    Returns:
        The table of the last look, and whether it settled.
    """
    if start < 2:
        raise ValueError(f"the first look needs at least 2 rows, not {start}")
    sizes = look_sizes(start, most)
    table = draw(sizes[0])
    for size in sizes[1:]:
        if settled(table, keep, len(sizes), confidence):
            return table, True
        table = draw(size)
    return table, settled(table, keep, len(sizes), confidence)


def look_sizes(start: int, most: int) -> list[int]:
    """start, 2·start, 4·start … and `most` as the last."""
    sizes = [most]
    while start < most:
        sizes.insert(-1, start)
        start *= 2
    return sizes
