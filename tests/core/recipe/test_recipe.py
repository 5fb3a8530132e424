from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
import tomli
import tomli_w
from hypothesis import given, settings
from hypothesis import strategies as st

from lwa_core.data.sections import Filter
from lwa_core.errors import RecipeError
from lwa_core.recipe.locate import render
from lwa_core.recipe.reader import check_recipe, load_recipe
from lwa_core.recommendation.sections import Evaluate

TESTS = Path(__file__).parents[2]
SHIPPED = sorted((TESTS.parent / "recipes").glob("*.toml"))

ORCHARD = """\
name = "harvest"

[data]
use = "ledger"
path = "../ledger.txt"

[recommender]
use = "tower"
layers = 3

[[score]]
use = "pick"
name = "sweet"

[[score]]
use = "taste"
power = 2

[select]
use = "prune"
keep = 2

[[compress]]
use = "press"
"""


@pytest.fixture(autouse=True)
def orchard(monkeypatch):
    monkeypatch.syspath_prepend(TESTS / "plugins" / "good")


@pytest.fixture
def write(tmp_path):
    def written(text: str = ORCHARD) -> Path:
        file = tmp_path / "recipe.toml"
        file.write_text(text, encoding="utf-8")
        return file

    return written


def told(file: Path, *overrides: str) -> list[tuple[str, str, int | None]]:
    _, problems = check_recipe(file, overrides)
    return [(problem.code, problem.message, problem.line) for problem in problems]


def test_a_sound_recipe(write, tmp_path):
    recipe = load_recipe(write())
    assert ("harvest", 0, ()) == (recipe.name, recipe.seed, recipe.plugins)
    assert ["ledger", "tower", "sweet", "taste", "prune", "press"] == [use.name for use in recipe.uses]
    assert ["ledger", "tower", "pick", "taste", "prune", "press"] == [use.component for use in recipe.uses]
    assert tmp_path / "../ledger.txt" == recipe.data.instance.path
    assert {"path": "../ledger.txt", "columns": {}, "since": None} == recipe.data.settings
    assert {"taste": "sweet", "power": 2.0, "exact": False} == recipe.scorers[1].settings
    assert (("score", 1), "scorer") == (recipe.scorers[1].path, recipe.scorers[1].kind)
    assert (Filter(), Evaluate()) == (recipe.filter, recipe.evaluate)


def test_resolved_holds_every_key_and_survives_json_and_toml(write):
    resolved = load_recipe(write()).resolved()
    assert resolved == json.loads(json.dumps(resolved)) == tomli.loads(tomli_w.dumps(resolved))
    assert {"use": "tower", "layers": 3, "rates": [0.1, 0.2], "form": "wide"} == resolved["recommender"]
    assert {"duplicates": "first", "user_core": 1, "item_core": 1} == resolved["filter"]
    expected = {
        "kind": "recommender",
        "name": "tower",
        "component": "tower",
        "component_version": 3,
        "plugin": "lwa-orchard",
        "distribution": "lwa-orchard",
        "version": "1.2.0",
    }
    assert expected == resolved["components"][1]


def test_resolved_is_a_recipe_that_resolves_to_itself(write):
    resolved = load_recipe(write()).resolved()
    components = resolved.pop("components")
    again = load_recipe(write(tomli_w.dumps(resolved))).resolved()
    assert {**resolved, "components": components} == again


def test_lines(write):
    recipe = load_recipe(write(), ["filter.user_core=3"])
    lines = [("name",), ("data",), ("data", "path"), ("score", 1), ("score", 1, "power"), ("score", 1, "exact")]
    assert [1, 3, 5, 15, 17, 15] == [recipe.line(path) for path in lines]
    assert [None, None] == [recipe.line(path) for path in [("filter", "user_core"), ("evaluate",)]]


@pytest.mark.parametrize(
    ("override", "where", "value"),
    [
        ("seed=7", ("seed",), 7),
        ("select.keep=1", ("select", "keep"), 1),
        ("select.keep=[2, 1]", ("select", "keep"), [2, 1]),
        ("score.0.power=3", ("score", 0, "power"), 3.0),
        ("score.sweet.power=3", ("score", 0, "power"), 3.0),
        ("score.taste.taste=sour", ("score", 1, "taste"), "sour"),
        ("score.taste.taste='sour'", ("score", 1, "taste"), "sour"),
        ("compress.press.bits=8", ("compress", 0, "bits"), 8),
        ("filter.user_core=5", ("filter", "user_core"), 5),
        ("data.path=/some where/x=y", ("data", "path"), "/some where/x=y"),
        ('data.columns."a.b"="c d"', ("data", "columns"), {"a.b": "c d"}),
        ("name=other", ("name",), "other"),
    ],
)
def test_overrides(write, override, where, value):
    found = load_recipe(write(), [override]).resolved()
    for step in where:
        found = found[step]
    assert value == found


