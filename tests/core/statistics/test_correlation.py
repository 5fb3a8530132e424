"""Correlations and their influences against scipy and the jackknife."""

import numpy as np
import pytest
from scipy import stats

from lwa_core.statistics.correlation import compare_correlations, influences

RNG = np.random.default_rng(0)
GOLD = RNG.normal(size=80)


@pytest.mark.parametrize("digits", [9, 0])
def test_the_correlation_is_scipys_and_the_influences_are_the_jackknifes(digits):
    a, gold = np.round(GOLD + RNG.normal(size=80), digits), np.round(GOLD, digits)
    rho = stats.spearmanr(a, gold).statistic
    without = np.array([stats.spearmanr(np.delete(a, i), np.delete(gold, i)).statistic for i in range(80)])

    found, moved = influences(a, gold)

    assert rho == pytest.approx(found)
    assert 0 == pytest.approx(moved.sum(), abs=1e-9)
    assert np.corrcoef(moved, 79 * (rho - without))[0, 1] > 0.9999
    assert np.std(79 * (rho - without)) == pytest.approx(moved.std(), rel=0.03)


def test_the_interval_of_normal_pairs_is_about_the_textbooks():
    """Bonett & Wright 2000: Fisher's z with the variance (1 + rho² / 2) / (n - 3)."""
    gold = np.random.default_rng(2).normal(size=1000)
    a = gold + np.random.default_rng(3).normal(size=1000)
    rho = stats.spearmanr(a, gold).statistic
    half = stats.norm.ppf(0.975) * np.sqrt((1 + rho**2 / 2) / 997)

    found = compare_correlations(a, gold).difference

    expected = np.tanh(np.arctanh(rho) - half), np.tanh(np.arctanh(rho) + half)
    assert expected == pytest.approx((found.low, found.high), abs=0.006)


def test_a_difference_is_paired():
    a = GOLD + RNG.normal(size=80)
    near = a + 0.01 * RNG.normal(size=80)

    found = compare_correlations(a, GOLD, near).difference

    assert stats.spearmanr(a, GOLD).statistic - stats.spearmanr(near, GOLD).statistic == pytest.approx(found.mean)
    assert found.high - found.low < 0.1
    assert 0 == compare_correlations(a, GOLD, a).difference.mean


def test_a_perfect_or_undefined_correlation_has_no_interval():
    assert (1.0, None) == (
        compare_correlations(GOLD, GOLD).difference.mean,
        compare_correlations(GOLD, GOLD).difference.low,
    )
    flat = compare_correlations(np.zeros(80), GOLD).difference
    assert (0.0, None, None) == (flat.mean, flat.low, flat.high)
