from __future__ import annotations

import json
import unicodedata

import tomli
from hypothesis import example, given
from hypothesis import strategies as st

from lwa_core.printable import one_line, printable

TEXTS = st.text(st.characters(exclude_categories=[]), max_size=20)
OBEYED = {"Cc", "Cs", "Zl", "Zp"}
"""Categories of characters that terminals obey, of every one of which nothing may be left."""

DIRECTIONS = {"\u061c", "\u200e", "\u200f", *map(chr, range(0x202A, 0x202F)), *map(chr, range(0x2066, 0x206A))}
"""Marks by which text is shown in another order (Unicode TR9, table of bidirectional formatting characters)."""


def left(text: str) -> set[str]:
    return {c for c in text if c in DIRECTIONS or unicodedata.category(c) in OBEYED}


@given(TEXTS)
@example("\x1b]0;title\x07\x9b31m")
@example("\u202eabc\u2066\u2028\r")
def test_nothing_that_a_terminal_obeys_is_left(text):
    assert left(printable(text)) <= {"\n", "\t"}
    assert set() == left(one_line(text))


@given(st.text(st.characters(exclude_categories=["Cc", "Cf", "Cs", "Zl", "Zp"]) | st.sampled_from("\n\t\u200d\u200c")))
def test_plain_text_stays_as_it_is(text):
    assert text == printable(text)


@given(TEXTS)
def test_to_clean_twice_changes_nothing_more(text):
    assert printable(text) == printable(printable(text))
    assert one_line(text) == one_line(one_line(text))


def test_numbers_are_spelt_as_json_and_toml_spell_them():
    held = "a\x1b[2J\x7f\x85\u202e"
    written = printable(json.dumps(held, ensure_ascii=False))

    assert '"a\\u001b[2J\\u007f\\u0085\\u202e"' == written
    assert held == json.loads(written) == tomli.loads(f"x = {written}")["x"]


def test_one_line_of_several():
    assert "first second third" == one_line("first\n  second\r\n\tthird")
    assert "a b" == one_line("a\u2028b".replace("\u2028", "\n"))
    assert "" == one_line("")
