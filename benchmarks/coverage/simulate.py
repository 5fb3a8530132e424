"""Simulations with known truth of every interval that lwa prints.

A case draws samples, and says of each what the true figure is and which interval is printed. A `Draw` is that for one
sample: the truth, the two ends (None: no interval is printed), and the two ends of the interval that was printed until
November 2026, for comparison: a percentile bootstrap, or Student's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeAlias

import attrs
import numpy as np
from numpy.typing import NDArray
from scipy import stats

from lwa_core.statistics.bootstrap import compare
from lwa_core.statistics.correlation import compare_correlations
from lwa_core.statistics.estimate import Estimate
from lwa_core.statistics.means import mean_interval, standard_error
from lwa_core.statistics.perplexity import compare_means, compare_perplexities
from lwa_core.statistics.regret import best_of_size, oracle_values, regret
from lwa_core.statistics.simultaneous import chosen_estimate
from lwa_core.statistics.stability import settled
from lwa_core.statistics.subsets import row_of, rows_of_size

Floats: TypeAlias = NDArray[np.float64]
Ends: TypeAlias = tuple[float, float] | None

RESAMPLES = 499
AT_ONCE = 100
"""Samples that share their random weights."""


@attrs.frozen
class Draw:
    """One sample of a case: the truth, the interval that is printed, and the one that was."""

    truth: float
    now: Ends
    before: Ends


@attrs.frozen
class Case:
    """Samples of one figure from one distribution.

    Args:
        figure: What the interval is of.
        data: The distribution.
        size: How many users, texts, examples, pairs.
        draws: Gives so many samples.
        quick: Whether the test that runs always holds it.
    """

    figure: str
    data: str
    size: int
    draws: Callable[[np.random.Generator, int], Iterator[Draw]]
    quick: bool = False


def ends(found: Estimate | None) -> Ends:
    """Of an estimate, None where it has no interval."""
    return None if found is None or found.low is None or found.high is None else (found.low, found.high)


def percentiles(statistic: Floats) -> Ends:
    """The percentile bootstrap; None where the statistic is not defined in every resample."""
    if not np.isfinite(statistic).all():
        return None
    low, high = np.quantile(statistic, [0.025, 0.975])
    return float(low), float(high)


def students(values: Floats) -> tuple[float, float]:
    half = stats.t.ppf(0.975, len(values) - 1) * float(standard_error(values))
    return float(values.mean()) - half, float(values.mean()) + half


# Metrics between 0 and 1


def ndcg(rng: np.random.Generator, shape: tuple[int, ...], hits: float, k: int = 10) -> Floats:
    """NDCG@k of users of whom a share has the target among the first k, at any place alike."""
    place = rng.integers(1, k + 1, shape)
    return np.where(rng.random(shape) < hits, 1 / np.log2(1 + place), 0.0)


EACH_HIT = float(np.mean(1 / np.log2(1 + np.arange(1, 11))))


def metric_draws(kind: str, size: int, hits: float, better: float) -> Callable[..., Iterator[Draw]]:
    """Of two models that agree on 70 % of the users; b has `better` more hits, which a misses."""

    def draws(rng: np.random.Generator, count: int) -> Iterator[Draw]:
        for start in range(0, count, AT_ONCE):
            many = min(AT_ONCE, count - start)
            a, other = ndcg(rng, (many, size), hits), ndcg(rng, (many, size), hits)
            b = np.where(rng.random((many, size)) < 0.7, a, other)
            b = np.where((b == 0) & (rng.random((many, size)) < better), EACH_HIT, b)
            drawn = rng.integers(0, size, (RESAMPLES, size))
            pairs = {i: (b[i], a[i] if kind != "mean" else None) for i in range(many)}
            found = compare(pairs, resamples=RESAMPLES, seed=int(rng.integers(2**31)))
            mean_a, mean_b = hits * EACH_HIT, (hits + (1 - hits) * better) * EACH_HIT
            for i in range(many):
                own, others = b[i][drawn].mean(axis=1), a[i][drawn].mean(axis=1)
                if kind == "share kept":
                    with np.errstate(divide="ignore", invalid="ignore"):
                        before = percentiles(own / others)
                    yield Draw(mean_b / mean_a, ends(found[i].ratio), before)
                elif kind == "difference":
                    yield Draw(mean_b - mean_a, ends(found[i].difference), percentiles(own - others))
                else:
                    yield Draw(mean_b, ends(found[i].difference), percentiles(own))

    return draws


# Means of numbers without bounds: losses, scores


def skewed(spread: float, zeros: float = 0.0) -> tuple[Callable[..., Floats], float]:
    """Log-normal values, of which a share is 0, and their mean."""

    def draw(rng: np.random.Generator, shape: tuple[int, ...]) -> Floats:
        return np.where(rng.random(shape) < zeros, 0.0, rng.lognormal(0.0, spread, shape))

    return draw, (1 - zeros) * float(np.exp(spread**2 / 2))


DISTRIBUTIONS: dict[str, tuple[Callable[..., Floats], float]] = {
    "normal": (lambda rng, shape: rng.normal(size=shape), 0.0),
    "exponential": (lambda rng, shape: rng.exponential(size=shape), 1.0),
    "log-normal 0.5": skewed(0.5),
    "log-normal 1": skewed(1.0),
    "log-normal 1.5": skewed(1.5),
    "log-normal 2": skewed(2.0),
    "70 % zeros, log-normal 1": skewed(1.0, zeros=0.7),
    "90 % zeros, log-normal 1": skewed(1.0, zeros=0.9),
    "bimodal": (lambda rng, shape: np.sign(rng.normal(size=shape)) + 0.1 * rng.normal(size=shape), 0.0),
    "a tenth at 10": (lambda rng, shape: 10.0 * (rng.random(shape) < 0.1) + rng.normal(size=shape), 1.0),
    "tied (Poisson 1)": (lambda rng, shape: rng.poisson(1.0, shape).astype(np.float64), 1.0),
    "Student's t, 3": (lambda rng, shape: rng.standard_t(3, shape), 0.0),
    "difference of two log-normal 1": (
        lambda rng, shape: rng.lognormal(0, 1, shape) - rng.lognormal(0, 1, shape),
        0.0,
    ),
}


def mean_draws(size: int, data: str) -> Callable[..., Iterator[Draw]]:
    draw, truth = DISTRIBUTIONS[data]

    def draws(rng: np.random.Generator, count: int) -> Iterator[Draw]:
        values = draw(rng, (size, count))
        low, high = mean_interval(values)
        for i in range(count):
            now = None if np.isnan(low[i]) else (float(low[i]), float(high[i]))
            yield Draw(truth, now, students(values[:, i]))

    return draws


# Losses and perplexities of texts


def text_draws(kind: str, size: int, spread: float) -> Callable[..., Iterator[Draw]]:
    """Texts of log-normal lengths; most of their log-normal losses is shared by the two models."""

    def texts(rng: np.random.Generator, count: int) -> tuple[Floats, Floats, Floats]:
        tokens = np.ceil(rng.lognormal(4.0, spread, count))
        shared = rng.lognormal(0.8, spread / 2, count)
        return tokens, *(shared * rng.lognormal(shift, 0.1, count) for shift in (0.1, 0.0))

    def figures(tokens: Floats, a: Floats, b: Floats) -> dict[str, float]:
        first, second = (float(np.exp((tokens * x).sum() / tokens.sum())) for x in (a, b))
        return {
            "loss": float(a.mean()),
            "difference of losses": float((a - b).mean()),
            "ratio of losses": float(a.mean() / b.mean()),
            "perplexity": first,
            "difference of perplexities": first - second,
            "ratio of perplexities": first / second,
        }

    def draws(rng: np.random.Generator, count: int) -> Iterator[Draw]:
        truth = figures(*texts(np.random.default_rng(0), 4_000_000))[kind]
        for _ in range(count):
            tokens, a, b = texts(rng, size)
            drawn = rng.integers(0, size, (RESAMPLES, size))
            weights = np.apply_along_axis(np.bincount, 1, drawn, minlength=size).astype(np.float64)
            sums = {"t": weights @ tokens, "a": weights @ (tokens * a), "b": weights @ (tokens * b)}
            means = {"a": weights @ a / size, "b": weights @ b / size}
            rates = [np.exp(sums[name] / sums["t"]) for name in "ab"]
            losses = compare_means(a, None if kind == "loss" else b)
            sums_of_b = None if kind == "perplexity" else (tokens * b, tokens)
            perplexities = compare_perplexities((tokens * a, tokens), sums_of_b)
            now, before = {
                "loss": (losses.difference, means["a"]),
                "difference of losses": (losses.difference, means["a"] - means["b"]),
                "ratio of losses": (losses.ratio, means["a"] / means["b"]),
                "perplexity": (perplexities.difference, rates[0]),
                "difference of perplexities": (perplexities.difference, rates[0] - rates[1]),
                "ratio of perplexities": (perplexities.ratio, rates[0] / rates[1]),
            }[kind]
            yield Draw(truth, ends(now), percentiles(before))

    return draws


# Correlations with gold values


def correlated(rng: np.random.Generator, count: int, data: str) -> tuple[Floats, Floats, Floats]:
    """Gold values and two models' values, which follow them equally well."""
    gold = rng.normal(size=count)
    if data == "80 % zeros":
        gold = np.where(rng.random(count) < 0.8, 0.0, rng.integers(1, 6, count)).astype(np.float64)
    if data == "tied":
        gold = rng.integers(0, 6, count).astype(np.float64)
    strength = {"weak": 0.3, "strong": 4.0}.get(data, 1.0)
    a, b = (strength * gold + rng.normal(size=count) * (2 if data == "tied" else 1) for _ in range(2))
    return (gold, np.round(a), np.round(b)) if data == "tied" else (gold, a, b)


