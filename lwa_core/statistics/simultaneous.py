"""Intervals of many means that hold all together, so that they hold for whichever of them one then looks at.

Whoever takes the best of 924 sets of layers, or sets that somebody chose on the same examples, looks at means that are
flattered. Intervals that are right for all sets at once are right for the chosen one too, however it was chosen
(Scheffé 1953; for the best of many Hsu 1981, Simultaneous confidence intervals for all distances from the "best").
"""

from __future__ import annotations

from math import erfc, sqrt

import numpy as np
from numpy.typing import NDArray

from lwa_core.statistics.estimate import Estimate
from lwa_core.statistics.means import FEWEST, skewed_interval, standard_error

Floats = NDArray[np.float64]

DRAWS = 1000
ENTRIES_AT_ONCE = 2**22


def chosen_estimate(values: Floats, chosen: int, confidence: float = 0.95, seed: int = 0) -> Estimate:
    """One of many means, with an interval that holds although it was chosen on the same examples, however.

    Args:
        values: Of every mean, its values on the examples (means, examples).
        chosen: Which of them.
        confidence: Of the interval.
        seed: Of the multipliers.
    """
    mean = float(values[chosen].mean())
    if values.shape[1] < FEWEST:
        return Estimate(mean)
    low, high = skewed_interval(values[chosen], _confidence_of_each(values, confidence, seed))
    return Estimate.between(mean, float(low), float(high))


def simultaneous_interval(values: Floats, confidence: float = 0.95, seed: int = 0) -> tuple[Floats, Floats] | None:
    """Ends (means,), (means,) of intervals of all means that hold together; None for fewer than `FEWEST` examples.

    Each is Student's, and never inside the interval that its mean has alone (see `means`), which matters where there
    are few means of skewed values. Arguments as for `chosen_estimate`.
    """
    from scipy.special import stdtrit

    if values.shape[1] < FEWEST:
        return None
    each = _confidence_of_each(values, confidence, seed)
    low, high = skewed_interval(values.T, confidence)
    mean, half = values.mean(axis=1), stdtrit(values.shape[1] - 1, 0.5 + each / 2) * standard_error(values.T)
    return np.minimum(low, mean - half), np.maximum(high, mean + half)


def _confidence_of_each(values: Floats, confidence: float, seed: int) -> float:
    """The confidence at which the largest of all deviations, in standard errors, stays within its interval.

    By a Gaussian multiplier bootstrap, which keeps the correlations (Chernozhukov, Chetverikov & Kato 2013, Gaussian
    approximations and multiplier bootstrap for maxima of sums of high-dimensional random vectors).
    """
    largest = np.quantile(_largest_deviations(values, seed), confidence)
    return max(confidence, 1 - erfc(float(largest) / sqrt(2)))


def _largest_deviations(values: Floats, seed: int) -> Floats:
    """Of each draw the largest of the absolute deviations of all means, in standard errors (draws,)."""
    examples = values.shape[1]
    multipliers = np.random.default_rng(seed).standard_normal((examples, DRAWS)) / np.sqrt(examples)
    largest = np.zeros(DRAWS)
    block = max(1, ENTRIES_AT_ONCE // max(examples, DRAWS))
    for start in range(0, len(values), block):
        part = values[start : start + block]
        centred = part - part.mean(axis=1, keepdims=True)
        spread = centred.std(axis=1, keepdims=True)
        standard = np.divide(centred, spread, out=np.zeros_like(centred), where=spread > 0)
        np.maximum(largest, np.abs(standard @ multipliers).max(axis=0), out=largest)
    return largest
