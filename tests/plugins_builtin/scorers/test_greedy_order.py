"""`greedy-order` against a search that measures models with removed layers."""

import numpy as np
import pytest
import torch
from layer_games import Game, counted, layers_probe

from lwa_core.testing import tiny_probe
from lwa_core.testing.conformance import score
from lwa_plugins.scorers.greedy_order import GreedyOrder


def mean_loss(probe, kept):
    model = probe.model.keep(kept).model.eval()
    batch = probe.subject.example_batch(probe.histories, probe.targets)
    with torch.no_grad():
        logits = probe.subject.scores(model, batch).double()
    own = logits[torch.arange(len(logits)), torch.from_numpy(probe.targets)]
    return float((logits.logsumexp(dim=1) - own).mean())


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_removes_the_layer_whose_loss_costs_the_least(seed):
    probe = tiny_probe(seed=seed)
    kept, rounds, losses = [0, 1, 2, 3], {}, [mean_loss(probe, [0, 1, 2, 3])]
    while len(kept) > 1:
        measured = {layer: mean_loss(probe, [i for i in kept if i != layer]) for layer in kept}
        gone = min(measured, key=measured.get)
        rounds[gone] = len(rounds) + 1
        losses.append(measured[gone])
        kept.remove(gone)
    rounds[kept[0]] = 4

    assert [[rounds[i] for i in range(4)]] == score(GreedyOrder(), probe).tolist()
    np.testing.assert_allclose(probe.facts["utilities"], [-loss for loss in losses], atol=1e-5)


def test_of_equals_the_later_goes_first():
    assert [[5, 4, 3, 2, 1]] == GreedyOrder().score(Game(5, lambda kept: 1.0)).tolist()


def test_sees_that_two_layers_stand_in_for_each_other():
    """Either of the first two is needed; each alone can go, which one-at-a-time scores take for both."""
    worth = {(): 0.0, (2,): 0.5}
    order = GreedyOrder().score(Game(3, lambda kept: worth.get(kept, 2.0 if 2 in kept else 1.8)))

    assert [[3, 1, 2]] == order.tolist()


@pytest.mark.parametrize("depth", [1, 2, 5, 8])
def test_costs_the_layers_that_run(depth):
    probe = layers_probe(depth)
    assert probe.width == 8  # looked at before layers are counted
    with counted(probe) as ran:
        score(GreedyOrder(), probe)

    assert len(ran) == pytest.approx(depth * probe.cost)
    naive = sum((depth - removed) * (depth - removed - 1) for removed in range(depth - 1)) + depth
    assert len(ran) <= naive
