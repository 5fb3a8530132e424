import uuid
from datetime import datetime
from decimal import Decimal

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from made_events import spelled

from lwa_core.data import prepare, source_from_frame
from lwa_core.data.sections import Filter, Split
from lwa_core.errors import DataError

COLUMNS = {"who": [1, 1, 1, 2, 2, 2], "what": list("pqrpqr"), "when": [3, 2, 1, 4, 5, 6], "stars": [5] * 6}
NAMES = {"user": "who", "item": "what", "timestamp": "when", "rating": "stars"}


@pytest.mark.parametrize("make", [pl.DataFrame, pl.LazyFrame, pd.DataFrame])
def test_frames_of_every_kind_give_the_same_data(make):
    data = prepare(source_from_frame(make(COLUMNS), **NAMES), Filter(min_rating=1), Split(), 0)

    assert {"1": ["r", "q", "p"], "2": ["p", "q", "r"]} == spelled(data)


def test_without_a_timestamp_rows_are_in_order():
    data = prepare(source_from_frame(pl.DataFrame(COLUMNS), "who", "what"), Filter(), Split(), 0)

    assert {"1": ["p", "q", "r"], "2": ["p", "q", "r"]} == spelled(data)


def test_dates_and_categories_are_understood():
    frame = pd.DataFrame(COLUMNS)
    frame["when"] = [datetime(2020, 1, day) for day in frame["when"]]
    frame["who"] = frame["who"].astype("category")
    frame["what"] = frame["what"].astype("category")

    for events in (frame, pl.from_pandas(frame.astype({"who": "str"}))):
        assert ["r", "q", "p"] == spelled(prepare(source_from_frame(events, **NAMES), Filter(), Split(), 0))["1"]


def test_missing_columns_are_all_named():
    for frame in (pl.DataFrame(COLUMNS), pd.DataFrame(COLUMNS)):
        with pytest.raises(DataError, match=r"no column 'user' \(user\) and no column 'item' \(item\)") as caught:
            source_from_frame(frame)
        assert "'who', 'what', 'when', 'stars'" in caught.value.hint


@pytest.mark.parametrize(
    ("column", "values", "message"),
    [
        ("who", [True, False] * 3, "'who' \\(user\\) holds Boolean; ids are text or whole numbers"),
        (
            "who",
            [[1], [2]] * 3,
            "'who' \\(user\\) holds List\\(Int64\\); ids are text or whole numbers|list \\[1\\] is no id",
        ),
        ("what", [datetime(2020, 1, 1)] * 6, "'what' \\(item\\) holds Datetime"),
        ("when", list("abcdef"), "'a' is no time"),
        ("stars", list("abcdef"), "'stars' \\(rating\\) holds String, not numbers$"),
    ],
)
def test_columns_of_another_kind_are_refused(column, values, message):
    with pytest.raises(DataError, match=message):
        source_from_frame(pd.DataFrame({**COLUMNS, column: values}), **NAMES)


def test_fractions_are_no_ids():
    with pytest.raises(DataError, match=r"column 'user': 1.5 has a fraction, and ids are text or whole numbers"):
        prepare(source_from_frame(pd.DataFrame({**COLUMNS, "who": [1.5] * 6}), **NAMES), Filter(), Split(), 0)


SAME = {
    "whole numbers": [1, 1, 1, 2, 2, 2],
    "floats": [1.0, 1.0, 1.0, 2.0, 2.0, 2.0],
    "text": list("111222"),
    "text with blanks": ["1 ", " 1", "1", "2", "2\t", "2"],
    "decimals": [Decimal(1)] * 3 + [Decimal("2.0")] * 3,
    "mixed": [1, "1", 1.0, "2", np.int8(2), Decimal(2)],
    "numpy": np.array([1, 1, 1, 2, 2, 2], dtype=np.uint8),
    "categories": pd.Categorical(list("111222")),
}


@pytest.mark.parametrize("kind", SAME)
@pytest.mark.parametrize("make", [pd.DataFrame, dict, lambda columns: pa.Table.from_pandas(pd.DataFrame(columns))])
def test_one_id_in_every_type_is_one_user(make, kind):
    if make is not pd.DataFrame and make is not dict and kind == "mixed":
        pytest.skip("Arrow has no column of mixed kinds")

    data = prepare(source_from_frame(make({**COLUMNS, "who": SAME[kind]}), **NAMES), Filter(), Split(), 0)

    assert {"1": ["r", "q", "p"], "2": ["p", "q", "r"]} == spelled(data)


def test_uuids_are_their_text():
    names = [uuid.UUID(int=n) for n in (1, 1, 1, 2, 2, 2)]

    data = prepare(source_from_frame(pd.DataFrame({**COLUMNS, "who": names}), **NAMES), Filter(), Split(), 0)

    assert (str(uuid.UUID(int=1)), str(uuid.UUID(int=2))) == data.user_ids


@pytest.mark.parametrize(
    "times",
    [
        ["2024-01-03", "2024-01-02", "2024-01-01"],
        ["03.01.2024 10:00", "02.01.2024 10:00", "01.01.2024 10:00"],
        ["2024-01-03T00:00:00Z", "2024-01-02T00:00:00Z", "2024-01-01T00:00:00Z"],
        ["2024-01-01 03:00:00+01:00", "2024-01-01 03:00:00+02:00", "2024-01-01 03:00:00+03:00"],
        ["1e9", "9e8", "8e8"],
    ],
)
def test_times_that_are_text_are_read(times):
    frame = pl.DataFrame({**COLUMNS, "when": [*times, *reversed(times)]})

    assert {"1": ["r", "q", "p"], "2": ["p", "q", "r"]} == spelled(
        prepare(source_from_frame(frame, **NAMES), Filter(), Split(), 0)
    )


def test_a_day_that_may_be_a_month_is_not_guessed():
    frame = pl.DataFrame({**COLUMNS, "when": ["03/01/2024", "02/01/2024", "01/01/2024"] * 2})

    with pytest.raises(DataError, match="the day cannot be told from the month") as caught:
        source_from_frame(frame, **NAMES)
    assert "time_format" in caught.value.hint
    data = prepare(source_from_frame(frame, **NAMES, time_format="%m/%d/%Y"), Filter(), Split(), 0)
    assert ["r", "q", "p"] == spelled(data)["1"]
    assert "from 2024-01-01T00:00:00+00:00 to 2024-03-01T00:00:00+00:00" in data.facts["notes"][0]


def test_usual_names_of_columns_are_offered():
    with pytest.raises(DataError, match=r"no column 'user' \(user\)") as caught:
        source_from_frame(pl.DataFrame({"userId": [1], "movieId": [2]}))
    assert "try user='userId', item='movieId'" in caught.value.hint


def test_names_of_columns_are_text():
    with pytest.raises(DataError, match="the column of the item is to be text, not 1"):
        source_from_frame(pd.DataFrame([[1, 2]]), user="0", item=1)


def test_other_things_are_no_frames():
    with pytest.raises(DataError, match="not list"):
        source_from_frame([(1, 2)])


def test_an_unknown_unit_is_refused_with_the_likely_one():
    with pytest.raises(DataError, match="no unit of time 'seconds'") as caught:
        source_from_frame(pl.DataFrame(COLUMNS), **NAMES, time_unit="seconds")
    assert "did you mean 's'?" == caught.value.hint
