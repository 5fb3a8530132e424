"""The shipped recipes are sound, and every one of their keys, deleted or misspelt, is reported where it is."""

from __future__ import annotations

import re
from pathlib import Path

import jsonschema
import pytest
import tomli

from lwa_core.cli.schema import recipe_schema
from lwa_core.plugins.registry import Registry
from lwa_core.recipe.reader import check_recipe
from lwa_core.recipe.recipe import Recipe

SHIPPED = sorted((Path(__file__).parents[3] / "recipes").glob("*.toml"))


def told(file: Path) -> list[tuple[str, str, int | None]]:
    _, problems = check_recipe(file)
    return [(problem.code, problem.message, problem.line) for problem in problems]


KEY = re.compile(r"^([a-z_]+) *=", re.MULTILINE)


def keys(text: str) -> list[tuple[int, str]]:
    """Line (0-based) and name of every key; the recipes hold one key a line."""
    return [(text.count("\n", 0, match.start()), match.group(1)) for match in KEY.finditer(text)]


def header(lines: list[str], line: int) -> int:
    """Line (1-based) of the table around a line (0-based), 1 at the top."""
    return next((number + 1 for number in range(line, -1, -1) if lines[number].startswith("[")), 1)


def cases() -> list[object]:
    return [
        pytest.param(file, line, key, id=f"{file.stem}-{line + 1}-{key}")
        for file in SHIPPED
        for line, key in keys(file.read_text("utf-8"))
    ]


def test_recipes_are_shipped_and_sound():
    assert {"amazon-beauty", "giftcards", "ml-100k", "ml-1m", "quickstart"} <= {file.stem for file in SHIPPED}
    for file in SHIPPED:
        recipe, problems = check_recipe(file)
        assert [] == problems
        assert isinstance(recipe, Recipe)
        assert file.stem == recipe.name


@pytest.mark.parametrize(("file", "line", "key"), cases())
def test_a_misspelt_key_is_reported_at_its_line(file, line, key, tmp_path):
    lines = file.read_text("utf-8").split("\n")
    lines[line] = lines[line].replace(key, key[1:] + "q", 1)
    copy = tmp_path / file.name
    copy.write_text("\n".join(lines), encoding="utf-8")
    assert ("unknown-setting", line + 1) in [(code, at) for code, _, at in told(copy)] or (
        key == "use" and ("missing-setting", header(lines, line)) in [(code, at) for code, _, at in told(copy)]
    )


@pytest.mark.parametrize(("file", "line", "key"), cases())
def test_a_deleted_key_is_reported_at_its_table_or_has_a_default(file, line, key, tmp_path):
    lines = file.read_text("utf-8").split("\n")
    lines[line] = ""
    copy = tmp_path / file.name
    copy.write_text("\n".join(lines), encoding="utf-8")
    problems = told(copy)
    table = tomli.loads(copy.read_text("utf-8"))
    if key in ("use", "name", "path", "keep") and table:
        codes = {code for code, _, at in problems if at == header(lines, line)}
        assert codes & {"missing-setting", *(["not-allowed"] if key == "keep" else [])}  # a budget would do for keep
    # Without `layers` the model has fewer, and a selector that is to keep more is told so at its own line.
    assert {header(lines, line)} >= {at for code, _, at in problems if code != "too-many-layers" or key != "layers"}


@pytest.mark.parametrize("file", SHIPPED, ids=lambda file: file.stem)
def test_a_misspelt_table_is_reported_at_its_line(file, tmp_path):
    text = file.read_text("utf-8")
    for match in re.finditer(r"^\[+([a-z]+)", text, re.MULTILINE):
        copy = tmp_path / file.name
        copy.write_text(text[: match.start(1)] + "q" + text[match.start(1) :], encoding="utf-8")
        assert ("unknown-setting", text.count("\n", 0, match.start()) + 1) in [(c, at) for c, _, at in told(copy)]


@pytest.mark.parametrize("file", SHIPPED, ids=lambda file: file.stem)
def test_shipped_recipes_fit_the_schema_and_bad_ones_do_not(file):
    schema = recipe_schema(Registry.discover())
    jsonschema.Draft202012Validator.check_schema(schema)
    document = tomli.loads(file.read_text("utf-8"))
    validator = jsonschema.Draft202012Validator(schema)
    assert [] == [error.message for error in validator.iter_errors(document)]
    for broken in (
        {**document, "sead": 1},
        {**document, "filter": {"user_core": 0}},
        {**document, "select": {**document["select"], "kep": 1}},
        {**document, "score": [{"use": "fischer"}]},
        {key: value for key, value in document.items() if key != "data"},
        {key: value for key, value in document.items() if key != "select"},
        {**document, "task": "text"},
        {**document, "texts": {"path": "a.txt"}},
    ):
        assert not validator.is_valid(broken)
    needed = {key: document[key] for key in ("name", "data", "recommender")}
    assert validator.is_valid(needed)
    assert validator.is_valid({**needed, "score": document["score"]})
