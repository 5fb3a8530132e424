"""Power laws through trainings: the parameters of one that is known, and a miss where the rest goes another way."""

import numpy as np
import pytest

from lwa_core.statistics.learning_curve import FEWEST, fit_curve


def test_a_power_law_is_found_and_misses_nothing():
    values = 0.2 - 0.15 * np.arange(1, 25) ** -0.8
    found = fit_curve(values.tolist())
    assert (0.2, 0.8) == pytest.approx((found.limit, found.decay), rel=1e-3)
    assert found.missed < 1e-5


def test_a_training_that_breaks_down_is_missed_by_as_much():
    values = (0.2 - 0.15 * np.arange(1, 25) ** -0.8).tolist()
    broken = [*values[:16], *[0.05] * 8]
    expected = np.mean(np.abs(np.array(values[16:]) - 0.05)) / 0.05
    assert expected == pytest.approx(fit_curve(broken).missed, rel=1e-3)


def test_too_little_or_nothing_to_fit():
    assert fit_curve([0.1] * 20) is None
    assert fit_curve(list(range(FEWEST - 1))) is None
    assert fit_curve([0.1, float("nan")] * 10) is None
