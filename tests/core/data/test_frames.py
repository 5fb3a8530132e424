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


def prepared(frame, names=NAMES, **more):
    return prepare(source_from_frame(frame, **names, **more), Filter(duplicates="all"), Split(), 0)


@pytest.mark.parametrize("name", ["*", "^.*$", "", "a.b", "part", "rated"])
@pytest.mark.parametrize("make", [dict, pd.DataFrame, pa.table, pl.LazyFrame])
def test_a_column_of_any_name_is_that_column(make, name):
    columns = {name if key == "who" else key: values for key, values in COLUMNS.items()}
    if make is pl.LazyFrame and name == "":
        pytest.skip("polars names such a column itself")

    assert {"1": ["r", "q", "p"], "2": ["p", "q", "r"]} == spelled(prepared(make(columns), {**NAMES, "user": name}))


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"user": None}, "the column of the user is to be text, not null"),
        ({"item": "\ud800"}, "half of a surrogate pair"),
        ({"time_format": 5}, "time_format is text, not 5"),
        ({"time_format": ""}, "time_format is text, not ''"),
        ({"time_format": "\ud800"}, "time_format is text"),
    ],
)
def test_arguments_of_another_kind_are_refused_in_words(more, said):
    with pytest.raises(DataError, match=said):
        source_from_frame(pl.DataFrame({**COLUMNS, "when": ["2024-01-01"] * 6}), **{**NAMES, **more})


@pytest.mark.parametrize("make", [pd.DataFrame, pa.table])
def test_two_columns_of_one_name_are_refused(make):
    columns = [pa.array(values) for values in COLUMNS.values()]
    frame = pa.table([*columns, columns[0]], [*COLUMNS, "who"])

    with pytest.raises(DataError, match="two columns of one name, 'who'"):
        source_from_frame(frame if make is pa.table else frame.to_pandas(), **NAMES)


@pytest.mark.parametrize(
    "categories",
    [
        pd.Categorical([1.0, 1.0, 1.0, 2.0, 2.0, 2.0]),
        pd.Categorical([1, 1, 1, 2, 2, 2]),
        pa.array([1.0, 1.0, 1.0, 2.0, 2.0, 2.0]).dictionary_encode(),
        pa.chunked_array([pa.array([1, 1, 1]), pa.array([2, 2, 2])]),
    ],
    ids=["floats", "whole numbers", "Arrow's floats", "chunks"],
)
def test_categories_are_spelt_by_the_rule_of_ids(categories):
    assert {"1": ["r", "q", "p"], "2": ["p", "q", "r"]} == spelled(prepared({**COLUMNS, "who": categories}))


@pytest.mark.parametrize(
    "categories", [pd.Categorical([1.5] * 6), pd.Categorical([True] * 6), pa.array([1.5] * 6).dictionary_encode()]
)
def test_categories_that_are_no_ids_are_refused(categories):
    with pytest.raises(DataError, match=r"1.5 has a fraction|True is a truth value"):
        prepared({**COLUMNS, "who": categories})


def test_what_a_mask_hides_is_missing():
    frame = {**COLUMNS, "who": np.ma.array([1, 1, 1, 9, 2, 2], mask=[0, 0, 0, 1, 0, 0])}

    data = prepared({name: [*values, *values] if name != "who" else np.ma.concatenate([values] * 2)
                     for name, values in frame.items()})  # fmt: skip

    assert {"rows without a user": 2} == data.facts["dropped"]
    assert ("1", "2") == data.user_ids


@pytest.mark.parametrize("make", [pl.DataFrame, pd.DataFrame, dict, pa.table])
def test_lists_of_items_are_unrolled_and_what_is_missing_in_them_is_counted(make):
    frame = make({"who": [1, 2, 3, 4], "what": [["a", "b", "c"], ["b", None, "c", "a"], [], None]})

    data = prepare(source_from_frame(frame, "who", "what"), Filter(), Split(), 0)

    assert {"1": ["a", "b", "c"], "2": ["b", "c", "a"]} == spelled(data)
    assert {"rows without an item": 2} == data.facts["dropped"]


@pytest.mark.parametrize("kind", [pl.Int128, pl.UInt128, pl.Decimal(38, 2), pl.Float16])
def test_rare_types_of_numbers_are_numbers(kind):
    columns = {
        name: pl.Series(name, values).cast(kind) if name != "what" else values for name, values in COLUMNS.items()
    }

    data = prepare(source_from_frame(pl.DataFrame(columns), **NAMES), Filter(min_rating=1), Split(), 0)

    assert {"1": ["r", "q", "p"], "2": ["p", "q", "r"]} == spelled(data)


def test_whole_numbers_of_more_than_64_bits_keep_all_digits():
    large = 2**70
    for who in ([large] * 3 + [large + 1] * 3, [Decimal(large)] * 3 + [Decimal(large + 1)] * 3):
        for make in (dict, pl.DataFrame, lambda columns: pd.DataFrame(columns, dtype=object)):
            assert (str(large), str(large + 1)) == prepared(make({**COLUMNS, "who": who})).user_ids


@pytest.mark.parametrize("unit", ["s", "m", "h", "ms", "us", "ns"])
def test_numpy_times_of_every_unit(unit):
    when = (np.datetime64("2024-01-01", unit) + np.array([3, 2, 1, 4, 5, 6])).astype(f"datetime64[{unit}]")

    assert {"1": ["r", "q", "p"], "2": ["p", "q", "r"]} == spelled(prepared({**COLUMNS, "when": when}))


def test_numpy_times_that_would_wrap_round_are_refused():
    when = np.full(6, 2**62, dtype="datetime64[s]")

    with pytest.raises(DataError, match="column 'when' holds times that lie too far from 1970"):
        prepared({**COLUMNS, "when": when})


def test_the_year_0_is_refused_in_words():
    with pytest.raises(DataError, match="the years 1 to 9999"):
        prepared(pl.DataFrame({**COLUMNS, "when": ["0000-01-01"] * 6}))


def test_ratings_that_are_all_missing_are_no_ratings():
    data = prepared({**COLUMNS, "stars": [None] * 6})

    assert 6 == data.facts["unrated_events"]


@pytest.mark.skipif(not hasattr(pa, "uuid"), reason="this pyarrow has no column of UUIDs")
def test_arrow_uuids_are_their_text():
    who = pa.array([uuid.UUID(int=n).bytes for n in (1, 1, 1, 2, 2, 2)], pa.uuid())

    data = prepared(pa.table({**COLUMNS, "who": who}))

    assert (str(uuid.UUID(int=1)), str(uuid.UUID(int=2))) == data.user_ids


@pytest.mark.parametrize("kind", [object, "str", "category"])
def test_blanks_around_ids_are_told_of(kind):
    frame = pd.DataFrame({**COLUMNS, "who": pd.Series(["1", " 1", "1", "2", "2 ", "2"], dtype=kind)})

    data = prepared(frame)

    assert ("1", "2") == data.user_ids
    assert any("2 rows had blanks around the user" in note for note in data.facts["notes"])


def test_categories_that_no_row_has_count_for_nothing():
    who = pd.Categorical([1.0, 1.0, 1.0, 2.0, 2.0, 2.0], categories=[1.5, 1.0, 2.0])

    assert ("1", "2") == prepared({**COLUMNS, "who": who}).user_ids
