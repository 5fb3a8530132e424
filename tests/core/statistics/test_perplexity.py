"""Perplexities, their differences and ratios, against closed forms and scipy's bootstrap."""

import numpy as np
import pytest
from scipy import stats

from lwa_core.statistics.means import mean_estimate
from lwa_core.statistics.perplexity import compare_means, compare_perplexities

RNG = np.random.default_rng(0)
TOKENS = RNG.integers(20, 200, size=600).astype(float)
EASE = RNG.gamma(20.0, 0.1, size=600)
A, B = TOKENS * (EASE + RNG.normal(0.1, 0.1, 600)), TOKENS * (EASE + RNG.normal(0, 0.1, 600))


def perplexity(losses, tokens, axis=-1):
    return np.exp(losses.sum(axis=axis) / tokens.sum(axis=axis))


def test_texts_of_one_length_have_the_exponential_of_the_interval_of_their_mean():
    losses = EASE * 10
    mean = mean_estimate(EASE, 0.9)

    found = compare_perplexities((losses, np.full(600, 10.0)), confidence=0.9).difference

    assert np.exp([mean.mean, mean.low, mean.high]).tolist() == pytest.approx([found.mean, found.low, found.high])


def test_it_is_about_a_bca_bootstrap_of_the_texts():
    found = compare_perplexities((A, TOKENS), (B, TOKENS))
    alone = compare_perplexities((A, TOKENS)).difference

    for told, statistic in (
        (alone, lambda a, _, t, axis=-1: perplexity(a, t, axis)),
        (found.difference, lambda a, b, t, axis=-1: perplexity(a, t, axis) - perplexity(b, t, axis)),
        (found.ratio, lambda a, b, t, axis=-1: perplexity(a, t, axis) / perplexity(b, t, axis)),
    ):
        expected = stats.bootstrap(
            (A, B, TOKENS), statistic, paired=True, method="BCa", n_resamples=2000, rng=1
        ).confidence_interval
        width = expected.high - expected.low
        assert statistic(A, B, TOKENS) == pytest.approx(told.mean)
        assert (expected.low, expected.high) == pytest.approx((told.low, told.high), abs=0.12 * width)


def test_losses_have_their_difference_and_ratio():
    found = compare_means(A, B)

    assert mean_estimate(A - B) == found.difference
    assert A.mean() / B.mean() == pytest.approx(found.ratio.mean)
    assert found.ratio.low < found.ratio.mean < found.ratio.high
    assert compare_means(A, np.zeros(600)).ratio is None
    assert compare_means(A).ratio is None


def test_few_texts_have_no_interval():
    found = compare_perplexities((A[:20], TOKENS[:20]), (B[:20], TOKENS[:20]))

    assert [None, None] == [found.difference.low, found.ratio.low]
    assert perplexity(A[:20], TOKENS[:20]) - perplexity(B[:20], TOKENS[:20]) == pytest.approx(found.difference.mean)
