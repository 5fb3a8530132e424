from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import attrs
import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lwa_core.settings import describe, did_you_mean, fields, json_schema, setting, structure, unstructure


@attrs.frozen
class Everything:
    """One setting of every type."""

    count: int = setting(help="how many", minimum=1, maximum=9)
    rate: float = setting(0.5, help="a share", unit="1", above=0.0)
    flag: bool = setting(False, help="on or off")
    word: str = setting("red", help="a colour", choices=("red", "blue"))
    keep: int | tuple[int, ...] = setting((4, 2), help="layers", minimum=1)
    maybe: int | None = setting(None, help="left out is off")
    number: int | float = setting(1, help="either")
    names: list[str] = setting(attrs.Factory(list), help="names")
    columns: dict[str, str] = setting(attrs.Factory(dict), help="columns")
    nested: dict[str, dict[str, int]] = setting(attrs.Factory(dict), help="tables in tables")
    literal: Literal["a", 1] = setting("a", help="one of two")
    folder: Path = setting(Path("x"), help="a folder", path=True)
    paths: tuple[str, ...] = setting((), help="files", path=True)
    whatever: Any = setting(0, help="anything")
    sequence: Sequence[float] = setting((), help="numbers")


def problems(table: Any, cls: type = Everything) -> list[tuple[str, tuple[Any, ...], str]]:
    found, wrong = structure(cls, table, ("top",))
    assert (found is None) == bool(wrong)
    return [(problem.code, problem.path, problem.message) for problem in wrong]


def said(table: dict[str, Any]) -> list[str]:
    return [message for _, _, message in problems({"count": 1, **table})]


def test_values_of_the_right_type_are_taken():
    table = {
        "count": 3,
        "rate": 2,
        "flag": True,
        "keep": [3, 1],
        "maybe": 7,
        "number": 2,
        "names": ["a"],
        "columns": {"user": "u"},
        "nested": {"a": {"b": 1}},
        "literal": 1,
        "sequence": [1, 2.5],
        "whatever": {"a": [1]},
    }
    found, wrong = structure(Everything, table, ())
    assert [] == wrong
    expected = Everything(
        count=3,
        rate=2.0,
        flag=True,
        keep=(3, 1),
        maybe=7,
        number=2,
        names=["a"],
        columns={"user": "u"},
        nested={"a": {"b": 1}},
        literal=1,
        sequence=(1.0, 2.5),
        whatever={"a": [1]},
    )
    assert expected == found
    assert (float, int, float) == (type(found.rate), type(found.number), type(found.sequence[0]))


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"count": "2"}, "'count' must be an integer, not the string '2'"),
        ({"count": True}, "'count' must be an integer, not true"),
        ({"count": 2.0}, "'count' must be an integer, not the number 2.0"),
        ({"rate": "0.5"}, "'rate' must be a number, not the string '0.5'"),
        ({"rate": False}, "'rate' must be a number, not false"),
        ({"flag": 1}, "'flag' must be true or false, not the integer 1"),
        ({"word": 3}, "'word' must be a string, not the integer 3"),
        ({"keep": "4"}, "'keep' must be an integer or a list of integers, not the string '4'"),
        ({"keep": [4, True]}, "'keep[1]' must be an integer, not true"),
        ({"maybe": []}, "'maybe' must be an integer, not a list"),
        ({"names": "abc"}, "'names' must be a list of strings, not the string 'abc'"),
        ({"columns": {"user": 1}}, "'columns.user' must be a string, not the integer 1"),
        ({"columns": ["user"]}, "'columns' must be a table of strings, not a list"),
        ({"nested": {"a": {"b": "1"}}}, "'nested.a.b' must be an integer, not the string '1'"),
        ({"literal": True}, "'literal' must be 'a' or 1, not true"),
        ({"folder": 1}, "'folder' must be a path, not the integer 1"),
        ({"word": "x" * 50}, f"'word' must be one of 'red', 'blue', not {'x' * 37 + '...'!r}"),
    ],
)
def test_nothing_is_coerced(table, message):
    assert [message] == said(table)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"count": 0}, "'count' must be at least 1, not 0"),
        ({"count": 10}, "'count' must be at most 9, not 10"),
        ({"rate": 0}, "'rate' must be above 0.0, not 0"),
        ({"rate": float("nan")}, "'rate' must be a finite number, not nan"),
        ({"rate": float("inf")}, "'rate' must be a finite number, not inf"),
        ({"rate": 2**53 + 1}, "'rate' is too large an integer to become a number without loss"),
        ({"rate": 10**400}, "'rate' is too large an integer to become a number without loss"),
        ({"keep": []}, "'keep' must not be empty"),
        ({"keep": [2, 0, 3]}, "'keep[1]' must be at least 1, not 0"),
        ({"word": "rad"}, "'word' must be one of 'red', 'blue', not 'rad'"),
    ],
)
def test_bounds_and_choices(table, message):
    assert [message] == said(table)


