"""One spelling of an id, whatever type it comes in."""

import uuid
from datetime import date
from decimal import Decimal

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lwa_core.data.ids import BLANKS, spell_id, spell_ids
from lwa_core.errors import DataError

WHOLE = st.integers(-(2**53), 2**53)


@given(WHOLE)
def test_whole_numbers_are_spelt_alike_in_every_type(number):
    kinds = [number, str(number), f" {number}\n", float(number), Decimal(number), np.int64(number), np.float64(number)]
    kinds += [np.array(number), Decimal(f"{number}.00")]

    assert {str(number)} == {spell_id(value) for value in kinds}


@given(st.lists(WHOLE, max_size=20))
def test_columns_follow_the_rule_of_single_ids(numbers):
    for values in (numbers, [float(n) for n in numbers], [Decimal(n) for n in numbers], [str(n) for n in numbers]):
        column = spell_ids(pl.Series("item", values, dtype=None if values else pl.Int64))
        assert [spell_id(value) for value in values] == column.cast(pl.String).to_list()


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_text_loses_just_the_blanks_around_it(text):
    found = spell_id(text)

    assert found in text
    assert not set(text.replace(found, "", 1)) - set(BLANKS) if found else not set(text) - set(BLANKS)
    assert found == spell_id(found)


def test_text_of_columns_is_stripped_as_single_text_is():
    texts = [blank + "a" + blank for blank in (*BLANKS, "\u2003", "\x1c")]

    assert [spell_id(text) for text in texts] == pl.Series(texts).str.strip_chars(BLANKS).to_list()


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (True, "True is a truth value, and ids are text or whole numbers"),
        (np.bool_(False), "False is a truth value"),
        (None, "null is no id"),
        (1.5, "1.5 has a fraction"),
        (Decimal("0.5"), "has a fraction"),
        (float("nan"), "nan is no id"),
        (float("inf"), "inf is no id"),
        (2.0**60, "too large for a float"),
        (np.float32(2.0**25), "too large for a float"),
        (np.float16(2.0**12), "too large for a float"),
        (10**40, "more than 128 bits"),
        (b"1", "bytes b'1' is no id"),
        ([1], r"list \[1\] is no id"),
        ({"a": 1}, "dict"),
        (date(2020, 1, 1), "date"),
        ("\ud800", "half of a surrogate pair"),
    ],
)
def test_anything_else_is_refused_by_name(value, said):
    with pytest.raises(DataError, match=said):
        spell_id(value)


def test_a_uuid_is_its_text():
    assert "00000000-0000-0000-0000-000000000007" == spell_id(uuid.UUID(int=7))


@pytest.mark.parametrize("column", [pl.Series("a", [1.5]), pl.Series("a", [2.0**60]), pl.Series("a", [Decimal("1.5")])])
def test_columns_of_fractions_are_refused(column):
    with pytest.raises(DataError, match="column 'a'"):
        spell_ids(column)


@pytest.mark.parametrize(("kind", "most"), [(pl.Float16, 2**11), (pl.Float32, 2**24), (pl.Float64, 2**53)])
def test_floats_are_ids_as_far_as_they_tell_whole_numbers_apart(kind, most):
    assert [most] == spell_ids(pl.Series("a", [most], dtype=kind)).to_list()
    with pytest.raises(DataError, match=r"column 'a': .* is too large"):
        spell_ids(pl.Series("a", [2 * most], dtype=kind))


def test_what_is_no_id_in_a_column_of_objects_has_a_row():
    with pytest.raises(DataError, match=r"column 'a', row 1: 1.5 has a fraction"):
        spell_ids(pl.Series("a", ["x", 1.5], dtype=pl.Object))


@pytest.mark.parametrize("values", [[True], [b"x"], [[1]], [{"a": 1}], [date(2020, 1, 1)]])
def test_columns_of_other_kinds_are_refused(values):
    with pytest.raises(DataError, match=r"column 'a' holds .*; ids are text or whole numbers"):
        spell_ids(pl.Series("a", values))
