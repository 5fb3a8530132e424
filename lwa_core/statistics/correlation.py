"""Intervals of Spearman's rank correlation with gold values, and of the difference of two.

Each pair moves a correlation by its influence: what it adds to the sums of squares and products of the ranks, and how
it moves the ranks of all others. The interval is that of the mean influence, for one correlation on the scale of
Fisher's z = artanh ρ, which makes its distribution nearly symmetric.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lwa_core.statistics.bootstrap import Comparison
from lwa_core.statistics.estimate import Estimate
from lwa_core.statistics.means import mean_interval

Floats = NDArray[np.float64]


def compare_correlations(a: Floats, gold: Floats, b: Floats | None = None, confidence: float = 0.95) -> Comparison:
    """Spearman's correlation of a with the gold values, less that of b where it is given; None as ratio.

    Args:
        a: Values of one model (pairs,).
        gold: What they should be in the order of (pairs,).
        b: Values of another model on the same pairs.
        confidence: Of the interval.
    """
    rho, influence = influences(a, gold)
    if b is None:
        return Comparison(_correlation(rho, influence, confidence), None)
    other, others = influences(b, gold)
    moved = mean_interval(influence - others, confidence)
    return Comparison(Estimate.between(rho - other, *(rho - other + float(end) for end in moved)), None)


def influences(a: Floats, b: Floats) -> tuple[float, Floats]:
    """Spearman's correlation, ties given their average rank, and how much each pair moves it (pairs,).

    The influences have the mean 0; for many pairs they are those of the jackknife. 0 and no influence where one side is
    constant.
    """
    first, second = _centred_ranks(a), _centred_ranks(b)
    squares = [_moment(a, first, a, first), _moment(b, second, b, second)]
    product = _moment(a, first, b, second)
    scale = np.sqrt(squares[0][0] * squares[1][0])
    if scale == 0:
        return 0.0, np.zeros(len(a))
    rho = float(product[0] / scale)
    relative = sum(moved / (2 * value) for value, moved in squares)
    return rho, np.asarray(product[1] / scale - rho * relative, dtype=np.float64)


def _correlation(rho: float, influence: Floats, confidence: float) -> Estimate:
    if not abs(rho) < 1:
        return Estimate(rho)  # on the scale of z it is infinite
    low, high = (np.tanh(np.arctanh(rho) + end) for end in mean_interval(influence / (1 - rho**2), confidence))
    return Estimate.between(rho, float(low), float(high))


def _centred_ranks(values: Floats) -> Floats:
    """Shares of the pairs below each, less their mean."""
    from scipy.stats import rankdata

    return np.asarray((rankdata(values) - (len(values) + 1) / 2) / len(values), dtype=np.float64)


def _moment(a: Floats, first: Floats, b: Floats, second: Floats) -> tuple[float, Floats]:
    """Mean product of two centred ranks, and what each pair moves it by, its effect on the others' ranks included."""
    value = float((first * second).mean())
    moved = first * second + _above(a, second) + _above(b, first)
    return value, np.asarray(moved - moved.mean(), dtype=np.float64)


def _above(values: Floats, weights: Floats) -> Floats:
    """For each value the mean of the weights of those above it, half for equals: whose ranks it raises."""
    order = np.argsort(values, kind="stable")
    ordered = values[order]
    before = np.concatenate([[0.0], np.cumsum(weights[order])])
    left, right = np.searchsorted(ordered, values, "left"), np.searchsorted(ordered, values, "right")
    return np.asarray((before[-1] - (before[left] + before[right]) / 2) / len(values), dtype=np.float64)
