"""What several seeds and many users say together: of one method, of two, of the best of many.

A figure of a method has two sources of chance: which seed it was trained with, and which users it was measured on. The
same users are asked of every seed, so that both are crossed, x_su = μ + a_s + b_u + e_su, and the mean of `seeds` ×
`users` figures has the variance σ_a²/S + σ_b²/U + σ_e²/(S U). The means of the seeds show the first and the last part,
those of the users the second one (less the last, which they hold as well). Half the width of the interval is
√(t_S² V_S + t_U² V_U), with Student's quantiles of either's degrees of freedom: by Banerjee 1960 it holds the mean at
least as often as it says, where one quantile with the degrees of freedom of Satterthwaite does not (in simulations 7 to
9 false alarms in 100 instead of 5, for two to five seeds). Resampling seeds and users (the pigeonhole bootstrap, Owen
2007) agrees where there are many seeds, and is too narrow where there are few: of three seeds, a resample holds two
distinct ones or fewer in seven of nine cases. The simulations behind this are in the tests.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import attrs
import numpy as np
from numpy.typing import NDArray

from lwa_core.statistics.estimate import Estimate

Floats = NDArray[np.float64]


@attrs.frozen(kw_only=True)
class SeedsEstimate(Estimate):
    """A mean over seeds and users.

    Args:
        error: Its standard error; None of one figure alone.
        parts: The variances that make it up, of seeds and of users, each with its degrees of freedom.
        seeds: How many there are; of one, the interval is over users alone.
        by_seed: Standard deviation of the means of the seeds; None of one.
    """

    error: float | None
    parts: tuple[tuple[float, int], ...]
    seeds: int
    by_seed: float | None


def seeds_estimate(table: Floats, confidence: float = 0.95) -> SeedsEstimate:
    """The mean of figures (seeds, users) with its interval over both; users may be one, a mean alone."""
    seeds = len(table)
    mean = float(table.mean())
    by_seed = float(table.mean(axis=1).std(ddof=1)) if seeds > 1 else None
    parts = _parts(table)
    half = _half(parts, confidence)
    return SeedsEstimate(
        mean=mean,
        low=None if half is None else mean - half,
        high=None if half is None else mean + half,
        error=float(np.sqrt(sum(part for part, _ in parts))) if parts else None,
        parts=tuple(parts),
        seeds=seeds,
        by_seed=by_seed,
    )


def _parts(table: Floats) -> list[tuple[float, int]]:
    """The variances of the mean that seeds and users bring, each with its degrees of freedom."""
    seeds, users = table.shape
    parts: list[tuple[float, int]] = []
    if seeds > 1:
        parts.append((float(table.mean(axis=1).var(ddof=1)) / seeds, seeds - 1))
    if users > 1:
        own = float(table.mean(axis=0).var(ddof=1)) / users
        parts.append((max(0.0, own - _rest(table) / (seeds * users)) if seeds > 1 else own, users - 1))
    return parts


def _rest(table: Floats) -> float:
    """σ_e², what neither seed nor user says, of at least two of both."""
    rest = table - table.mean(axis=0) - table.mean(axis=1)[:, None] + table.mean()
    freedom = (table.shape[0] - 1) * (table.shape[1] - 1)
    return float((rest**2).sum() / freedom)


def _half(parts: Sequence[tuple[float, int]], confidence: float) -> float | None:
    """Half the width of an interval; None where nothing shows chance."""
    if not parts:
        return None
    return float(np.sqrt(sum(_quantile(0.5 + confidence / 2, freedom) ** 2 * part for part, freedom in parts)))


def p_value(estimate: SeedsEstimate) -> float:
    """Two-sided, of the hypothesis that the mean is 0; 1 where there is no error to hold it against."""
    from scipy.optimize import brentq

    if not estimate.error:
        return 1.0 if estimate.error is None or estimate.mean == 0 else 0.0

    def beyond(level: float) -> float:
        return abs(estimate.mean) - (_half(estimate.parts, 1 - level) or 0.0)

    smallest = 1e-12
    if beyond(smallest) > 0:
        return smallest
    return float(brentq(beyond, smallest, 1.0)) if beyond(1.0) > 0 else 1.0


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjusted for how many there are (Holm 1979), in the order given."""
    order = sorted(range(len(p_values)), key=lambda place: p_values[place])
    adjusted, highest = [0.0] * len(order), 0.0
    for rank, place in enumerate(order):
        highest = max(highest, min(1.0, (len(order) - rank) * p_values[place]))
        adjusted[place] = highest
    return adjusted


def not_shown_worse(tables: Mapping[str, Floats], confidence: float = 0.95) -> list[str]:
    """The settings that are not shown worse than any other: the best one is among them with the confidence.

    Each setting is held against every other, paired by seed and user, at the level that the number of others leaves
    (Bonferroni; multiple comparisons with the best, Hsu 1981). Unlike a winner, the set grows where data are few.

    Args:
        tables: By setting (seeds, users), of the same seeds and users; higher is better.
        confidence: Of the whole.
    """
    names = list(tables)
    each = 1 - (1 - confidence) / max(1, len(names) - 1)
    kept = []
    for name in names:
        ahead = (seeds_estimate(tables[other] - tables[name], 2 * each - 1) for other in names if other != name)
        if not any(other.low is not None and other.low > 0 for other in ahead):
            kept.append(name)
    return kept


def equivalent(difference: SeedsEstimate, margin: float, confidence: float = 0.95) -> bool:
    """Whether a difference is shown to lie within ± margin (two one-sided tests, Schuirmann 1987)."""
    half = _half(difference.parts, 2 * confidence - 1)
    return half is not None and -margin < difference.mean - half and difference.mean + half < margin


def seeds_needed(differences: Floats, margin: float, power: float = 0.8, confidence: float = 0.95) -> int | None:
    """How many seeds it takes to see a true difference of `margin`, by what a pilot (seeds, users) shows of its chance.

    Two-sided, with the non-central t distribution. None: the users alone do not allow it, whatever the seeds.
    """
    from scipy.stats import nct

    if len(differences) < 2:
        return None
    parts = _parts(differences)
    by_seed, users = parts[0][0] * len(differences), parts[1:]
    for wanted in range(2, 1001):
        asked = [(by_seed / wanted, wanted - 1), *users]
        error = float(np.sqrt(sum(part for part, _ in asked)))
        half = _half(asked, confidence) or 0.0
        if error == 0:
            return wanted
        freedom = sum(part for part, _ in asked) ** 2 / sum(part**2 / free for part, free in asked)
        if float(nct.sf(half / error, freedom, margin / error)) >= power:
            return wanted
    return None


def _quantile(level: float, freedom: float) -> float:
    from scipy.special import stdtrit

    return float(stdtrit(freedom, level))
