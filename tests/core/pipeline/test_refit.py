"""Everything is chosen as ever, and then trained anew on all but the test: `split.refit`."""

import json

import numpy as np
import pytest
import tiny_recipe
import torch
from tiny_recipe import computed

from lwa_core.errors import LwaError
from lwa_core.pipeline.plan import make_plan
from lwa_core.recipe.reader import load_recipe
from lwa_core.recommendation.baselines import popularity
from lwa_core.store.results import Store
from lwa_core.types import Quiet

SMALL = (
    "data.users=60",
    "recommender.epochs=3",
    "recommender.width=8",
    "evaluate.requests=0",
    "evaluate.k=[5]",
    "evaluate.control=true",
    "select.keep=[2]",
)
REFIT = (*SMALL, "split.refit=true")


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """The same recipe without and with it, in one store: folders and events."""
    folder = tmp_path_factory.mktemp("refit")
    store = folder / "store"
    return {
        "plain": tiny_recipe.run(folder, store, *SMALL),
        "refit": tiny_recipe.run(folder, store, *REFIT, smoke_test=True),
        "recipe": load_recipe(tiny_recipe.write_recipe(folder), REFIT),
        "store": Store(store),
    }


def told(run):
    return json.loads((run[0] / "metrics.json").read_text("utf-8"))


def test_choices_are_those_of_a_run_without_it_and_made_once(runs):
    plain, refit = told(runs["plain"]), told(runs["refit"])

    assert plain["scores"] == refit["scores"]
    assert plain["plan"] == refit["plan"]
    assert plain["training"][0] == refit["training"][0]  # what validation said
    again = {"teacher", "drop-2", "distill-2", "teacher+distill"}
    made = computed(runs["refit"][1])
    assert {"data to refit on", *again, *(f"rank {name}" for name in again)} <= set(made)
    assert not any(name.startswith(("score", "select")) or name.endswith(", tuned") for name in made)


def test_all_but_the_test_is_trained_on(runs):
    plan, store = make_plan(runs["recipe"]), runs["store"]
    first, all_but_test = plan.data.stored(store), plan.measured[0].stored(store)

    assert len(all_but_test.validation) == len(all_but_test.calibration) == 0
    assert first.items.tolist() == all_but_test.items.tolist()
    for row, (user, place) in enumerate(zip(first.test.users, first.test.positions, strict=True)):
        assert (user, place) == (all_but_test.test.users[row], all_but_test.test.positions[row])
        assert place == all_but_test.train_ends[user] == first.train_ends[user] + 1
    untested = np.setdiff1d(np.arange(first.users), first.test.users)
    assert (first.offsets[1:][untested] == all_but_test.train_ends[untested]).all()


def test_the_full_model_is_one_trained_on_that_for_the_epochs_that_were_best(runs, tmp_path):
    plan, store = make_plan(runs["recipe"]), runs["store"]
    best = told(runs["refit"])["training"][0]["best_epoch"]
    data, recommender = plan.measured[0].stored(store), runs["recipe"].recommender.instance

    torch.manual_seed(0)
    model = recommender.build(data.catalogue, Quiet())
    weights = by_hand(model, recommender, data, best, tmp_path)

    kept = plan.task.open(runs["refit"][0] / "models" / "teacher").layered.model.state_dict()
    for name, value in weights.items():
        torch.testing.assert_close(value, kept[name], rtol=1e-5, atol=1e-6)


def by_hand(model, recommender, data, epochs, folder):
    """Weights after some epochs of a training that is stopped by a quality which is made up to be best there."""
    from lwa_core.recommendation.fitting import windows_of
    from lwa_core.training.trainer import train

    seen = iter(range(1, 1000))
    train(
        model,
        lambda network, batch: recommender.loss(network, batch).overall,
        windows=windows_of(recommender, data),
        collate=recommender.training_batch,
        evaluate=lambda _: float(next(seen) == epochs),
        settings=recommender.training(),
        folder=folder,
        seed=0,
        report=Quiet(),
    )
    return model.state_dict()


def test_students_and_control_are_trained_as_long_as_validation_said(runs):
    plan, store = make_plan(runs["recipe"]), runs["store"]
    selected = plan.select.stored(store)
    (tier,) = plan.tiers(selected.plan)
    student = tier.models[1].stored(store)
    tuned = tier.models[1].inputs["tuned"].stored(store)
    (control,) = plan.controls([tier], lambda stage: stage.stored(store))

    assert [each.best_epoch for each in student.healing] == [each.best_epoch for each in tuned.healing]
    assert student.trained == tuned.trained
    assert [student.healing[0].best_epoch] == control.model.asked["ends"]
    assert plan.measured[1].key == control.model.inputs["model"].key


def test_baselines_see_as_much_as_the_models(runs):
    plan, store = make_plan(runs["recipe"]), runs["store"]
    data = plan.measured[0].stored(store)
    counts = np.zeros(len(data.catalogue))
    for user in range(data.users):
        for item in data.items[data.offsets[user] : data.train_ends[user]]:
            counts[item] += 1

    best = popularity(data).scores([np.zeros(0, dtype=np.int32)]).numpy()[0]

    assert np.argsort(-counts, kind="stable")[:5].tolist() == np.argsort(-best, kind="stable")[:5].tolist()
    assert plan.measured[0].key == plan.baselines.inputs["data"].key


def test_a_step_that_trains_more_often_than_before_is_refused(runs, tmp_path):
    from lwa_core.pipeline.stages.students import Compression

    job = Compression.__new__(Compression)
    job.tuned, job.healing = [], []

    with pytest.raises(LwaError, match="trains more often than the 0 times"):
        job._chosen_end()


def test_benchmarks_of_choices_refit_nothing(runs):
    plan = make_plan(runs["recipe"], refit=False)

    assert (plan.data, plan.teacher) == plan.measured
    assert "teacher" == plan.teacher.name


def test_results_say_so(runs):
    plain, refit = told(runs["plain"])["data"]["facts"], told(runs["refit"])["data"]["facts"]

    assert refit["split"]["refit"] is True
    assert "trained anew" in refit["notes"][-1]
    assert "refit" not in plain["split"]
    assert not any("trained anew" in note for note in plain["notes"])
