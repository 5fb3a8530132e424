"""`leave-one-out` against models with a removed layer, and when it stops."""

import numpy as np
import pytest
import torch
from layer_games import counted, zero_block

from lwa_core.errors import LwaError
from lwa_core.testing import tiny_probe
from lwa_core.testing.conformance import score
from lwa_plugins.scorers.leave_one_out import LeaveOneOut


def removed(probe, layer):
    """Logits of all examples from a model that really lacks a layer."""
    model = probe.model.keep([i for i in range(4) if i != layer]).model.eval()
    batch = probe.subject.example_batch(probe.histories, probe.targets)
    with torch.no_grad():
        return probe.subject.scores(model, batch).double()


def full(probe):
    batch = probe.subject.example_batch(probe.histories, probe.targets)
    with torch.no_grad():
        return probe.subject.scores(probe.model.model, batch).double()


def own(probe, logits):
    return logits[torch.arange(len(logits)), torch.from_numpy(probe.targets)]


def loss(probe, logits):
    return logits.logsumexp(dim=1) - own(probe, logits)


def ndcg(probe, logits):
    rank = 1 + (logits > own(probe, logits)[:, None]).sum(dim=1)
    return torch.where(rank <= 10, 1 / torch.log2(1.0 + rank), 0.0)


@pytest.mark.parametrize("utility", ["", "loss", "kl", "ndcg"])
@pytest.mark.parametrize("recipe", ["loss", "ndcg"])
def test_is_the_paired_difference_to_the_cut_model(utility, recipe):
    probe = tiny_probe(utility=recipe)
    table = score(LeaveOneOut(utility=utility), probe)
    whole = full(probe)

    for layer in range(4):
        cut = removed(probe, layer)
        expected = {
            "loss": loss(probe, cut) - loss(probe, whole),
            "ndcg": ndcg(probe, whole) - ndcg(probe, cut),
            "kl": (whole.softmax(1) * (whole.log_softmax(1) - cut.log_softmax(1))).sum(dim=1),
        }[utility or recipe]
        np.testing.assert_allclose(table[:, layer], expected, atol=1e-5)


def test_the_unit_is_that_of_the_utility():
    assert ["utility", "nats", "nats", "NDCG"] == [LeaveOneOut(utility=u).unit for u in ("", "loss", "kl", "ndcg")]


def decided(examples=300):
    """A model that is always right, two of whose layers do nothing: the others are needed, which is seen early."""
    probe = tiny_probe(examples=examples)
    zero_block(probe, 1)
    zero_block(probe, 3)
    probe._targets[:] = full(probe).argmax(dim=1)
    return probe


def test_stops_as_soon_as_the_kept_layers_are_settled_and_costs_less():
    probe = decided()
    probe.batch = 300
    with counted(probe) as ran:
        table = score(LeaveOneOut(until="stable", keep=2), probe)

    assert (64, 4) == table.shape
    assert {"examples": 64, "settled": True} == probe.facts
    assert len(ran) == 10  # layers, over 64 of 300 examples
    assert probe.cost == pytest.approx(10 / 4 * 64 / 300)


def test_its_rows_are_those_of_a_random_part_of_the_examples():
    order = decided().generator.permutation(300)

    part, whole = score(LeaveOneOut(until="stable", keep=2), decided()), score(LeaveOneOut(), decided())

    np.testing.assert_allclose(part, whole[torch.from_numpy(order[:64])], atol=1e-6)


def test_takes_all_examples_where_nothing_settles():
    """Layers 1 and 3 are equal for ever."""
    probe = decided()
    table = score(LeaveOneOut(until="stable", keep=3), probe)

    assert (300, 4) == table.shape
    assert {"examples": 300, "settled": False} == probe.facts
    assert probe.cost == pytest.approx(2.5)
    np.testing.assert_allclose(table.mean(dim=0), score(LeaveOneOut(), decided()).mean(dim=0), atol=1e-6)


@pytest.mark.parametrize("settings", [{"until": "stable"}, {"keep": 2}])
def test_until_and_keep_go_together(settings):
    with pytest.raises(ValueError, match="go together"):
        LeaveOneOut(**settings)


def test_keep_has_to_leave_something_to_drop():
    with pytest.raises(LwaError, match="no 4 of 4 layers"):
        score(LeaveOneOut(until="stable", keep=4), tiny_probe())
