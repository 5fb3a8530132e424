"""`transitions` as a run has it: tuned once for all recipes over the same data, its settings among the results."""

import json

import tiny_recipe

from lwa_core.pipeline.plan import make_plan
from lwa_core.recipe.reader import load_recipe
from lwa_core.recommendation.transitions_tuning import read_tuned, tune_transitions
from lwa_core.store.results import Store

ONLY_A_MODEL = tiny_recipe.TEXT.partition("[[score]]")[0] + tiny_recipe.TEXT[tiny_recipe.TEXT.index("[evaluate]") :]


def tuning_of(folder, text):
    folder.mkdir(exist_ok=True)
    plan = make_plan(load_recipe(tiny_recipe.write_recipe(folder, text)))
    return plan, next(stage for stage in plan.stages if stage.kind == "transitions")


def test_it_is_tuned_once_and_its_settings_stand_in_the_results(tmp_path):
    folder, _ = tiny_recipe.run(tmp_path, tmp_path / "store", text=ONLY_A_MODEL)

    plan, stage = tuning_of(tmp_path, ONLY_A_MODEL)
    store = Store(tmp_path / "store")
    stored = read_tuned(store.path(stage.kind, stage.key))
    assert tune_transitions(plan.data.stored(store), k=10, filter_seen=True, seed=0) == stored
    models = {model["name"]: model for model in json.loads((folder / "metrics.json").read_text())["models"]}
    assert json.loads(json.dumps(stored.facts())) == models["transitions"]["fitted"]
    assert {} == models["bigram"]["fitted"] == models["teacher"]["fitted"]
    assert "transitions" in models["teacher"]["versus"]


def test_recipes_over_the_same_data_share_it(tmp_path):
    _, one = tuning_of(tmp_path / "one", ONLY_A_MODEL)
    _, other = tuning_of(tmp_path / "other", tiny_recipe.TEXT.replace("layers = 3", "layers = 4"))
    _, elsewhere = tuning_of(tmp_path / "elsewhere", ONLY_A_MODEL.replace("users = 120", "users = 121"))

    assert one.key == other.key
    assert one.key != elsewhere.key
