"""Intervals of means of numbers of which no bounds are known: losses, scores of layers, differences of them.

Student's interval rests on symmetry. Losses and gradients are skewed, and of 64 log-normal values it holds the true
mean in 71 to 91 of 100 cases instead of 95. The interval here is Student's of the statistic that Hall 1992 (On the
removal of skewness by transformation, equation 2.6) makes symmetric, and is never inside Student's own. Two things are
on the careful side, both because a sample shows too little of a long tail: its skewness is taken `CARE` times, and the
degrees of freedom are those of a variance of values with as heavy tails as the sample has (Satterthwaite), at most
n − 1.

No interval is given for fewer than `FEWEST` values, nor where fewer than `DISTINCT` differ from the most frequent one:
what the sample does not show, no formula can make up for. The simulations behind this are in `benchmarks/coverage`.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lwa_core.statistics.estimate import Estimate

Floats = NDArray[np.float64]

FEWEST = 64
"""Values below which there is no interval."""

DISTINCT = 30
"""Values that differ from the most frequent one, below which there is no interval."""

CARE = 1.5
"""How many times the skewness of the sample is taken for that of what it was drawn from."""


def mean_estimate(values: Floats, confidence: float = 0.95) -> Estimate:
    """The mean of independent values (n,), at least one, with its interval where there is one."""
    low, high = mean_interval(values, confidence)
    return Estimate.between(float(values.mean()), float(low), float(high))


def mean_interval(values: Floats, confidence: float = 0.95) -> tuple[Floats, Floats]:
    """Both ends of the interval of the mean along the first axis (n, ...) -> (...); NaN where there is none."""
    low, high = skewed_interval(values, confidence)
    known = (len(values) >= FEWEST) & (_distinct(values) >= DISTINCT)
    return np.where(known, low, np.nan), np.where(known, high, np.nan)


def standard_error(values: Floats) -> Floats:
    """Sd / √n of the mean along the first axis (n, ...) -> (...), for at least two values."""
    return np.asarray(values.std(axis=0, ddof=1) / np.sqrt(len(values)), dtype=np.float64)


def skewed_interval(values: Floats, confidence: float) -> tuple[Floats, Floats]:
    """The interval however few values there are, NaN for fewer than three; of width 0 where all are equal."""
    from scipy.special import stdtrit

    count, mean = len(values), np.asarray(values.mean(axis=0), dtype=np.float64)
    if count < 3:
        return np.full_like(mean, np.nan), np.full_like(mean, np.nan)
    error = standard_error(values)
    scale = np.where(error > 0, error, 1.0) * np.sqrt(count)
    deviations = (values - mean) / scale
    squares = (deviations**2).mean(axis=0)
    squares = np.where(squares > 0, squares, 1.0)
    skewness = (deviations**3).mean(axis=0) / squares**1.5 * np.sqrt(count * (count - 1)) / (count - 2)
    kurtosis = (deviations**4).mean(axis=0) / squares**2
    freedom = np.clip(2 * count / np.maximum(kurtosis - 1, 1e-9), 1, count - 1)
    half = stdtrit(freedom, 0.5 + confidence / 2)
    bend = CARE * skewness / (3 * np.sqrt(count))
    low = np.minimum(mean - error * half, mean - error * _unbent(half, bend))
    high = np.maximum(mean + error * half, mean - error * _unbent(-half, bend))
    return low, high


def _unbent(symmetric: Floats, bend: Floats) -> Floats:
    """The t for which t + a t² + a² t³ / 3 + a / 2 is `symmetric`, with a = `bend` (Hall's g, inverted)."""
    a = np.where(np.abs(bend) < 1e-9, 1e-9, bend)
    return np.asarray((np.cbrt(1 + 3 * a * (symmetric - a / 2)) - 1) / a, dtype=np.float64)


def _distinct(values: Floats) -> NDArray[np.int64]:
    """How many values differ from the median, which is the most frequent value wherever more than half are equal."""
    return np.asarray((values != np.median(values, axis=0)).sum(axis=0), dtype=np.int64)
