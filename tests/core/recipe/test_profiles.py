"""Profiles of devices: built in, from a file, or with limits of one's own; wrong ones get their place."""

import attrs
import pytest

from lwa_core.errors import RecipeError
from lwa_core.recipe.profiles import BUILT_IN, Limits, find_profile
from lwa_core.recipe.reader import check_recipe

HEAD = 'name = "r"\n[data]\nuse = "synthetic"\n[recommender]\nuse = "sequential"\n'


def problems_of(tmp_path, text):
    file = tmp_path / "r.toml"
    file.write_text(HEAD + text, "utf-8")
    recipe, problems = check_recipe(file)
    return recipe, [(problem.code, problem.line) for problem in problems]


def test_mobile_is_what_the_guide_promises():
    limits = BUILT_IN["mobile"]
    assert (limits.memory_mb, limits.p95_ms, limits.cold_start_s, limits.keep) == (100, 20, 1, 0.95)
    assert (BUILT_IN["edge"].memory_mb, BUILT_IN["cloud"].memory_mb) == (500, 2000)


def test_a_file_counts_from_the_folder_of_the_recipe(tmp_path):
    (tmp_path / "phone.toml").write_text("memory_mb = 80\nkeep = 0.9\n", "utf-8")
    recipe, problems = problems_of(tmp_path, '[[profile]]\nuse = "phone.toml"\n')
    assert not problems
    (profile,) = recipe.profiles
    assert (profile.name, profile.limits) == ("phone", Limits(memory_mb=80.0, keep=0.9))


def test_limits_of_a_recipe_stand_above_those_of_what_it_uses(tmp_path):
    text = '[[profile]]\nuse = "mobile"\n[[profile]]\nuse = "mobile"\nname = "slow"\np95_ms = 40\n'
    recipe, problems = problems_of(tmp_path, text)
    assert not problems
    assert [profile.name for profile in recipe.profiles] == ["mobile", "slow"]
    assert recipe.profiles[1].limits == attrs.evolve(BUILT_IN["mobile"], p95_ms=40.0)


def test_what_is_resolved_is_a_recipe_of_the_same_limits(tmp_path):
    import tomli_w

    recipe, _ = problems_of(tmp_path, '[[profile]]\nuse = "edge"\nmemory_mb = 300\n')
    told = {key: value for key, value in recipe.resolved().items() if key != "components"}
    file = tmp_path / "again.toml"
    file.write_text(tomli_w.dumps({key: value for key, value in told.items() if value != []}), "utf-8")
    again, problems = check_recipe(file)
    assert not problems
    assert again.profiles == recipe.profiles


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('[[profile]]\nuse = "mobil"\n', [("unknown-profile", 7)]),
        ('[[profile]]\nuse = "there-is-none.toml"\n', [("unknown-profile", 7)]),
        ("[[profile]]\nuse = 3\n", [("wrong-type", 7)]),
        ("[[profile]]\n", [("missing-setting", 6)]),
        ('[profile]\nuse = "mobile"\n', [("wrong-type", 6)]),
        ('[[profile]]\nuse = "mobile"\nmemory = 3\n', [("unknown-setting", 8)]),
        ('[[profile]]\nuse = "mobile"\np95_ms = 0\n', [("out-of-range", 8)]),
        ('[[profile]]\nuse = "mobile"\nname = "a/b"\n', [("bad-name", 8)]),
        ('[[profile]]\nuse = "edge"\n[[profile]]\nuse = "edge"\n', [("duplicate-name", 9)]),
    ],
)
def test_what_is_wrong_has_its_place(tmp_path, text, expected):
    assert problems_of(tmp_path, text) == (None, expected)


@pytest.mark.parametrize("content", ["memory_mb = ", "memory = 3\n", "memory_mb = 'much'\n", "", "keep = 2\n"])
def test_a_wrong_file_is_said_with_its_name(tmp_path, content):
    (tmp_path / "own.toml").write_text(content, "utf-8")
    with pytest.raises(RecipeError, match=r"own\.toml"):
        find_profile("own.toml", tmp_path)


def test_a_recommender_that_is_never_taken_apart_cannot_be_exported(tmp_path):
    (tmp_path / "own.py").write_text(
        "import attrs\nfrom lwa_core import Component, hookimpl\n\n\n"
        '@attrs.frozen\nclass Own:\n    """No parts."""\n\n\n'
        "@hookimpl\ndef lwa_recommenders():\n    return [Component('own', Own)]\n",
        "utf-8",
    )
    file = tmp_path / "r.toml"
    text = HEAD.replace('use = "sequential"', 'use = "own"').replace("[data]", 'plugins = ["own.py"]\n[data]')
    file.write_text(text + '[[export]]\nuse = "onnx"\n', "utf-8")
    _, problems = check_recipe(file)
    assert [(problem.code, problem.line) for problem in problems] == [("not-exportable", 7)]
