import math

from lwa_core.statistics.estimate import Estimate, finite_digits, ten_digits


def test_ten_digits_are_kept():
    assert 0.3 == ten_digits(0.1 + 0.2)
    assert 1234567891.0 == ten_digits(1234567890.98)


def test_what_is_not_finite_or_not_there_is_none():
    assert [None, None, None, 0.5] == [finite_digits(value) for value in (None, math.nan, math.inf, 0.5)]


def test_an_interval_has_two_ends_or_none():
    assert Estimate(1.0, None, None) == Estimate.between(1.0, math.nan, 2.0) == Estimate.between(1.0, 0.0, math.nan)
    assert Estimate(1.0, 0.0, 2.0) == Estimate.between(1.0, 0.0, 2.0)