def test_everything_wrong_is_said_at_once_with_its_path():
    table = {"cuont": 3, "rate": "1", "keep": [0, "x"], "columns": {"a": 1, "b": 2}, "zzz": 1}
    expected = [
        ("unknown-setting", ("top", "cuont"), "unknown setting 'cuont'"),
        ("unknown-setting", ("top", "zzz"), "unknown setting 'zzz'"),
        ("wrong-type", ("top", "rate"), "'rate' must be a number, not the string '1'"),
        ("wrong-type", ("top", "keep", 1), "'keep[1]' must be an integer, not the string 'x'"),
        ("out-of-range", ("top", "keep", 0), "'keep[0]' must be at least 1, not 0"),
        ("wrong-type", ("top", "columns", "a"), "'columns.a' must be a string, not the integer 1"),
        ("wrong-type", ("top", "columns", "b"), "'columns.b' must be a string, not the integer 2"),
    ]
    assert expected == problems(table)


def test_a_missing_setting_is_said_at_the_table():
    assert [("missing-setting", ("top",), "this table needs the setting 'count'")] == problems({})


def test_a_misspelt_setting_is_not_also_missing():
    (problem,) = structure(Everything, {"cont": 1}, ())[1]
    assert ("unknown-setting", "did you mean 'count'?") == (problem.code, problem.hint)


@pytest.mark.parametrize(
    ("table", "hint"),
    [
        ({"count": "2"}, "write 2 without quotes"),
        ({"flag": "True"}, "write true without quotes"),
        ({"rate": "1e-3"}, "write 1e-3 without quotes"),
        ({"word": 3}, 'write it in quotes: "3"'),
        ({"word": "rde"}, "did you mean 'red'?"),
        ({"count": "two"}, None),
        ({"zzz": 1}, f"it has: {', '.join(field.name for field in fields(Everything))}"),
    ],
)
def test_hints(table, hint):
    (problem,) = structure(Everything, {"count": 1, **table}, ())[1]
    assert hint == problem.hint


def test_a_table_must_be_a_table():
    assert [("wrong-type", ("top",), "top must be a table, not the integer 3")] == problems(3)


def test_a_rule_between_settings_is_told_at_the_table():
    @attrs.frozen
    class Pair:
        low: int = setting(0, help="low")
        high: int = setting(1, help="high")

        def __attrs_post_init__(self):
            if self.low > self.high:
                raise ValueError("low must not be above high")

    assert [("not-allowed", ("top",), "low must not be above high")] == problems({"low": 2}, Pair)


def test_a_relative_path_counts_from_the_base_folder(tmp_path):
    table = {"count": 1, "folder": "../data", "paths": ["a", "/b"]}
    found, _ = structure(Everything, table, (), tmp_path)
    assert (tmp_path / "../data", (str(tmp_path / "a"), "/b")) == (found.folder, found.paths)


