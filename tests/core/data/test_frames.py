from datetime import datetime

import pandas as pd
import polars as pl
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
        ("who", [1.0, None] * 3, "'who' \\(user\\) holds Float64"),
        ("when", list("abcdef"), "'when' \\(timestamp\\) holds String, not numbers or dates"),
        ("stars", list("abcdef"), "'stars' \\(rating\\) holds String, not numbers$"),
    ],
)
def test_columns_of_another_kind_are_refused(column, values, message):
    with pytest.raises(DataError, match=message):
        source_from_frame(pd.DataFrame({**COLUMNS, column: values}), **NAMES)


def test_other_things_are_no_frames():
    with pytest.raises(DataError, match="not dict"):
        source_from_frame(COLUMNS)