def test_the_last_override_wins_and_can_change_what_is_used(write):
    recipe = load_recipe(write(), ["select.keep=1", "select.keep=3", "select.by=pear", "score.0.name=pear"])
    assert ({"keep": 3, "by": "pear", "against": []}, "pear") == (recipe.select.settings, recipe.scorers[0].name)


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        (
            "select.kep=4",
            "error[unknown-setting]: unknown setting 'kep' for selector 'prune'\n  = did you mean 'keep'?",
        ),
        (
            "select.keep=[4",
            "error[wrong-type]: 'keep' must be an integer or a list of integers, not the string '[4'",
        ),
        ("score.0.power=0", "error[out-of-range]: 'power' must be above 0.0, not 0"),
        ("score.9.power=1", "error[bad-override]: no entry of 'score' is called '9'; there are: 0 (sweet), 1 (taste)"),
        ("score.sour.power=1", "error[bad-override]: no entry of 'score' is called 'sour'"),
        ("select", "error[bad-override]: '=' and a value are missing"),
        ("=4", "error[bad-override]: '' is no key"),
        ("a b=4", "error[bad-override]: 'a b' is no key"),
        ("x=1\ny=1", "error[unknown-setting]: unknown key 'x'"),
        ("x = 1\ny=1", "error[unknown-setting]: unknown key 'x'"),
        ("[select]\nkeep=1", "error[bad-override]: '[select]\\nkeep' is no key"),
        ("select.keep.deep=1", "error[bad-override]: 'select.keep' is no table"),
        ("name=a/b", "error[bad-name]: 'a/b' cannot be a name"),
        ("select.by=sour", "error[unknown-name]: 'by' names no [[score]]: 'sour'\n  = there are: sweet, taste"),
        ("compress.0.name=7", "error[wrong-type]: 'name' must be a string, not the integer 7"),
    ],
)
def test_an_override_is_blamed_for_what_it_breaks(write, override, expected):
    _, problems = check_recipe(write(), [override])
    assert 1 == len(problems)
    shown = " ".join(override.split("\n"))  # one problem, one line
    assert render(problems).startswith(f"--set {shown}: {expected}")


def test_a_problem_of_the_file_is_still_at_its_line_where_an_override_changes_what_is_used(write):
    assert [("unknown-setting", "unknown setting 'keep' for selector 'budget'", 21)] == told(
        write(), "select.use=budget"
    )


def test_load_recipe_raises_all_problems_rendered(write):
    file = write(ORCHARD.replace("layers = 3", "layers = 0").replace("keep = 2", "keep = 0"))
    with pytest.raises(RecipeError) as caught:
        load_recipe(file)
    assert [9, 21] == [problem.line for problem in caught.value.problems]
    assert render(caught.value.problems) == str(caught.value)
    assert str(caught.value).startswith(f"{file}:9:10: error[out-of-range]: 'layers' must be at least 1, not 0\n  9 | ")


LOCAL = """\
import attrs
from lwa_core import Component, hookimpl, setting

@attrs.frozen
class Local:
    weight: float = setting(1.0, help="weight")

@hookimpl
def lwa_scorers():
    return [Component("local", Local)]
"""


def with_local(write) -> Path:
    file = write('plugins = ["./mine.py"]\n' + ORCHARD.replace('use = "pick"', 'use = "local"'))
    (file.parent / "mine.py").write_text(LOCAL)
    return file


def test_a_local_plugin_is_loaded_and_its_content_is_known(write):
    recipe = load_recipe(with_local(write))
    provider = recipe.scorers[0].offer.provider
    assert ("mine", None, None) == (provider.name, provider.distribution, provider.version)
    assert hashlib.sha256(LOCAL.encode()).hexdigest() == provider.digest
    assert provider.digest == recipe.resolved()["components"][2]["sha256"]
    assert (provider,) == recipe.registry.local_files


def test_a_changed_local_plugin_is_loaded_anew(write):
    file = with_local(write)
    before = load_recipe(file).scorers[0]
    (file.parent / "mine.py").write_text(LOCAL.replace("1.0", "2.0"))
    after = load_recipe(file).scorers[0]
    assert (1.0, 2.0) == (before.instance.weight, after.instance.weight)
    assert before.offer.provider.digest != after.offer.provider.digest


def test_local_plugins_can_be_forbidden_and_are_then_not_run(write):
    file = with_local(write)
    (file.parent / "mine.py").write_text("raise AssertionError('was run')")
    _, problems = check_recipe(file, allow_local=False)
    assert ("local-plugin", 1, 12) == (problems[0].code, problems[0].line, problems[0].column)


def test_a_blocked_plugin_is_named_where_a_component_is_missing(write):
    _, problems = check_recipe(write(), block=["lwa-orchard"])
    assert {"unknown-component"} == {problem.code for problem in problems}
    assert all("lwa-orchard 1.2.0 is blocked" in str(problem.hint) for problem in problems)


def test_a_large_file_is_refused(tmp_path):
    file = tmp_path / "big.toml"
    file.write_bytes(b"#" * (1 << 20) + b"\n")
    assert [("too-large", "larger than 1 MiB, which no recipe is", None)] == told(file)


def test_what_is_no_file(tmp_path):
    assert [("no-file", "there is no such file", None)] == told(tmp_path / "gone.toml")
    assert [("not-a-file", "this is a folder, not a recipe", None)] == told(tmp_path)
    assert "no-file" == told(Path("nul\0byte"))[0][0]


@settings(max_examples=200, deadline=None)
@given(st.text())
def test_no_text_whatever_raises(tmp_path_factory, text):
    file = tmp_path_factory.getbasetemp() / "any.toml"
    file.write_text(text, encoding="utf-8", errors="replace")
    recipe, problems = check_recipe(file)
    assert recipe is None
    assert render(problems)
