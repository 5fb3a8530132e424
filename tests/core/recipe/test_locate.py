from __future__ import annotations

import tomli
import tomli_w
from hypothesis import example, given, settings
from hypothesis import strategies as st

from lwa_core.errors import Problem
from lwa_core.recipe.locate import Locator, locate, render


def test_places_in_a_document_of_every_form():
    text = (
        'a.b = 1 # é\n"x y" = { in = [1,\n  {"é" = 2}] }\n[t."q.r"]\nk = """one\ntwo"""\n'
        "[[s]]\nv = 1\n[s.o]\nw = 2\n[[s]]\nv = 'ß' # c\n"
    )
    locator = Locator(text)

    def at(*path: str | int, key: bool = False) -> tuple[int, int, int]:
        span = locator.find(path, key)
        return span.line, span.column, span.width

    assert (1, 7, 1) == at("a", "b")
    assert (1, 3, 1) == at("a", "b", key=True)
    assert (2, 1, 5) == at("x y", key=True)
    assert (2, 17, 1) == at("x y", "in", 0)
    assert (3, 10, 1) == at("x y", "in", 1, "é")
    assert (4, 4, 5) == at("t", "q.r")
    assert (5, 5, 6) == at("t", "q.r", "k")
    assert (7, 3, 1) == at("s", 0)
    assert (9, 4, 1) == at("s", 0, "o")
    assert (10, 5, 1) == at("s", 0, "o", "w")
    assert (12, 5, 3) == at("s", 1, "v")
    assert (11, 3, 1) == at("s", 1, "gone")
    assert (1, 1, 1) == at("gone", "far")


DOCUMENTS = st.dictionaries(
    st.text(min_size=1, max_size=4),
    st.recursive(
        st.integers(-9, 9) | st.booleans() | st.text(st.characters(codec="utf-8"), max_size=5),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(min_size=1, max_size=3), inner, max_size=3),
        max_leaves=6,
    ),
    max_size=4,
)


@settings(max_examples=100, deadline=None)
@given(DOCUMENTS)
def test_the_place_of_every_leaf_holds_that_leaf(document):
    text = tomli_w.dumps(document)
    locator = Locator(text)

    def walk(value: object, path: tuple[str | int, ...]) -> None:
        if isinstance(value, dict):
            for key, inner in value.items():
                walk(inner, (*path, key))
        elif isinstance(value, list):
            for place, inner in enumerate(value):
                walk(inner, (*path, place))
        else:
            span = locator.find(path)
            found = locator.source(span.line)[span.column - 1 :][: span.width]
            assert value == tomli.loads(f"v = {found}")["v"]

    walk(document, ())


def test_problems_come_in_file_order_and_those_of_the_command_line_last():
    text = "a = 1\nb = 2\n"
    problems = [Problem("two", "", ("b",)), Problem("set", "", file="--set x=1"), Problem("one", "", ("a",))]
    assert ["one", "two", "set"] == [problem.code for problem in locate(problems, text, "f.toml")]


def test_how_a_problem_reads():
    text = "x = 1\n" * 9 + "[t]\nbathces = 8\n"
    text = text.replace("x", "x{}").format(*range(9))
    problem = Problem("unknown-setting", "unknown setting 'bathces'", ("t", "bathces"), "did you mean?", at_key=True)
    expected = """\
r.toml:11:1: error[unknown-setting]: unknown setting 'bathces'
  11 | bathces = 8
     | ^^^^^^^
     = did you mean?"""
    assert expected == render(locate([problem], text, "r.toml"))


def test_control_characters_of_a_file_never_reach_the_terminal():
    told = render(locate([Problem("c", "m", line=1, column=6)], "a = \x1b[2J", "f"))
    assert "\x1b" not in told
    assert told.endswith("a = \ufffd[2J\n    |      ^")


PIECES = st.sampled_from(
    ["a", '"', "'", "[", "]", "{", "}", "=", ".", ",", "#", "\n", "\r", "\\u0131", "\\", " ", "\0", "é", '"""', "1"]
)


@given(st.lists(PIECES, max_size=14).map("".join))
@example('["\r\\u0131"]')
def test_every_text_has_places_whatever_its_syntax(text):
    """The parser for places takes more for a document than the one that reads it."""
    (problem,) = locate([Problem("a", "b", ("a", 0))], text, "r.toml")

    assert 1 <= problem.line <= 1 + text.count("\n")
