"""Intervals of perplexities, and of losses, over texts.

The unit is the text, with all its tokens. A perplexity exp(Σ nll / Σ tokens) is a function of two means, and so are the
ratio of two: each text moves its logarithm by its influence (the derivative in the direction of that text; Hampel 1974,
The influence curve and its role in robust estimation), and the interval is that of the mean influence.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lwa_core.statistics.bootstrap import Comparison
from lwa_core.statistics.estimate import Estimate
from lwa_core.statistics.means import mean_estimate, mean_interval

Floats = NDArray[np.float64]
Sums = tuple[Floats, Floats]
"""Of each text: negative log-likelihoods, and over how many tokens."""


def compare_means(a: Floats, b: Floats | None = None, confidence: float = 0.95) -> Comparison:
    """mean(a - b) and, where mean(b) is above 0, mean(a) / mean(b) of values of the same texts that are at least 0.

    Where b is None it counts as 0. The ratio is None as well where no interval of its logarithm can be given because
    mean(a) is 0.
    """
    if b is None:
        return Comparison(mean_estimate(a, confidence), None)
    difference = mean_estimate(a - b, confidence)
    if not (a.mean() > 0 and b.mean() > 0):
        return Comparison(difference, None)
    return Comparison(difference, _ratio(a.mean() / b.mean(), a / a.mean() - b / b.mean(), confidence))


def compare_perplexities(a: Sums, b: Sums | None = None, confidence: float = 0.95) -> Comparison:
    """The difference and the ratio of two perplexities on the same texts; where b is None, that of a alone."""
    rate, influence = _rate(a)
    first = _exponential(rate, influence, confidence)
    if b is None:
        return Comparison(first, None)
    other, others = _rate(b)
    second = _exponential(other, others, confidence)
    ratio = _exponential(rate - other, influence - others, confidence)
    return Comparison(_difference(first, second, influence, others), ratio)


def _difference(a: Estimate, b: Estimate, influence: Floats, others: Floats) -> Estimate:
    """The difference a - b from the intervals of both, which are lopsided, and the correlation of what moves them.

    Zou & Donner 2008, Construction of confidence limits about effect measures: a general approach (with covariance).
    """
    apart = a.mean - b.mean
    if a.low is None or a.high is None or b.low is None or b.high is None:
        return Estimate(apart)
    rho = float(np.corrcoef(influence, others)[0, 1])

    def half(own: float, other: float) -> float:
        return float(np.sqrt(own**2 + other**2 - 2 * rho * own * other))

    low = apart - half(a.mean - a.low, b.high - b.mean)
    return Estimate.between(apart, low, apart + half(a.high - a.mean, b.mean - b.low))


def _rate(sums: Sums) -> tuple[float, Floats]:
    """Σ nll / Σ tokens, and how much each text moves it (texts,)."""
    losses, tokens = (np.asarray(each, dtype=np.float64) for each in sums)
    rate = float(losses.sum() / tokens.sum())
    return rate, np.asarray((losses - rate * tokens) / tokens.mean(), dtype=np.float64)


def _ratio(value: float, influence: Floats, confidence: float) -> Estimate:
    """A ratio from the influence of each text on its logarithm."""
    return _exponential(float(np.log(value)), influence, confidence)


def _exponential(logarithm: float, influence: Floats, confidence: float) -> Estimate:
    with np.errstate(over="ignore"):
        low, high = (float(np.exp(logarithm + float(end))) for end in mean_interval(influence, confidence))
        return Estimate.between(float(np.exp(logarithm)), low, high)
