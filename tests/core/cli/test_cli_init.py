from __future__ import annotations

from pathlib import Path

import pytest
import tomli
from click.testing import CliRunner

from lwa_core.cli import main
from lwa_core.cli.init import recipe_text
from lwa_core.plugins.registry import Registry
from lwa_core.recipe.reader import check_recipe
from lwa_core.settings import describe

SITES = Path(__file__).parents[2] / "plugins"


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(SITES / "good")


def lwa(*arguments: str):
    return CliRunner().invoke(main, arguments)


@pytest.mark.parametrize("data", ["synthetic", "movielens", "sequences", "atomic", "reviews", "table", "ledger"])
def test_the_recipe_is_sound_for_every_dataset(data):
    assert 0 == lwa("init", "mine.toml", "--data", data).exit_code
    recipe, problems = check_recipe(Path("mine.toml"))
    assert [] == problems
    assert ("mine", data) == (recipe.name, recipe.data.component)


def test_every_setting_is_there_and_each_comment_can_be_uncommented():
    registry = Registry.discover()
    text = recipe_text(registry, "mine", "synthetic")
    lines = [line.removeprefix("# ") if " = " in line and line.startswith("# ") else line for line in text.split("\n")]
    document = tomli.loads("\n".join(lines))
    cls = registry.find("recommender", "sequential").load()
    assert {each["name"]: each["default"] for each in describe(cls)} == {
        name: value for name, value in document["recommender"].items() if name != "use"
    }


def test_the_default_file_is_named_and_never_overwritten():
    assert "wrote recipe.toml; next: lwa check recipe.toml, then lwa run recipe.toml\n" == lwa("init").stderr
    before = Path("recipe.toml").read_text("utf-8")
    done = lwa("init", "recipe.toml", "--data", "movielens")
    assert (1, True) == (done.exit_code, done.stderr.startswith("error: recipe.toml is there already\n"))
    assert before == Path("recipe.toml").read_text("utf-8")


def test_a_dash_prints_the_recipe():
    done = lwa("init", "-")
    assert (0, "my-run", "") == (done.exit_code, tomli.loads(done.stdout)["name"], done.stderr)


def test_a_file_name_that_cannot_be_a_run_name():
    assert 0 == lwa("init", "my recipe.toml").exit_code
    assert "my-run" == tomli.loads(Path("my recipe.toml").read_text("utf-8"))["name"]


def test_an_unknown_dataset():
    done = lwa("init", "--data", "movielense")
    assert (4, True) == (done.exit_code, "did you mean 'movielens'?" in done.stderr)
    assert not Path("recipe.toml").exists()


def test_a_folder_that_is_not_there():
    done = lwa("init", "gone/recipe.toml")
    assert (7, True) == (done.exit_code, "cannot write gone/recipe.toml" in done.stderr)
