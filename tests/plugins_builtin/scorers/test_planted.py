"""A layer that does nothing, planted into a trained model: what each scorer makes of it."""

import numpy as np
import pytest
import torch
from tiny_recipe import TEXT, write_recipe

from lwa_core.data.prepare import prepare
from lwa_core.modeling.layers.planted import plant
from lwa_core.modeling.probing.asked import layered
from lwa_core.pipeline.recommendation_task import RankerModel, RecommendationTask
from lwa_core.pipeline.task import make_probe
from lwa_core.plugins.registry import Registry
from lwa_core.recipe.reader import load_recipe
from lwa_core.recommendation.fitting import fit_model
from lwa_core.recommendation.ranker import Ranker
from lwa_core.testing.conformance import score
from lwa_core.types import Quiet

DOES_NOTHING = {
    "leave-one-out": {},
    "leave-one-out kl": {"utility": "kl"},
    "shapley": {"method": "exact"},
    "banzhaf": {"method": "exact"},
    "kernel-shap": {},
    "logit-lens": {},
    "gate-path": {},
    "gate-taylor": {},
    "gate-fisher": {},
    "conductance": {},
    "block-influence": {},
    "angular": {},
    "norm-ratio": {},
    "cka": {"group": 16},
    "linear-probe": {},
    "info-nce": {},
}
"""Scorers that say what a layer does: one that does nothing has a score of 0."""

LOOKS_AT_WEIGHTS = ("weight-magnitude", "attention-entropy", "random", "first-last")
"""Scorers that do not look at what a layer does, and cannot see that it does nothing."""


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A small model that has learned something, with the recipe's calibration examples."""
    base = tmp_path_factory.mktemp("trained")
    more = ["recommender.layers=4", "recommender.epochs=20", "recommender.learning_rate=0.004", "data.users=800"]
    recipe = load_recipe(write_recipe(base, TEXT), more)
    data = prepare(recipe.data.instance.read(), recipe.filter, recipe.split, recipe.seed, Quiet())
    recommender = recipe.recommender.instance
    network, _ = fit_model(recommender, data, folder=base / "work", seed=0, filter_seen=True, report=Quiet())
    ranker = Ranker(network, recommender, data.catalogue, recipe.recommender.component, recipe.recommender.settings)
    return RecommendationTask(recipe), data, RankerModel.of(ranker)


def scored(trained, name, settings, kind):
    task, data, model = trained
    planted, places = plant(model.layered, kind, 1)
    cls = Registry.discover().find("scorer", name.split()[0]).load()
    probe = make_probe(task, data, model, Quiet(), network=planted)
    return score(cls(**settings), probe).double().numpy(), places


@pytest.mark.parametrize("name", DOES_NOTHING)
def test_a_layer_that_does_nothing_scores_nothing(trained, name):
    table, (place,) = scored(trained, name, DOES_NOTHING[name], "identity")

    others = [layer for layer in range(table.shape[1]) if layer != place]
    largest = np.abs(table.mean(axis=0)[others]).max()
    drawn = 4 * table.std(axis=0)[place] / np.sqrt(len(table)) if name == "kernel-shap" else 0.0
    assert abs(table.mean(axis=0)[place]) <= 1e-4 * largest + 1e-7 + drawn


@pytest.mark.parametrize("name", LOOKS_AT_WEIGHTS)
def test_what_looks_at_something_else_does_not_see_it(trained, name):
    """Documented in docs/bench.md: these say nothing about what a layer does."""
    table, (place,) = scored(trained, name, {}, "identity")

    assert abs(table.mean(axis=0)[place]) > 0.01 * np.abs(table.mean(axis=0)).max()


def test_the_fisher_trace_does_not_see_it_where_gradients_still_reach_its_weights(trained):
    """The branches' last weights are 0 and have gradients all the same: removal is free, the trace is not 0."""
    table, (place,) = scored(trained, "fisher", {}, "identity")

    assert table.mean(axis=0)[place] > 0.01 * table.mean(axis=0).max()


@pytest.mark.parametrize("name", ["leave-one-out", "shapley", "banzhaf", "gate-path"])
def test_noise_is_put_last(trained, name):
    table, (place,) = scored(trained, name, DOES_NOTHING[name], "noise")

    assert place == int(table.mean(axis=0).argmin())


def test_a_model_that_learned_nothing_has_nothing_to_choose(trained):
    """On random weights no leave-one-out score is far from 0, next to those of the trained model."""
    task, data, model = trained
    torch.manual_seed(5)
    fresh = layered(model.subject.build(data.catalogue, Quiet()), model.subject)
    cls = Registry.discover().find("scorer", "leave-one-out").load()

    probes = [make_probe(task, data, model, Quiet(), network=network) for network in (fresh, model.layered)]
    tables = [score(cls(), probe).numpy() for probe in probes]

    untrained, learned = (np.abs(table.mean(axis=0)).max() for table in tables)
    assert untrained < 0.1 * learned
