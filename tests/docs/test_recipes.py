"""TOML that documents show is what the toolkit reads."""

from __future__ import annotations

import re
import shutil

import attrs
import pytest
import tomli
import tomli_w
from documents import ROOT, Block, blocks

from lwa_core.bench.document import load_bench
from lwa_core.cli.init import recipe_text
from lwa_core.plugins.registry import Registry
from lwa_core.recipe.profiles import Limits, find_profile
from lwa_core.recipe.reader import check_recipe
from lwa_core.study.document import load_study

EXAMPLE = ROOT / "examples" / "third_party_scorer" / "lwa_gini.py"
BASE = tomli.loads((ROOT / "recipes" / "quickstart.toml").read_text("utf-8"))
SHALLOW = {**BASE, "select": {"use": "greedy", "keep": 1}}  # whatever the depth of the model that is shown


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
    if "vary" in document:
        layered = {**SHALLOW, "recommender": {**BASE["recommender"], "layers": 2}}
        (tmp_path / "movies.toml").write_text(tomli_w.dumps(layered), encoding="utf-8")
        (tmp_path / "study.toml").write_text(block.text, encoding="utf-8")
        assert load_study(tmp_path / "study.toml").cells
        return
    if set(document) <= {field.name for field in attrs.fields(Limits)}:
        (tmp_path / "phone.toml").write_text(block.text, encoding="utf-8")
        assert find_profile("phone.toml", tmp_path).limits == Limits(**document)
        return
    shutil.copy(EXAMPLE, tmp_path)
    (tmp_path / "phone.toml").write_text("memory_mb = 80\n", encoding="utf-8")
    file = tmp_path / "recipe.toml"
    whole = {"name", "data", "recommender", "score", "select", "compress"} <= set(document)
    if whole or document.get("task") == "text":
        file.write_text(block.text, encoding="utf-8")
    else:  # a part of a recipe: the rest comes from one that is shipped
        layered = document.get("recommender", {}).get("use") != "transitions"
        rest = {
            name: table for name, table in SHALLOW.items() if layered or name not in ("score", "select", "compress")
        }
        file.write_text(tomli_w.dumps({**rest, **document}), encoding="utf-8")
    recipe, problems = check_recipe(file)
    assert [] == [problem.message for problem in problems]
    assert recipe is not None


def test_the_readme_shows_a_whole_recipe():
    block = blocks("toml", ROOT / "README.md")[0]
    assert set(BASE) - {"calibration", "evaluate"} == set(tomli.loads(block.text))


def test_init_writes_what_the_guide_advises():
    """The scorers, utility, selector and steps of `lwa init` are those of the guide, which says why."""
    guide = (ROOT / "docs" / "guide.md").read_text("utf-8")
    section = guide.partition("\n## What to start with\n")[2].partition("\n## ")[0]
    advised = tomli.loads(section.partition("```toml\n")[2].partition("```")[0])
    written = tomli.loads(recipe_text(Registry.discover(), "mine", "synthetic"))

    assert advised == {table: written[table] for table in ("score", "calibration", "select", "compress")}
    start = re.search(r"^Start with `([\w-]+)`", guide, re.MULTILINE)
    assert start is not None
    assert start[1] == advised["select"]["use"]
    warned_of = re.findall(r"\(`([\w-]+)`\)", section.partition("are no guide to removal")[0].splitlines()[-1])
    assert ["fisher"] == warned_of
    assert not {"fisher", "block-influence"} & {entry["use"] for entry in advised["score"]}
