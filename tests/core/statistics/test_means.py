"""Intervals of means without bounds: against Student's, scipy's bootstrap, and a loop over the definition."""

import numpy as np
import pytest
from scipy import optimize, stats

from lwa_core.statistics.means import DISTINCT, FEWEST, mean_estimate, mean_interval, skewed_interval, standard_error
from lwa_core.types import LayerScores

SKEWED = np.random.default_rng(0).exponential(size=(80, 3))


def symmetric(count):
    half = np.linspace(0.1, 3.0, count // 2)
    return np.concatenate([half, -half])


def test_symmetric_values_with_light_tails_have_students_interval():
    values = symmetric(80)
    expected = stats.ttest_1samp(values, 0).confidence_interval(0.95)

    found = mean_estimate(values)

    assert stats.kurtosis(values, fisher=False) < 3  # light tails: no fewer degrees of freedom than n - 1
    assert (expected.low, expected.high) == pytest.approx((found.low, found.high), abs=1e-7)


def test_the_ends_solve_halls_equation():
    """With scipy's root finder on g(t) = ± quantile, g as Hall 1992 has it."""
    values, confidence = SKEWED[:, 0], 0.9
    n, error = len(values), stats.sem(values)
    a = 1.5 * stats.skew(values, bias=False) / (3 * np.sqrt(n))
    freedom = min(n - 1, 2 * n / (stats.kurtosis(values, fisher=False) - 1))
    quantile = stats.t.ppf(0.95, freedom)

    def g(t):
        return t + a * t**2 + a**2 * t**3 / 3 + a / 2

    low, high = (
        values.mean() - error * optimize.brentq(lambda t, q=q: g(t) - q, -1e3, 1e3) for q in (quantile, -quantile)
    )
    expected = min(low, values.mean() - quantile * error), max(high, values.mean() + quantile * error)

    assert expected == pytest.approx(tuple(map(float, skewed_interval(values, confidence))))


def test_it_is_about_a_bca_bootstrap_of_many_skewed_values():
    values = np.random.default_rng(1).exponential(size=2000)
    expected = stats.bootstrap((values,), np.mean, method="BCa", n_resamples=4000, rng=2).confidence_interval

    found = mean_estimate(values)

    assert expected.low == pytest.approx(found.low, abs=0.008)
    assert expected.high == pytest.approx(found.high, abs=0.008)


def test_columns_are_taken_one_by_one_and_scale_and_sign_do_not_matter():
    low, high = mean_interval(SKEWED)

    for column in range(3):
        alone = mean_estimate(SKEWED[:, column])
        assert (alone.low, alone.high) == pytest.approx((low[column], high[column]), rel=1e-12)
    mirrored = mean_interval(-1e100 * SKEWED)
    assert (-1e100 * high).tolist() == pytest.approx(mirrored[0].tolist(), rel=1e-9)
    assert (-1e100 * low).tolist() == pytest.approx(mirrored[1].tolist(), rel=1e-9)


def test_long_tails_widen_it_on_their_side():
    values = np.random.default_rng(3).lognormal(0, 1, 64)
    t = stats.ttest_1samp(values, 0).confidence_interval(0.95)

    found = mean_estimate(values)

    assert found.low <= t.low
    assert found.high - found.mean > 1.2 * (t.high - found.mean)


@pytest.mark.parametrize("count", [1, 2, FEWEST - 1])
def test_few_values_have_no_interval(count):
    found = mean_estimate(np.arange(count, dtype=float))

    assert (np.arange(count).mean(), None, None) == (found.mean, found.low, found.high)


def test_values_that_are_nearly_all_equal_have_no_interval():
    values = np.zeros(1000)
    values[: DISTINCT - 1] = 1 + np.arange(DISTINCT - 1)
    assert mean_estimate(values).low is None

    values[DISTINCT] = 1.0
    assert mean_estimate(values).low is not None


def test_scores_have_these_intervals_or_none():
    low, high = LayerScores("s", SKEWED).interval(0.9)

    assert [low.tolist(), high.tolist()] == [ends.tolist() for ends in mean_interval(SKEWED, 0.9)]
    assert LayerScores("s", SKEWED[: FEWEST - 1]).interval() is None
    constant = np.concatenate([SKEWED, np.zeros((80, 1))], axis=1)
    assert [False, False, False, True] == np.isnan(LayerScores("s", constant).interval()[0]).tolist()


def test_the_standard_error_is_scipys():
    assert stats.sem(SKEWED).tolist() == pytest.approx(standard_error(SKEWED).tolist())