def correlation_draws(kind: str, size: int, data: str) -> Callable[..., Iterator[Draw]]:
    def draws(rng: np.random.Generator, count: int) -> Iterator[Draw]:
        gold, a, _ = correlated(np.random.default_rng(0), 1_000_000, data)
        truth = float(stats.spearmanr(a, gold).statistic) if kind == "correlation" else 0.0
        for _ in range(count):
            gold, a, b = correlated(rng, size, data)
            found = compare_correlations(a, gold, b if kind != "correlation" else None)
            yield Draw(truth, ends(found.difference), None)

    return draws


# Sets of layers


def table_draws(kind: str, size: int, noise: str, spread: float) -> Callable[..., Iterator[Draw]]:
    """The 20 sets of 3 of 6 layers, a fixed one or the best on the examples; true utilities with this spread."""
    depth, rows = 6, rows_of_size(6, 3)

    def draws(rng: np.random.Generator, count: int) -> Iterator[Draw]:
        means = spread * np.random.default_rng(1).standard_normal(2**depth)
        for number in range(count):
            shape = (2**depth, size)
            drawn = rng.normal(size=shape) if noise == "normal" else np.exp(0.5) - rng.lognormal(0, 1, shape)
            table = rng.normal(size=size) + drawn + means[:, None]
            kept = (0, 1, 2) if kind == "regret of a fixed set" else best_of_size(table, depth, 3)
            own = table[row_of(kept)]
            if kind.startswith("regret"):
                truth = float(means[rows].max() - means[row_of(kept)])
                oracle, _ = oracle_values(table, depth, 3, seed=number)
                yield Draw(truth, ends(regret(table, depth, kept, seed=number)), students(oracle - own))
            else:
                place = int(np.searchsorted(rows, row_of(kept)))
                found = chosen_estimate(table[rows] - table[-1], place, seed=number)
                yield Draw(float(means[row_of(kept)] - means[-1]), ends(found), students(own - table[-1]))

    return draws


def settled_draws(size: int, data: str) -> Callable[..., Iterator[Draw]]:
    """Two layers of which the first is worth a little more; a set is called settled wrongly where it is the second.

    As an interval: everything but what the second layer alone would say.
    """
    draw, mean = DISTRIBUTIONS[data]

    def draws(rng: np.random.Generator, count: int) -> Iterator[Draw]:
        for _ in range(count):
            values = draw(rng, (size,)) - mean  # what the first layer is worth more, but for a trifle
            rows = np.stack([values + 1e-9, np.zeros(size)], axis=1)
            wrong = bool(settled(rows, 1) and rows[:, 1].mean() > rows[:, 0].mean())
            t = values.mean() / standard_error(values)
            yield Draw(
                0.0, (1.0, 1.0) if wrong else (0.0, 0.0), (1.0, 1.0) if t < stats.t.ppf(0.05, size - 1) else (0.0, 0.0)
            )

    return draws
