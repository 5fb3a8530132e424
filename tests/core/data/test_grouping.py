from unittest import mock

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lwa_core.data import gather_blocks, grouping
from lwa_core.data.coding import number_ids
from lwa_core.data.grouping import counts, grouped, offsets_of, orders_within

GROUPS = st.lists(st.lists(st.integers(-9, 9), max_size=7), min_size=1, max_size=9)
ROWS = st.integers(1, 20)


@given(st.lists(st.integers(0, 5), max_size=40), ROWS)
def test_counts_are_those_of_a_list(codes, rows):
    with mock.patch.object(grouping, "ROWS", rows):
        found = counts(np.array(codes, dtype=np.int32), 6)

    assert [codes.count(code) for code in range(6)] == found.tolist()


@given(st.lists(st.integers(0, 5), max_size=40))
def test_rows_are_grouped_as_a_stable_sort_has_them(codes):
    expected = sorted(range(len(codes)), key=lambda row: codes[row])

    assert expected == grouped(np.array(codes, dtype=np.int32), 6).tolist()


@pytest.mark.parametrize("scale", [1, 2**40, 2**59])  # of the last, group, value and place do not fit into 63 bits
@given(GROUPS, ROWS)
def test_groups_are_sorted_stably(scale, groups, rows):
    values = np.array([scale * value for group in groups for value in group], dtype=np.int64)
    found = np.arange(len(values))
    with mock.patch.object(grouping, "ROWS", rows):
        for part, order in orders_within(offsets_of(np.array([len(group) for group in groups])), values):
            found[part] = found[part][order]

    owners = [owner for owner, group in enumerate(groups) for _ in group]
    assert sorted(range(len(values)), key=lambda row: (owners[row], values[row])) == found.tolist()


@given(
    st.lists(st.one_of(st.none(), st.integers(-3, 3), st.sampled_from([10**9, -(10**18), 2**63 - 1])), max_size=30),
    st.sampled_from([pl.Int64, pl.String, pl.Categorical, pl.Enum]),
    ROWS,
)
def test_numbered_ids_spell_the_same_texts(values, kind, rows):
    texts = [None if value is None else str(value) for value in values]
    ids = pl.Series(values, dtype=pl.Int64)
    if kind is not pl.Int64:
        ids = pl.Series(texts, dtype=pl.Enum(sorted({*texts} - {None})) if kind is pl.Enum else kind)
    with mock.patch.object(grouping, "ROWS", rows):
        codes, distinct = number_ids(ids)

    assert texts == [None if code < 0 else distinct[int(code)] for code in codes]
    assert sorted({*texts} - {None}) == sorted(distinct.to_list())


def test_the_largest_unsigned_ids_keep_their_texts():
    codes, distinct = number_ids(pl.Series([2**64 - 1, 0, 2**64 - 1], dtype=pl.UInt64))

    assert [str(2**64 - 1), "0", str(2**64 - 1)] == [distinct[int(code)] for code in codes]


BLOCKS = st.lists(
    st.lists(
        st.tuples(st.sampled_from(["7", "07", "a", "", None]), st.one_of(st.none(), st.floats(width=64))), max_size=6
    ),
    min_size=1,
    max_size=4,
)


@given(BLOCKS)
def test_gathered_blocks_hold_the_same_values(blocks):
    schema = {"user": pl.String, "timestamp": pl.Float64}
    frames = [pl.DataFrame(block, schema=schema, orient="row") for block in blocks]

    found = gather_blocks(frames)

    assert pl.concat(frames).equals(found.with_columns(pl.col("user").cast(pl.String)).cast(schema))


def test_gathered_blocks_are_small():
    frame = pl.DataFrame({"user": ["u1", "u2"], "item": [1, 2], "rating": [0.5, 1.0], "timestamp": [1.6e9, 1.7e9]})

    found = gather_blocks([frame, frame])

    assert [pl.Categorical, pl.Int32, pl.Float32, pl.Int32] == found.dtypes


def test_whole_numbers_become_texts_where_a_later_block_has_texts():
    first, second = (pl.DataFrame({"user": ids, "item": ["i"]}) for ids in ([7], ["07"]))

    assert ["7", "07"] == gather_blocks([first, second])["user"].cast(pl.String).to_list()
