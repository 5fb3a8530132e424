"""TOML that documents show is what the toolkit reads."""

from __future__ import annotations

import shutil

import pytest
import tomli
import tomli_w
from documents import ROOT, Block, blocks

from lwa_core.bench.document import load_bench
from lwa_core.recipe.reader import check_recipe

EXAMPLE = ROOT / "examples" / "third_party_scorer" / "lwa_gini.py"
BASE = tomli.loads((ROOT / "recipes" / "quickstart.toml").read_text("utf-8"))


@pytest.mark.parametrize("block", blocks("toml"), ids=str)
def test_toml_is_sound(block: Block, tmp_path):
    document = tomli.loads(block.text)
    if "project" in document:  # a part of a pyproject.toml
        assert ["lwa.v1"] == list(document["project"]["entry-points"])
        return
    if "cell" in document:
        (tmp_path / "movies.toml").write_text(tomli_w.dumps(BASE), encoding="utf-8")
        (tmp_path / "bench.toml").write_text(block.text, encoding="utf-8")
        assert load_bench(tmp_path / "bench.toml").cells
        return
    shutil.copy(EXAMPLE, tmp_path)
    file = tmp_path / "recipe.toml"
    whole = {"name", "data", "recommender", "score", "select", "compress"} <= set(document)
    if whole or document.get("task") == "text":
        file.write_text(block.text, encoding="utf-8")
    else:  # a part of a recipe: the rest comes from one that is shipped
        file.write_text(tomli_w.dumps({**BASE, **document}), encoding="utf-8")
    recipe, problems = check_recipe(file)
    assert [] == [problem.message for problem in problems]
    assert recipe is not None


def test_the_readme_shows_a_whole_recipe():
    (block,) = blocks("toml", ROOT / "README.md")
    assert set(BASE) - {"calibration", "evaluate"} == set(tomli.loads(block.text))
