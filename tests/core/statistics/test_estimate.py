import numpy as np
import pytest
from scipy import stats

from lwa_core.statistics.estimate import student_half, student_t, ten_digits
from lwa_core.types import LayerScores

VALUES = np.random.default_rng(0).normal(1.0, 2.0, size=(17, 3))


@pytest.mark.parametrize("confidence", [0.5, 0.95, 0.999])
def test_the_interval_is_students(confidence):
    expected = stats.ttest_1samp(VALUES[:, 0], 0.0).confidence_interval(confidence)

    found = student_t(VALUES[:, 0], confidence)

    assert (expected.low, expected.high) == pytest.approx((found.low, found.high))
    assert (VALUES[:, 0].mean(), stats.sem(VALUES[:, 0])) == pytest.approx((found.mean, found.standard_error))


def test_half_the_width_is_the_quantile_to_the_last_digit():
    for count in (2, 3, 10, 1024):
        assert float(stats.t.ppf(0.975, count - 1)) == student_half(count)


def test_scores_have_the_same_interval_layer_by_layer():
    low, high = LayerScores("s", VALUES).interval(0.9)

    each = [student_t(column, 0.9) for column in VALUES.T]
    assert [found.low for found in each] == pytest.approx(low.tolist(), rel=1e-14)
    assert [found.high for found in each] == pytest.approx(high.tolist(), rel=1e-14)


def test_ten_digits_are_kept():
    assert 0.3 == ten_digits(0.1 + 0.2)
    assert 1234567891.0 == ten_digits(1234567890.98)
