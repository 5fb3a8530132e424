"""Confidence intervals over users: the paired percentile bootstrap.

The unit is the user and the models are fixed: an interval says how far another sample of users could move a figure,
not how far another training seed could. Every figure of a run comes from the same resamples, so that differences are
paired. Efron & Tibshirani 1993, An introduction to the bootstrap, chapter 13.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import TypeVar

import attrs
import numpy as np
from numpy.typing import NDArray

from lwa_core.statistics.agreement import spearman
from lwa_core.statistics.estimate import Estimate
from lwa_core.statistics.stability import bootstrap_weights

Floats = NDArray[np.float64]
Key = TypeVar("Key", bound=Hashable)


@attrs.frozen
class Comparison:
    """Two models on the same users: mean(a - b), and mean(a) / mean(b) where that is defined."""

    difference: Estimate
    ratio: Estimate | None


def intervals(
    values: Mapping[Key, Floats], *, resamples: int = 2000, confidence: float = 0.95, seed: int = 0
) -> dict[Key, Estimate]:
    """Mean over the users and its interval, for many metrics of the same users at once.

    Args:
        values: Arrays (users,), all of one length. NaN: the metric is not defined for that user, who is left out.
        resamples: How many.
        confidence: Of the interval.
        seed: Of the resamples.

    Returns:
        The estimates; a metric that no user has is left out.
    """
    alone: dict[Key, tuple[Floats, Floats | None]] = {key: (array, None) for key, array in values.items()}
    compared = compare(alone, resamples=resamples, confidence=confidence, seed=seed)
    return {key: comparison.difference for key, comparison in compared.items()}


def compare(
    pairs: Mapping[Key, tuple[Floats, Floats | None]],
    *,
    resamples: int = 2000,
    confidence: float = 0.95,
    seed: int = 0,
) -> dict[Key, Comparison]:
    """mean(a - b) and mean(a) / mean(b) over the users with intervals, for many pairs (a, b) at once.

    Users for whom either side is NaN are left out of a pair, and pairs without any user out of the result. A ratio is
    None where mean(b) is 0, in the sample or in any resample. Where b is None it counts as 0.
    """
    if not pairs:
        return {}
    columns = _Columns(len(next(iter(pairs.values()))[0]))
    places = {}
    for key, (a, b) in pairs.items():
        defined = ~np.isnan(a) if b is None else ~(np.isnan(a) | np.isnan(b))
        if defined.any():
            second = None if b is None else columns.add(np.where(defined, b, 0.0))
            places[key] = columns.add(np.where(defined, a, 0.0)), second, columns.add(defined.astype(np.float64))
    table = columns.table()
    sums = np.concatenate(
        [table.sum(axis=0, keepdims=True)]
        + [weights @ table for weights in bootstrap_weights(columns.users, resamples, seed)]
    )  # (1 + resamples, columns): the sample itself, then the resamples
    return {key: _comparison(sums, place, confidence) for key, place in places.items()}


class _Columns:
    """The columns of one table (users, columns), each kept once."""

    def __init__(self, users: int) -> None:
        self.users = users
        self.columns: list[Floats] = []
        self.places: dict[bytes, int] = {}

    def add(self, column: Floats) -> int:
        if len(column) != self.users:
            raise ValueError(f"{len(column)} values for {self.users} users")
        column = np.ascontiguousarray(column, dtype=np.float64)
        place = self.places.setdefault(column.tobytes(), len(self.columns))
        if place == len(self.columns):
            self.columns.append(column)
        return place

    def table(self) -> Floats:
        return np.stack(self.columns, axis=1) if self.columns else np.zeros((self.users, 0))


def _comparison(sums: Floats, place: tuple[int, int | None, int], confidence: float) -> Comparison:
    """From the sums of a, b and the number of users, in the sample (row 0) and in every resample."""
    first, second, users = place
    count = sums[:, users]
    usable = count > 0  # a resample may hold none of the few users who have the metric
    a = sums[usable, first] / count[usable]
    if second is None:
        return Comparison(_percentile(a, confidence), None)
    b = sums[usable, second] / count[usable]
    ratio = _percentile(a / b, confidence) if np.all(b != 0) else None
    return Comparison(_percentile(a - b, confidence), ratio)


def _percentile(values: Floats, confidence: float) -> Estimate:
    """The first value is the sample's own; the interval is between percentiles of the others."""
    low, high = np.quantile(values[1:], [0.5 - confidence / 2, 0.5 + confidence / 2])
    return Estimate(float(values[0]), float(low), float(high))


def compare_exponentials(
    pairs: Mapping[Key, tuple[tuple[Floats, Floats], tuple[Floats, Floats] | None]],
    *,
    resamples: int = 2000,
    confidence: float = 0.95,
    seed: int = 0,
) -> dict[Key, Comparison]:
    """exp(Σ / Σ), such as a perplexity exp(Σ nll / Σ tokens), of a and of b: their difference and ratio.

    The unit that is drawn is the text, with all its tokens. Where b is None the difference is a itself.

    Args:
        pairs: (numerators, denominators) of a and of b, each (texts,).
        resamples: How many.
        confidence: Of the interval.
        seed: Of the resamples, which depend on it and the number of texts alone.
    """
    found: dict[Key, Comparison] = {}
    for key, (a, b) in pairs.items():
        table = np.stack([*a, *(b or a)], axis=1).astype(np.float64)
        blocks = bootstrap_weights(len(table), resamples, seed)
        sums = np.concatenate([table.sum(axis=0, keepdims=True), *(weights @ table for weights in blocks)])
        sums = sums[(sums[:, 1] > 0) & (sums[:, 3] > 0)]
        first = np.exp(sums[:, 0] / sums[:, 1])
        if b is None:
            found[key] = Comparison(_percentile(first, confidence), None)
            continue
        second = np.exp(sums[:, 2] / sums[:, 3])
        found[key] = Comparison(_percentile(first - second, confidence), _percentile(first / second, confidence))
    return found


def compare_correlations(
    pairs: Mapping[Key, tuple[Floats, Floats | None, Floats]],
    *,
    resamples: int = 2000,
    confidence: float = 0.95,
    seed: int = 0,
) -> dict[Key, Comparison]:
    """Spearman's correlation of a and of b with the same gold values: their difference; None as ratio.

    Args:
        pairs: Values of a, values of b or None, gold values, each (pairs,).
        resamples: How many; the pairs are drawn anew, and ranked anew each time.
        confidence: Of the interval.
        seed: Of the resamples.
    """
    found: dict[Key, Comparison] = {}
    for key, (a, b, gold) in pairs.items():
        rng = np.random.default_rng(seed)
        values = []
        for draw in range(1 + resamples):
            rows = np.arange(len(gold)) if draw == 0 else rng.integers(0, len(gold), len(gold))
            own = spearman(a[rows], gold[rows])
            values.append(own if b is None else own - spearman(b[rows], gold[rows]))
        found[key] = Comparison(_percentile(np.array(values), confidence), None)
    return found
