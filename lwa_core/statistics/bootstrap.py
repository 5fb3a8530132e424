"""Intervals of metrics between 0 and 1, over users: a Bayesian bootstrap with one user more.

The unit is the user and the models are fixed: an interval says how far another sample of users could move a figure,
not how far another training seed could. All figures of a run share the same weights, so that differences are paired.

A percentile bootstrap knows only the users that it has: where nobody of 50 has a hit, it is [0, 0]. Here n users and
one whom nobody saw get random weights that add up to 1, all such weights being as likely (Dirichlet; Rubin 1981, The
Bayesian bootstrap). For the upper end the unseen user has the best value that there is, for the lower end the worst;
the ends are the quantiles of these two weighted means (Gaffke 2005; Learned-Miller & Thomas 2020, A new confidence
interval for the mean of a bounded random variable). For hits and misses that is the exact interval of Clopper &
Pearson 1934, for any sample size; it is conjectured, and nowhere found wrong, to hold at least as often as it says for
every distribution on a bounded range. So it is honest for two users too: wide.

A difference a − b lies between −1 and 1. A ratio mean(a) / mean(b) is below r where mean(a − r b) is below 0, so that
its ends follow from the same weights (Fieller's argument): the unseen user is a hit of a alone, or of b alone.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping
from typing import TypeVar

import attrs
import numpy as np
from numpy.typing import NDArray

from lwa_core.statistics.estimate import Estimate

Floats = NDArray[np.float64]
Key = TypeVar("Key", bound=Hashable)

WEIGHTS_AT_ONCE = 2**22


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
        values: Arrays (users,) of numbers from 0 to 1, all of one length. NaN: the metric is not defined for that user,
            who is left out.
        resamples: How many random weightings.
        confidence: Of the interval.
        seed: Of the weights, which depend on it and the number of users alone.

    Returns:
        The estimates; a metric that no user has is left out.

    Raises:
        ValueError: The arrays differ in length, or hold numbers outside 0 to 1.
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
    None where mean(b) is 0. Where b is None it counts as 0. Arguments as for `intervals`.
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
    own = table.sum(axis=0)
    blocks = list(_weights(columns.users, resamples, seed))
    sums = np.concatenate([weights @ table for weights, _ in blocks])  # (resamples, columns)
    unseen = np.concatenate([extra for _, extra in blocks])  # (resamples,)
    return {key: _comparison(own, sums, unseen, place, confidence) for key, place in places.items()}


def _weights(users: int, resamples: int, seed: int) -> Iterator[tuple[Floats, Floats]]:
    """Weights of the users and of the unseen one, in blocks (weightings, users), (weightings,).

    They are exponential numbers; what they are used for divides by their sum, which makes them Dirichlet.
    """
    rng = np.random.default_rng(seed)
    block = max(1, WEIGHTS_AT_ONCE // (users + 1))
    for start in range(0, resamples, block):
        drawn = rng.standard_exponential((min(block, resamples - start), users + 1))
        yield drawn[:, :users], drawn[:, users]


class _Columns:
    """The columns of one table (users, columns), each kept once."""

    def __init__(self, users: int) -> None:
        self.users = users
        self.columns: list[Floats] = []
        self.places: dict[bytes, int] = {}

    def add(self, column: Floats) -> int:
        if len(column) != self.users:
            raise ValueError(f"{len(column)} values for {self.users} users")
        if column.min() < 0 or column.max() > 1:
            raise ValueError(f"a metric between 0 and 1 cannot be {column.min():g} or {column.max():g}")
        column = np.ascontiguousarray(column, dtype=np.float64)
        place = self.places.setdefault(column.tobytes(), len(self.columns))
        if place == len(self.columns):
            self.columns.append(column)
        return place

    def table(self) -> Floats:
        return np.stack(self.columns, axis=1) if self.columns else np.zeros((self.users, 0))


def _comparison(
    own: Floats, sums: Floats, unseen: Floats, place: tuple[int, int | None, int], confidence: float
) -> Comparison:
    """From the sums of a, b and the number of users, in the sample (`own`) and weighted (`sums`)."""
    first, second, users = place
    a, count = sums[:, first], sums[:, users] + unseen
    mean = float(own[first] / own[users])
    if second is None:
        return Comparison(_estimate(mean, a / count, (a + unseen) / count, confidence), None)
    b = sums[:, second]
    difference = _estimate(
        mean - float(own[second] / own[users]), (a - b - unseen) / count, (a - b + unseen) / count, confidence
    )
    if own[second] == 0:
        return Comparison(difference, None)
    ratio = _estimate(float(own[first] / own[second]), a / (b + unseen), (a + unseen) / b, confidence)
    return Comparison(difference, ratio)


def _estimate(mean: float, lower: Floats, upper: Floats, confidence: float) -> Estimate:
    """Ends as quantiles k / (resamples + 1): at least as far out as so many draws allow."""
    tail = 0.5 - confidence / 2
    low = np.quantile(lower, tail, method="weibull")
    return Estimate(mean, float(low), float(np.quantile(upper, 1 - tail, method="weibull")))
