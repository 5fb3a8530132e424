"""Every bad recipe says what the snapshot beside it says.

After a change of wording: LWA_UPDATE_SNAPSHOTS=1 pytest tests/core/recipe/test_recipe_bad.py, then read the diff.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from lwa_core.recipe.locate import render
from lwa_core.recipe.reader import check_recipe

TESTS = Path(__file__).parents[2]
BAD = sorted((TESTS / "recipes" / "bad").glob("*.toml"))


@pytest.fixture(autouse=True)
def orchard(monkeypatch):
    for site in ("good", "duplicate"):
        monkeypatch.syspath_prepend(TESTS / "plugins" / site)
    monkeypatch.chdir(TESTS / "recipes" / "bad")


@pytest.mark.parametrize("file", BAD, ids=lambda file: file.stem)
def test_a_bad_recipe_says_what_is_wrong(file):
    recipe, problems = check_recipe(Path(file.name))
    assert recipe is None
    told = render(problems) + "\n"
    expected = file.with_suffix(".txt")
    if os.environ.get("LWA_UPDATE_SNAPSHOTS"):
        expected.write_text(told, encoding="utf-8")
    assert expected.read_text(encoding="utf-8") == told


def test_there_are_many_and_each_snapshot_has_its_recipe():
    assert len(BAD) >= 40
    assert {file.stem for file in BAD} == {file.stem for file in BAD[0].parent.glob("*.txt")}
