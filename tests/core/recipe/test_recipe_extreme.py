"""Documents that go too far in one way: each is refused at its place, and never with anything but words."""

from __future__ import annotations

from pathlib import Path

import pytest

from lwa_core.errors import Problem
from lwa_core.recipe.document import DEEPEST, MOST_VALUES
from lwa_core.recipe.locate import MOST_SHOWN, render
from lwa_core.recipe.reader import check_recipe

BASE = (Path(__file__).parents[3] / "recipes" / "quickstart.toml").read_text("utf-8")
LAST = BASE.count("\n")
MANY = [DEEPEST + 1, 100, 500, 1000, 1500, 20_000]


@pytest.fixture
def told(tmp_path):
    """Code, line and column of every problem."""

    def check(text: str | bytes, *overrides: str) -> list[tuple[str, int | None, int | None]]:
        file = tmp_path / "r.toml"
        file.write_bytes(text if isinstance(text, bytes) else text.encode("utf-8"))
        recipe, problems = check_recipe(file, overrides)
        assert (recipe is None) == bool(problems)
        assert len(render(problems)) < 400_000
        return [(problem.code, problem.line, problem.column) for problem in problems]

    return check


def keys(count: int) -> str:
    return ".".join(["a"] * count)


SHAPES = {
    "a dotted key": lambda n: f"{keys(n)} = 1\n",
    "a table": lambda n: f"[{keys(n)}]\nb = 1\n",
    "a list of tables": lambda n: f"[[{keys(n)}]]\nb = 1\n",
    "lists": lambda n: f"x = {'[' * n}{']' * n}\n",
    "inline tables": lambda n: f"x = {'{a = ' * n}1{'}' * n}\n",
    "both": lambda n: f"x = {'[{a = ' * (n // 2 + 1)}1{'}]' * (n // 2 + 1)}\n",
    "lists without end": lambda n: f"x = {'[' * n}\n",
}


@pytest.mark.parametrize("count", MANY)
@pytest.mark.parametrize("shape", SHAPES)
def test_nesting_at_the_end_of_a_recipe(told, shape, count):
    (problem,) = told(BASE + "[more]\n" + SHAPES[shape](count))

    if shape == "lists without end" and problem[0] == "syntax":
        assert count < 500
    else:
        assert ("too-deep", LAST + 2) == problem[:2]


@pytest.mark.parametrize("count", MANY)
@pytest.mark.parametrize(
    "place", ["name", "seed", "plugins", "task", "data.use", "score.0.name", "recommender.layers", "unheard.of"]
)
def test_nesting_where_something_else_is_expected(told, place, count):
    value = "[" * count + "]" * count

    assert {None} == {line for _, line, _ in told(BASE, f"{place}={value}")}
    assert ["bad-override"] == [code for code, *_ in told(BASE, f"{place}.{keys(count)}=1")]


def test_an_override_is_blamed_for_the_table_that_it_made(told):
    assert [("unknown-setting", None, None)] == told(BASE, "unheard.of=1")
    assert [("unknown-setting", None, None)] * 2 == told(BASE, "unheard.of=1", "data.unheard.of=1")


def test_as_deep_as_is_allowed(told):

    assert "too-deep" not in {code for code, *_ in told(f"x = {'[' * (DEEPEST - 1)}{']' * (DEEPEST - 1)}\n" + BASE)}
    assert "too-deep" in {code for code, *_ in told(f"x = {'[' * (DEEPEST + 1)}{']' * (DEEPEST + 1)}\n" + BASE)}


@pytest.mark.parametrize("digits", [20, 400, 4300, 4301, 5000, 100_000])
def test_integers_of_many_digits(told, digits):
    text = BASE.replace("seed = 0", "").replace("[data]", f"seed = {'9' * digits}\n\n[data]", 1)
    line = text[: text.index("seed = 99")].count("\n") + 1

    (problem,) = told(text)
    assert ("syntax" if digits > 4300 else "out-of-range", line) == problem[:2]
    assert ["out-of-range"] == [code for code, *_ in told(text.replace("9" * digits, "0x" + "f" * digits))]


@pytest.mark.parametrize("written", ["9" * 5000, "0x" + "f" * 5000, "-" + "9" * 400, "0b" + "1" * 100])
@pytest.mark.parametrize("place", ["name", "task", "device", "data.use", "score.0.use", "calibration.examples"])
def test_an_integer_of_many_digits_wherever_it_stands(told, place, written):
    assert told(BASE, f"{place}={written}")


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("~nouser-of-this-machine/x.py", "bad-path"),
        ("a\\u0000b.py", "bad-path"),
        ("a" * 300, "bad-path"),
        ("a/" * 3000, "bad-path"),
        ("", "broken-plugin"),
        (".", "broken-plugin"),
        ("gone.py", "broken-plugin"),
        ("/dev/zero", "broken-plugin"),
        ("/proc/self/mem", "broken-plugin"),
    ],
)
def test_paths_of_plugins_that_are_none(told, path, code):
    assert [(code, 1, 12)] == told(f'plugins = ["{path}"]\n' + BASE)[:1]


@pytest.mark.parametrize("path", ["~nouser-of-this-machine/x", "a\\u0000b", "a" * 300, "a/" * 3000])
def test_paths_of_data_that_are_none(told, path):
    text = f'name = "x"\n[data]\nuse = "movielens"\npath = "{path}"\n[recommender]\nuse = "sequential"\n'

    assert [("bad-path", 4, 8)] == told(text)


def test_one_plugin_spelt_in_two_ways(told, tmp_path):
    (tmp_path / "a.py").write_text("")

    assert [("duplicate", 1, 20)] == told('plugins = ["a.py", "./a.py"]\n' + BASE)


def test_megabytes(told):
    assert [("too-large", None, None)] == told(b"# " + b"a" * 2_000_000)
    assert [("too-large", 1, 3)] == told("x=[" + "1," * 60_000 + "]")
    assert "too-large" == told("\n".join(f"k{number} = 1" for number in range(MOST_VALUES + 1)))[0][0]
    assert "too-large" == told(BASE + "\n[[score]]\nuse = 'fisher'\n" * MOST_VALUES)[0][0]
    assert [("unknown-setting", 1, 1)] == told("a" * 1_000_000 + " = 1\n" + BASE)
    assert [("unknown-setting", 1, 1)] == told(f"x = '{'a' * 1_000_000}'\n" + BASE)


def test_what_no_text_is(told):
    assert [("not-utf8", None, None)] == told(b'name = "\xed\xa0\x80"\n')
    assert [("not-utf8", None, None)] == told(BASE.encode("utf-16"))
    assert ["syntax"] == [code for code, *_ in told(BASE + 'x = "\\ud800"\n')]
    assert ["syntax"] == [code for code, *_ in told(BASE + "x\0 = 1\n")]


def test_no_more_problems_are_shown_than_anybody_mends():
    problems = [Problem("a", f"number {number}") for number in range(MOST_SHOWN + 1234)]
    lines = render(problems).split("\n")

    assert (MOST_SHOWN + 1, "… and 1,234 more problems") == (len(lines), lines[-1])
    assert MOST_SHOWN == len(render(problems[:MOST_SHOWN]).split("\n"))