def test_an_empty_path_stays_empty_and_home_is_known(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", "/home/someone")
    found, _ = structure(Everything, {"count": 1, "folder": "~/x", "paths": [""]}, (), tmp_path)
    assert (Path("/home/someone/x"), ("",)) == (found.folder, found.paths)


def test_unstructure_gives_json_with_all_defaults():
    expected = {
        "count": 1,
        "rate": 0.5,
        "flag": False,
        "word": "red",
        "keep": [4, 2],
        "maybe": None,
        "number": 1,
        "names": [],
        "columns": {},
        "nested": {},
        "literal": "a",
        "folder": "x",
        "paths": [],
        "whatever": 0,
        "sequence": [],
    }
    assert expected == unstructure(Everything(count=1))


TABLES = st.fixed_dictionaries(
    {"count": st.integers(1, 9)},
    optional={
        "rate": st.floats(1e-9, 1e9),
        "flag": st.booleans(),
        "word": st.sampled_from(["red", "blue"]),
        "keep": st.integers(1, 99) | st.lists(st.integers(1, 99), min_size=1),
        "maybe": st.integers(-(2**63), 2**63 - 1),
        "names": st.lists(st.text()),
        "columns": st.dictionaries(st.text(), st.text()),
        "sequence": st.lists(st.floats(-9, 9)),
    },
)


@given(TABLES)
def test_what_is_read_is_what_was_written(table):
    found, wrong = structure(Everything, table, ())
    assert [] == wrong
    assert table == {name: value for name, value in unstructure(found).items() if name in table}


JSON = st.recursive(
    st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=5,
)


@given(st.dictionaries(st.sampled_from([field.name for field in fields(Everything)]) | st.text(), JSON))
def test_no_table_whatever_raises(table):
    problems(table)


@given(TABLES | st.dictionaries(st.sampled_from([field.name for field in fields(Everything)]), JSON))
def test_the_json_schema_agrees_with_the_reader_about_types(table):
    validator = jsonschema.Draft202012Validator(json_schema(Everything))
    if structure(Everything, table, ())[0] is not None:
        assert [] == [error.message for error in validator.iter_errors(table)]


def test_the_json_schema_says_what_the_fields_say():
    schema = json_schema(Everything)
    assert (["count"], False) == (schema["required"], schema["additionalProperties"])
    assert {"type": "integer", "minimum": 1, "maximum": 9, "description": "how many"} == schema["properties"]["count"]
    expected = {"type": "number", "exclusiveMinimum": 0.0, "default": 0.5, "description": "a share [1]"}
    assert expected == schema["properties"]["rate"]
    assert ["red", "blue"] == schema["properties"]["word"]["enum"]


def test_describe():
    told = {each["name"]: each for each in describe(Everything)}
    expected = {
        "name": "count",
        "type": "an integer",
        "required": True,
        "default": None,
        "help": "how many",
        "unit": None,
        "bounds": {"minimum": 1, "maximum": 9},
        "choices": None,
    }
    assert expected == told["count"]
    assert "an integer or a list of integers" == told["keep"]["type"]
    assert ("a list of paths", []) == (told["paths"]["type"], told["paths"]["default"])
    assert "a table of tables of integers" == told["nested"]["type"]


def test_classes_that_cannot_have_settings():
    class Plain:
        pass

    @attrs.frozen
    class Odd:
        z: complex = setting(1j, help="odd")

    @attrs.frozen
    class Lost:
        x: Nowhere = setting(1, help="lost")  # noqa: F821

    for cls, message in ((Plain, "Plain is no attrs class"), (Odd, "type complex"), (Lost, "Nowhere")):
        with pytest.raises(TypeError, match=message):
            fields(cls)


def test_plain_attrs_fields_are_settings_too():
    @attrs.define
    class Plain:
        count: int
        _hidden: str = "x"
        made: int = attrs.field(init=False, default=3)

    found, wrong = structure(Plain, {"count": 1, "hidden": "y"}, ())
    assert (Plain(1, "y"), []) == (found, wrong)
    assert {"count": 1, "hidden": "y"} == unstructure(found)


def test_the_class_checks_itself_when_made_in_python():
    with pytest.raises(ValueError, match="count must be at least 1, not 0"):
        Everything(count=0)


@pytest.mark.parametrize(
    ("word", "expected"), [("bathces", "batches"), ("BATCHES", "batches"), ("us", None), ("lr", None), ("zebra", None)]
)
def test_did_you_mean(word, expected):
    assert expected == did_you_mean(word, ["batches", "by"])
