from __future__ import annotations

import json
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lwa_core.json_text import DEEPEST, BadJsonError, parse_json

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


@given(VALUES, st.booleans())
def test_json_is_read_as_the_standard_library_reads_it(value, ascii_only):
    text = json.dumps(value, ensure_ascii=ascii_only)

    assert value == parse_json(text) == parse_json(text.encode())


@pytest.mark.parametrize(
    ("text", "message", "line"),
    [
        ('{"a": 1,\n"b" 2}', "is not JSON: Expecting ':' delimiter at column 5", 2),
        ("", "is not JSON: Expecting value at column 1", 1),
        (b'"\xff"', "is not UTF-8 text (byte 0xff)", 1),
        (b'[1,\n"\xed\xa0\x80"]', "is not UTF-8 text (byte 0xed)", 2),
        ('"\udcff"', "is not UTF-8 text", 1),
        ("[" * 2000, f"is nested more than {DEEPEST} levels deep", 1),
        ("[" * 100_000, f"is nested more than {DEEPEST} levels deep", 1),
        ('{"a":' * 101 + "1" + "}" * 101, f"is nested more than {DEEPEST} levels deep", 1),
        ("9" * 5000, "holds an integer of thousands of digits", 1),
        ("[NaN]", "holds NaN, which JSON does not have", 1),
        ("-Infinity", "holds -Infinity, which JSON does not have", 1),
        ("1e400", "holds a number that is too large: 1e400", 1),
        (r'{"\ud800": 1}', "holds half of a surrogate pair (\\ud800 to \\udfff), which is no character", 1),
        (r'["a\uDFFFb"]', "holds half of a surrogate pair (\\ud800 to \\udfff), which is no character", 1),
    ],
)
def test_what_is_no_json_is_said_in_words(text, message, line):
    with pytest.raises(BadJsonError) as caught:
        parse_json(text)

    assert (message, line) == (caught.value.message, caught.value.line)


def test_what_is_just_allowed():
    assert "\U0001d518" == parse_json(r'"\ud835\udd18"')
    assert [] == parse_json(b"\xef\xbb\xbf[]")
    assert parse_json("[" * DEEPEST + "]" * DEEPEST)
    assert 10 ** (sys.get_int_max_str_digits() - 1) == parse_json("1" + "0" * (sys.get_int_max_str_digits() - 1))


def test_numbers_that_are_missing_are_let_through_where_they_may_stand():
    first, second = parse_json("[NaN, 1e400]", missing=True)

    assert (True, float("inf")) == (first != first, second)
