"""Times of requests: one unit, dates as well as numbers, and what is refused."""

from datetime import date, datetime, timedelta, timezone

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lwa_core.data.clock import UNITS, history_milliseconds, to_milliseconds
from lwa_core.errors import DataError

PARTS = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
MOMENTS = st.datetimes(datetime(1975, 1, 1), datetime(2100, 1, 1))


@given(st.lists(MOMENTS, min_size=1, max_size=6), st.sampled_from([*UNITS]))
def test_numbers_of_any_unit_and_dates_say_the_same(moments, unit):
    """Python's own arithmetic of dates is the reference."""
    moments = sorted(moment.replace(microsecond=0) for moment in moments)
    since = [int((moment - datetime(1970, 1, 1)).total_seconds()) for moment in moments]
    expected = [1000 * seconds for seconds in since]

    assert expected == history_milliseconds([seconds * PARTS[unit] for seconds in since], unit).tolist()
    assert expected == history_milliseconds([seconds * PARTS[unit] for seconds in since]).tolist()
    assert expected == history_milliseconds(moments).tolist()
    assert expected == history_milliseconds(np.array(moments, dtype="datetime64[us]")).tolist()
    zone = timezone(timedelta(hours=5))
    assert expected == history_milliseconds([m.replace(tzinfo=timezone.utc).astimezone(zone) for m in moments]).tolist()


@given(st.lists(st.integers(-(10**9), 4 * 10**18), min_size=1, max_size=20))
def test_whole_numbers_are_rounded_as_fractions_are(values):
    from fractions import Fraction

    found, rounded = to_milliseconds(np.array(values), "ns")
    exact = [Fraction(value, 10**6) for value in values]

    assert all(abs(Fraction(int(own)) - other) <= Fraction(1, 2) for own, other in zip(found, exact, strict=True))
    assert any(other.denominator != 1 for other in exact) == rounded


@given(st.lists(MOMENTS, min_size=1, max_size=6).map(sorted))
def test_text_says_what_numbers_and_dates_say(moments):
    expected = history_milliseconds([moment.replace(tzinfo=timezone.utc).timestamp() for moment in moments], "s")

    assert (
        expected
        == history_milliseconds([str(moment.replace(tzinfo=timezone.utc).timestamp()) for moment in moments], "s")
    ).all()
    assert (expected == history_milliseconds([moment.isoformat(timespec="microseconds") for moment in moments])).all()


def test_nothing_has_no_times():
    assert [] == history_milliseconds([]).tolist()
    assert [datetime(2020, 1, 1, tzinfo=timezone.utc).timestamp() * 1000] == history_milliseconds([date(2020, 1, 1)])


@pytest.mark.parametrize(
    ("times", "said"),
    [
        ([2, 1], "the times of a history fall"),
        ([float("nan")], "a time is a number since 1970 or a date, not nan"),
        (["soon"], "'soon' is no time"),
        ([np.datetime64(2**62, "s")], "is no time of the years 1 to 9999"),
        ([np.datetime64("NaT", "s")], "NaT is no time"),
        ([np.datetime64("NaT", "ns")], "NaT is no time"),
        ([np.datetime64("12000-01-01", "D")], "of the years 1 to 9999"),
        (["2", 3], "not '2'"),
        (["2020-01-01", ""], "is empty text"),
        (["01/02/2020"], "the day cannot be told from the month"),
        ([True], "not True"),
        ([None], "not null"),
        ([1.6e9, 1.6e12], "of two units"),
        ([np.datetime64("0000-01-01")], "of the years 1 to 9999"),
        ([np.datetime64("NaT")], "of the years 1 to 9999"),
        ([10**29], "is no nanosecond of the years 1 to 9999"),
        ([1e308], "not 1e\\+308"),
        ([-(10**400)], "not an integer of very many digits"),
        ("12", "the times of a history are a list, oldest first, not str"),
        (None, "not NoneType"),
        (3, "not int"),
        ({1: 2}, "not dict"),
        ([1, date(2020, 1, 1)], "numbers and dates mixed"),
    ],
)
def test_other_times_are_refused(times, said):
    with pytest.raises(DataError, match=said):
        history_milliseconds(times)
