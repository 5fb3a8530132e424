"""The teacher trained for as long as a student was healed: measured beside it where a recipe asks for that."""

import json

import numpy as np
import pytest
import tiny_recipe
import torch
from tiny_recipe import computed

from lwa_core.pipeline.plan import make_plan
from lwa_core.recipe.reader import load_recipe
from lwa_core.recommendation.fitting import train_on
from lwa_core.store.results import Store
from lwa_core.types import Quiet, TrainingSettings

SMALL = (
    "data.users=60",
    "recommender.epochs=2",
    "recommender.width=8",
    "evaluate.requests=0",
    "evaluate.k=[5]",
)
TEXT = tiny_recipe.TEXT.replace("epochs = 2\n", "epochs = 1\nlearning_rate = 0.003\n")


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    """The same recipe without and with a control, in one store: folders and events."""
    folder = tmp_path_factory.mktemp("control")
    return {
        asked: tiny_recipe.run(folder, folder / "store", *SMALL, *extra, text=TEXT)
        for asked, extra in (("off", ()), ("on", ("evaluate.control=true",)))
    } | {"folder": folder}


def told(run):
    return json.loads((run[0] / "metrics.json").read_text("utf-8"))


def model_of(metrics, name):
    return next(model for model in metrics["models"] if model["name"] == name)


def test_without_it_healed_students_are_marked_and_stand_alone(both):
    models = told(both["off"])["models"]

    assert {"distill-2", "distill-1"} == {model["name"] for model in models if model["healed"]}
    assert [] == [model["name"] for model in models if model["kind"] == "control" or model["control"]]


def test_tiers_that_were_healed_alike_share_one_control(both):
    metrics = told(both["on"])

    assert ["teacher+distill", "rank teacher+distill"] == computed(both["on"][1])
    assert ["teacher+distill"] == [model["name"] for model in metrics["models"] if model["kind"] == "control"]
    held = {model["name"]: model["control"] and model["control"]["name"] for model in metrics["models"]}
    assert "teacher+distill" == held["distill-2"] == held["distill-1"]
    assert None is held["drop-2"] is held["teacher"]
    assert 3 == model_of(metrics, "teacher+distill")["depth"]


def test_it_is_the_teacher_trained_by_the_same_settings(both):
    recipe = load_recipe(tiny_recipe.write_recipe(both["folder"], TEXT), (*SMALL, "evaluate.control=true"))
    plan, store = make_plan(recipe), Store(both["folder"] / "store")
    teacher, data = plan.teacher.stored(store).load(), plan.data.stored(store)
    settings = TrainingSettings(epochs=1, batch=32, learning_rate=0.003, patience=5)

    network = teacher.layered.model
    torch.manual_seed(recipe.seed)
    train_on(
        recipe.recommender.instance,
        data,
        network,
        lambda model, batch: teacher.subject.loss(model, batch).overall,
        settings,
        folder=both["folder"] / "again",
        seed=recipe.seed,
        filter_seen=True,
        report=Quiet(),
    )

    kept = plan.task.open(both["on"][0] / "models" / "teacher+distill").layered.model
    for name, value in network.state_dict().items():
        torch.testing.assert_close(value, kept.state_dict()[name], rtol=1e-5, atol=1e-6)


def test_the_difference_is_that_of_the_figures(both):
    metrics = told(both["on"])
    student, control = model_of(metrics, "distill-2"), model_of(metrics, "teacher+distill")

    for metric, figure in student["control"]["difference"].items():
        if figure is not None:
            expected = student["metrics"][metric]["mean"] - control["metrics"][metric]["mean"]
            np.testing.assert_allclose(figure["mean"], expected, atol=1e-9)
    assert student["versus"]["teacher+distill"]["ndcg@5"] == student["control"]["difference"]["ndcg@5"]


def test_a_plan_names_it_before_and_after(both):
    recipe = load_recipe(tiny_recipe.write_recipe(both["folder"], TEXT), (*SMALL, "evaluate.control=true"))
    from lwa_core.cli.plan import _rows

    stored = [row["stage"] for row in _rows(recipe, make_plan(recipe), Store(both["folder"] / "store"))]
    to_do = [row["stage"] for row in _rows(recipe, make_plan(recipe), Store(both["folder"] / "other"))]

    assert ["teacher+distill", "rank teacher+distill"] == stored[-2:]
    assert "teacher trained as long as the students" == to_do[-1]
