"""The whole way from events to splits beside a naive one in plain Python, whatever ids look like and slices are."""

from unittest import mock

import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st
from made_events import pairs, spelled

from lwa_core.data import Source, grouping, prepare
from lwa_core.data.sections import Filter, Split
from lwa_core.errors import DataError

USERS, ITEMS = ["1", "10", "07", "2", "1", "10", "", None], ["3", "20", "100", "5", "4", "05", "6", "x", None]
TIMES, RATINGS = [0, 1, 2, 3, 4, None], [3.3, 2.5, 3.3, 2.5, 1.0, None]
ROWS = st.lists(
    st.tuples(*(st.sampled_from(values) for values in (USERS, ITEMS, TIMES, RATINGS))), min_size=20, max_size=40
)
FILTERS = st.builds(
    Filter,
    min_rating=st.sampled_from([None, None, 2.5]),
    duplicates=st.sampled_from(["first", "last", "all"]),
    user_core=st.integers(1, 3),
    item_core=st.integers(1, 2),
)


def in_order(ids):
    """By value where all ids are whole numbers, else by text."""
    if all(name.isdigit() for name in ids):
        return sorted(ids, key=lambda name: (int(name), name))
    return sorted(ids)


def naive(rows, rules):
    """User -> items, the items that are left, and user -> (validation or calibration, test) item, all in order."""
    rows = [[*row] for row in rows if row[0] and row[1] and row[2] is not None]
    if rules.min_rating is not None:
        rows = [row for row in rows if row[3] is not None and row[3] >= rules.min_rating]
    known = [in_order({row[side] for row in rows}) for side in (0, 1)]
    rows = sorted(rows, key=lambda row: row[2])
    if rules.duplicates != "all":
        likes = [[like for like in rows if like[:2] == row[:2]] for row in rows]
        rows = [
            row for row, same in zip(rows, likes, strict=True) if row is same[0 if rules.duplicates == "first" else -1]
        ]
    before = None
    while before != len(rows):
        before = len(rows)
        users, items = ([row[side] for row in rows] for side in (0, 1))
        rows = [r for r in rows if users.count(r[0]) >= rules.user_core and items.count(r[1]) >= rules.item_core]
    left = [[name for name in known[side] if name in {row[side] for row in rows}] for side in (0, 1)]
    users = {user: [row[1] for row in rows if row[0] == user] for user in left[0]}
    return users, left[1], {user: tuple(items[-2:]) for user, items in users.items() if len(items) >= 3}


def source_of(rows, kind):
    schema = {"user": pl.String, "item": pl.String, "timestamp": pl.Float64, "rating": pl.Float64}
    frame = pl.DataFrame(rows, schema=schema, orient="row")
    return Source(frame.with_columns(pl.col("user", "item").cast(kind)).lazy())


@settings(max_examples=50)
@given(ROWS, FILTERS, st.sampled_from([pl.String, pl.Categorical]), st.integers(1, 30))
def test_prepared_data_is_that_of_the_naive_way(rows, rules, kind, slice_rows):
    users, catalogue, held = naive(rows, rules)
    with mock.patch.object(grouping, "ROWS", slice_rows):
        try:
            data = prepare(source_of(rows, kind), rules, Split(), 0)
        except DataError:
            assert len(held) < 2
            return

    assert users == spelled(data)
    assert list(users) == list(data.user_ids)
    assert catalogue == list(data.catalogue.ids)
    assert {(user, test) for user, (_, test) in held.items()} == set(pairs(data, data.test))
    lent = pairs(data, data.validation) + pairs(data, data.calibration)
    assert {(user, earlier) for user, (earlier, _) in held.items()} == set(lent)


@settings(max_examples=50)
@given(ROWS, FILTERS, st.integers(1, 30))
def test_whole_numbers_are_prepared_as_their_texts_are(rows, rules, slice_rows):
    rows = [(user, item, *rest) for user, item, *rest in rows if user not in ("07", "") and item not in ("x", "05")]
    prepared = []
    for kind in (pl.String, pl.Int64):
        with mock.patch.object(grouping, "ROWS", slice_rows):
            try:
                prepared.append(prepare(source_of(rows, kind), rules, Split(), 0))
            except DataError as error:
                prepared.append(str(error))

    texts, numbers = prepared
    if isinstance(texts, str) or isinstance(numbers, str):
        assert texts == numbers
        return
    assert (texts.user_ids, texts.catalogue.ids) == (numbers.user_ids, numbers.catalogue.ids)
    assert texts.items.tolist() == numbers.items.tolist()
    assert (texts.steps, texts.facts) == (numbers.steps, numbers.facts)
