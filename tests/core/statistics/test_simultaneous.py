"""Intervals that hold together: of one mean alone, of equal ones, of many independent ones."""

import numpy as np
import pytest
from scipy import stats

from lwa_core.statistics.means import FEWEST, mean_interval
from lwa_core.statistics.simultaneous import chosen_estimate, simultaneous_interval

VALUES = np.random.default_rng(0).normal(size=(50, 200))


def test_one_mean_and_many_equal_ones_have_about_the_interval_of_one():
    low, high = mean_interval(VALUES[0])

    for copies in (1, 30):
        lows, highs = simultaneous_interval(np.tile(VALUES[0], (copies, 1)), seed=1)
        assert [low] * copies == pytest.approx(lows.tolist(), abs=0.1 * (high - low))
        assert [high] * copies == pytest.approx(highs.tolist(), abs=0.1 * (high - low))


def test_independent_means_have_about_sidaks_interval():
    each = stats.ttest_1samp(VALUES, 0, axis=1).confidence_interval(0.95 ** (1 / 50))

    lows, highs = simultaneous_interval(VALUES)

    assert np.median((highs - lows) / (each.high - each.low)) == pytest.approx(1, abs=0.06)


def test_a_chosen_mean_has_the_wider_interval_wherever_it_stands():
    best = int(VALUES.mean(axis=1).argmax())
    alone = mean_interval(VALUES[best])

    found = chosen_estimate(VALUES, best)
    other = chosen_estimate(VALUES[::-1], 49 - best)

    assert VALUES[best].mean() == found.mean
    assert found.high - found.low > 1.3 * (alone[1] - alone[0])
    assert (found.low, found.high) == pytest.approx((other.low, other.high))


def test_the_blocks_do_not_change_it(monkeypatch):
    whole = simultaneous_interval(VALUES)
    monkeypatch.setattr("lwa_core.statistics.simultaneous.ENTRIES_AT_ONCE", 3000)

    assert whole[0].tolist() == pytest.approx(simultaneous_interval(VALUES)[0].tolist())


def test_few_examples_have_none():
    assert simultaneous_interval(VALUES[:, : FEWEST - 1]) is None
    assert chosen_estimate(VALUES[:, : FEWEST - 1], 3).low is None
