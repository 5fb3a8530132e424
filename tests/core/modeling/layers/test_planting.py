"""Planted layers do what is said of them."""

import pytest
import torch

from lwa_core.errors import ModelError
from lwa_core.modeling.layers.layered import LayeredModel
from lwa_core.modeling.layers.planted import plant
from lwa_core.testing import tiny_probe, tiny_recommender


def probe_of(block):
    return tiny_probe(tiny_recommender(block=block))


def answers(model, probe):
    batch = probe.subject.example_batch(probe.histories, probe.targets)
    with torch.no_grad():
        return probe.subject.scores(model.model, batch)


@pytest.mark.parametrize("block", ["pre-norm", "gated"])
def test_an_identity_layer_changes_nothing_and_has_weights(block):
    probe = probe_of(block)

    planted, places = plant(probe.model, "identity", 1)

    assert (2,) == places
    assert 5 == planted.depth == planted.base.config.num_hidden_layers
    torch.testing.assert_close(answers(planted, probe), answers(probe.model, probe))
    assert float(sum(p.detach().abs().sum() for p in planted.layers[2].parameters())) > 1


def test_a_duplicate_is_the_same_layer_twice():
    probe = probe_of("gated")

    planted, places = plant(probe.model, "duplicate", 2)

    assert (2, 3) == places
    pairs = zip(planted.layers[2].parameters(), planted.layers[3].parameters(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)
    assert not torch.equal(answers(planted, probe), answers(probe.model, probe))


def test_noise_has_the_scale_of_the_layer_and_none_of_its_weights():
    probe = probe_of("pre-norm")

    planted, (place,) = plant(probe.model, "noise", 0, seed=3)

    weight, other = planted.layers[0].up_proj.weight, planted.layers[place].up_proj.weight
    assert not torch.equal(weight, other)
    assert float(weight.std()) == pytest.approx(float(other.std()), rel=0.2)


def test_without_the_planted_layer_the_model_is_what_it_was():
    probe = probe_of("gated")
    planted, (place,) = plant(probe.model, "noise", 1)

    rest = planted.keep([layer for layer in range(planted.depth) if layer != place])

    torch.testing.assert_close(answers(LayeredModel(rest.model), probe), answers(probe.model, probe))


def test_the_model_itself_is_left_alone():
    probe = probe_of("pre-norm")
    before = answers(probe.model, probe)

    plant(probe.model, "identity", 0)

    assert 4 == probe.depth
    assert torch.equal(before, answers(probe.model, probe))


def test_unknown_kinds_are_refused():
    with pytest.raises(ModelError, match="no planted layer"):
        plant(probe_of("pre-norm").model, "weed", 0)
