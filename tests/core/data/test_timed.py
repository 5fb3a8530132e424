"""Histories with times: parts, what is computed of them, and times as people write them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_events import source_of

from lwa_core.data import load_prepared, prepare, save_prepared
from lwa_core.data.sections import Filter, Split
from lwa_core.data.timed import TimedHistory, milliseconds
from lwa_core.errors import LwaError

ROWS = [(f"u{user}", f"i{item}", 1_000_000.0 + 7 * user + (3 * item) ** 2) for user in range(6) for item in range(5)]


@given(st.lists(st.integers(0, 9), max_size=8), st.slices(8), st.slices(8))
def test_a_part_has_its_part_of_the_times(items, first, second):
    items = np.array(items, dtype=np.int32)
    part = TimedHistory(items, 10 * items.astype(np.int64))[first][second]

    assert part.tolist() == items[first][second].tolist()
    assert part.times.tolist() == (10 * items[first][second]).tolist()


def test_what_is_computed_from_it_is_a_plain_array():
    history = TimedHistory(np.arange(4, dtype=np.int32), np.arange(4))

    assert {type(made) for made in (history + 1, np.concatenate([history, history]), np.asarray(history))} == {
        np.ndarray
    }
    assert [history[2], history.max(), history.sum()] == [2, 3, 6]


def test_items_and_times_are_as_many():
    with pytest.raises(ValueError, match="3 times for 4 items"):
        TimedHistory(np.arange(4, dtype=np.int32), np.arange(3))


def test_prepared_data_gives_the_times_of_its_events(tmp_path):
    data = prepare(source_of(ROWS), Filter(), Split(), 0)
    save_prepared(data, tmp_path)
    when = {(user, item): round(1000 * time) for user, item, time in ROWS}

    for each in (data, load_prepared(tmp_path)):
        for user, sequence in enumerate(each.training_sequences()):
            expected = [when[each.user_ids[user], each.catalogue.ids[item]] for item in sequence]
            assert sequence.times.tolist() == expected
        for examples in (each.validation, each.test):
            for row, history in enumerate(each.histories(examples)):
                user = each.user_ids[examples.users[row]]
                assert history.times.tolist() == [when[user, each.catalogue.ids[item]] for item in history]
                assert each.history(examples, row).times.tolist() == history.times.tolist()


def test_events_in_the_order_of_the_file_have_no_times():
    data = prepare(source_of(ROWS, order="file"), Filter(), Split(), 0)

    assert data.times is None
    assert not isinstance(data.training_sequences()[0], TimedHistory)


def test_seconds_and_milliseconds_are_told_apart_by_their_size():
    assert milliseconds([1.5, 1_600_000_000, 1_600_000_000_500]).tolist() == [
        1500,
        1_600_000_000_000,
        1_600_000_000_500,
    ]
    assert milliseconds([]).tolist() == []


@pytest.mark.parametrize(
    "times", [[2, 1], [float("nan")], ["2"], [True], [None], [1e308], [-(10**400)], [1e15], "12", None, 3, {1: 2}]
)
def test_other_times_are_refused(times):
    with pytest.raises(LwaError, match="time"):
        milliseconds(times)
