import json

import numpy as np
import pytest
import torch
from tiny_recipe import TEXT, write_recipe

from lwa_core.modeling.gradients.taps import Weights
from lwa_core.modeling.posterior.laplace import fit_laplace
from lwa_core.modeling.probing.observation import one_at_a_time
from lwa_core.recipe.reader import load_recipe
from lwa_core.recipe.recipe import combined_by
from lwa_core.testing import check_scorer, tiny_probe, tiny_recommender
from lwa_core.testing.conformance import score
from lwa_plugins.scorers.laplace import Laplace


@pytest.mark.parametrize(
    "scorer",
    [
        Laplace(samples=2),
        Laplace(structure="diagonal", labels="observed", samples=0),
        Laplace(quantity="drawn", samples=2, predictive="sampled"),
        Laplace(quantity="margin", prior_precision=2.0, samples=0),
    ],
    ids=["default", "diagonal", "drawn", "margin"],
)
def test_conforms(scorer):
    check_scorer(scorer)


def test_a_row_is_an_example_s_variance_by_layer():
    probe = tiny_probe()

    table = score(Laplace(samples=0), probe)

    expected = fit_laplace(probe, draws=2).variances(probe)
    np.testing.assert_array_equal(table, expected)
    assert (probe.examples, probe.depth) == tuple(table.shape)
    assert bool((table > 0).all())


def test_what_it_tells():
    probe = tiny_probe()

    table = score(Laplace(samples=3), probe)

    told = probe.facts["laplace"]
    assert told["variance"]["mean"] == pytest.approx(float(table.sum(dim=1).mean()))
    assert told["training_targets"] == probe.training_targets
    assert [sum(p.numel() for p in layer.parameters()) for layer in probe.model.layers] == told["parameters"]
    assert all(0 < own < all_ for own, all_ in zip(told["effective_parameters"], told["parameters"], strict=True))
    assert told["log_marginal_likelihood"] == pytest.approx(told["log_evidence"] + told["log_likelihood"])
    mean_loss = -probe.evaluate([range(probe.depth)]).mean()
    assert told["log_likelihood"] == pytest.approx(-probe.training_targets * mean_loss, rel=1e-6)
    assert 3 == probe.facts["predictive"]["samples"]
    assert probe.facts == json.loads(json.dumps(probe.facts, allow_nan=False))


def test_its_price_is_the_passes_that_it_makes():
    forward = 0

    def count(*_):
        nonlocal forward
        forward += 1

    probe = tiny_probe()
    assert not one_at_a_time(probe, Weights(probe.model))  # looked at once for each model, with three examples
    assert not probe.batching.value  # the same
    probe.settle()
    handle = probe.model.layers[0].register_forward_hook(count)
    score(Laplace(samples=0, draws=3), probe)
    handle.remove()

    assert 2 * len(list(probe.batches())) == forward
    assert (1 + 3) + (1 + 1) == probe.cost


def test_more_training_targets_lower_every_layer_s_part():
    few, many = tiny_probe(), tiny_probe()
    many.training_targets *= 100

    before, after = (score(Laplace(samples=0, prior_precision=1.0), probe) for probe in (few, many))

    assert bool((after < before).all())


def test_a_set_prior_precision_is_used_and_said():
    probe = tiny_probe()

    score(Laplace(prior_precision=7.5, samples=0), probe)

    told = probe.facts["laplace"]
    assert (7.5, "setting") == (told["prior_precision"], told["prior_precision_by"])
    assert "predictive" not in probe.facts


@pytest.mark.parametrize("settings", [{"samples": 1}, {"prior_precision": 0.0}, {"quantity": "logit"}])
def test_impossible_settings_are_refused(settings):
    with pytest.raises(ValueError, match=r"samples|prior_precision|quantity"):
        Laplace(**settings)


def test_gated_blocks_have_a_posterior_too():
    table = score(Laplace(samples=2), tiny_probe(tiny_recommender(block="gated")))

    assert bool(torch.isfinite(table).all())


def test_it_is_neither_combined_nor_asked_to_agree(tmp_path):
    """Unless a recipe names it."""
    scorers = ["laplace", "fisher", "borda"]
    text = TEXT[: TEXT.index("[[score]]")] + "".join(f'[[score]]\nuse = "{name}"\n' for name in scorers)
    recipe = load_recipe(write_recipe(tmp_path, text + TEXT[TEXT.index("[select]") :]))

    assert ["fisher"] == [use.name for use in combined_by(recipe.scorers[2], recipe.scorers)]
