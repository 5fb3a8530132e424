"""Every built-in scorer: conformance, and its definition computed in another way."""

import itertools
import math

import numpy as np
import pytest
import torch

from lwa_core.plugins.registry import Registry
from lwa_core.testing import check_scorer, tiny_probe
from lwa_core.testing.conformance import score
from lwa_plugins.scorers.block_influence import BlockInfluence
from lwa_plugins.scorers.fisher import Fisher
from lwa_plugins.scorers.leave_one_out import LeaveOneOut
from lwa_plugins.scorers.random import Random
from lwa_plugins.scorers.shapley import Shapley
from lwa_plugins.scorers.weight_magnitude import WeightMagnitude

REGISTRY = Registry.discover()
NAMES = sorted(offer.name for offer in REGISTRY.components("scorer"))
FUNCTIONAL = [Fisher(), BlockInfluence(), LeaveOneOut(), Shapley(pairs=4)]


def named(scorer):
    return type(scorer).__name__


@pytest.mark.parametrize("name", NAMES)
def test_conforms(name):
    check_scorer(REGISTRY.find("scorer", name).load()())


@pytest.mark.parametrize("scorer", FUNCTIONAL[1:], ids=named)
def test_a_layer_that_does_nothing_scores_nothing(scorer):
    """A zeroed output makes block 2 the identity. (The Fisher trace does not see it: gradients flow into zeros.)"""
    probe = tiny_probe()
    with torch.no_grad():
        for linear in (probe.model.layers[2].attention.o_proj, probe.model.layers[2].down_proj):
            linear.weight.zero_()
            linear.bias.zero_()

    table = score(scorer, probe)

    np.testing.assert_allclose(table[:, 2], 0, atol=2e-6)
    assert all(float(table[:, i].abs().mean()) > 1e-4 for i in (0, 1, 3))


@pytest.mark.parametrize("scorer", [Fisher(), BlockInfluence(), LeaveOneOut()], ids=named)
def test_one_row_for_each_example_whatever_the_padding(scorer):
    """An example's row is the same in a batch of one as among longer histories."""
    probe = tiny_probe()
    alone = torch.cat([score(scorer, single(probe, n)) for n in range(probe.examples)])

    together = score(scorer, probe)

    torch.testing.assert_close(together.double(), alone.double(), rtol=1e-4, atol=1e-6)


def single(probe, n):
    from lwa_core.modeling.probing.probe import Probe

    return Probe(probe.model, probe.subject, [probe.histories[n]], probe.targets[n : n + 1])


def test_fisher_is_the_mean_of_squared_gradients_taken_one_by_one():
    probe = tiny_probe()
    expected = np.zeros(probe.depth)
    for history, target in zip(probe.histories, probe.targets, strict=True):
        probe.model.model.zero_grad()
        batch = probe.subject.example_batch([history], np.array([target]))
        probe.subject.loss(probe.model.model, batch).mean.sum().backward()
        squares = [sum(float(p.grad.double().square().sum()) for p in l.parameters()) for l in probe.model.layers]
        expected += np.array(squares) / probe.examples
    probe.model.model.zero_grad()

    np.testing.assert_allclose(score(Fisher(), probe).mean(dim=0), expected, rtol=1e-5)


def test_block_influence_is_one_minus_the_cosine_of_the_states():
    probe = tiny_probe()
    history, target = probe.histories[0], probe.targets[:1]
    batch = probe.subject.example_batch([history], target)
    with probe.model.observe() as states, torch.no_grad():
        probe.subject.scores(probe.model.model, batch)
    expected = []
    for before, after in itertools.pairwise(states):
        a, b = before[0].double().numpy(), after[0].double().numpy()
        cosines = [x @ y / math.sqrt((x @ x) * (y @ y)) for x, y in zip(a, b, strict=True)]
        expected.append(1 - sum(cosines) / len(cosines))

    np.testing.assert_allclose(score(BlockInfluence(), single(probe, 0))[0], expected, rtol=1e-9)


def test_leave_one_out_is_the_rise_of_the_loss_of_the_cut_model():
    probe = tiny_probe()
    batch = probe.subject.example_batch(probe.histories, probe.targets)

    def loss(model):
        with torch.no_grad():
            return probe.subject.loss(model, batch).mean

    full = loss(probe.model.model)
    table = score(LeaveOneOut(), probe)

    for layer in range(4):
        cut = probe.model.keep([i for i in range(4) if i != layer]).model.eval()
        np.testing.assert_allclose(table[:, layer], loss(cut) - full, atol=1e-5)


def exact_shapley(probe):
    """Weighted over all subsets, straight from the definition."""
    layers = range(probe.depth)
    subsets = [kept for n in range(probe.depth + 1) for kept in itertools.combinations(layers, n)]
    values = dict(zip(subsets, probe.evaluate(subsets).mean(axis=1), strict=True))
    depth = probe.depth
    return [
        sum(
            math.factorial(len(s)) * math.factorial(depth - len(s) - 1) / math.factorial(depth)
            * (values[tuple(sorted((*s, layer)))] - values[s])
            for s in subsets
            if layer not in s
        )
        for layer in layers
    ]  # fmt: skip


def test_shapley_estimates_the_exact_values_within_its_standard_error():
    probe = tiny_probe()
    table = score(Shapley(pairs=400), probe).numpy()
    error = table.std(axis=0, ddof=1) / math.sqrt(len(table))

    deviations = np.abs(table.mean(axis=0) - exact_shapley(probe)) / error

    assert deviations.max() < 4


def test_shapley_values_add_up_in_every_sample():
    probe = tiny_probe()
    whole, none = probe.evaluate([(0, 1, 2, 3), ()]).mean(axis=1)

    table = score(Shapley(pairs=8), probe)

    np.testing.assert_allclose(table.sum(dim=1), whole - none, rtol=1e-9)


def test_weight_magnitude_is_the_root_mean_square():
    probe = tiny_probe()
    expected = []
    for layer in probe.model.layers:
        numbers = [float(w) for p in layer.parameters() for w in p.flatten()]
        expected.append(math.sqrt(math.fsum(w * w for w in numbers) / len(numbers)))

    np.testing.assert_allclose(score(WeightMagnitude(), probe)[0], expected, rtol=1e-9)


def test_random_follows_the_seed():
    assert torch.equal(score(Random(), tiny_probe(seed=1)), score(Random(), tiny_probe(seed=1)))
    assert not torch.equal(score(Random(), tiny_probe(seed=1)), score(Random(), tiny_probe(seed=2)))
