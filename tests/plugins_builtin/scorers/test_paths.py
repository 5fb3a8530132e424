"""`logit-lens`, `gate-path` and `conductance` against the same written out step by step."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from layer_games import counted, llama_probe
from torch import nn

from lwa_core.modeling.layers.layered import LayeredModel
from lwa_core.modeling.probing.probe import Probe
from lwa_core.testing import tiny_probe, tiny_recommender
from lwa_core.testing.conformance import score
from lwa_plugins.scorers.conductance import Conductance
from lwa_plugins.scorers.gate_path import GatePath
from lwa_plugins.scorers.logit_lens import LogitLens


def double_probe(block="pre-norm", examples=5):
    probe = tiny_probe(tiny_recommender(block=block), examples=examples)
    probe.model.model.double()
    return probe


class Tail(nn.Module):
    """From the first block's input of one example (1, time, width) to the log-probability of its target."""

    def __init__(self, probe, number):
        super().__init__()
        self.network, self.target = probe.model.model, int(probe.targets[number])

    def answer(self, state):
        logits = self.network.norm(state[:, -1]) @ self.network.item_embedding.weight[1:].T
        return F.log_softmax(logits, dim=1)[:, self.target]

    def forward(self, state):
        for block in self.network.blocks:
            state = block(state)
        return self.answer(state)


def embedded(probe, number):
    history = torch.from_numpy(probe.histories[number][-12:].astype("int64")) + 1
    network = probe.model.model
    return (network.item_embedding(history) + network.position_embedding.weight[: len(history)])[None]


# The lens


def test_lens_reads_every_state_with_the_models_own_norm_and_head():
    probe = tiny_probe()
    table = score(LogitLens(), probe)

    for number, row in enumerate(table):
        tail = Tail(probe, number)
        with torch.no_grad():
            state = embedded(probe, number)
            answers = [float(tail.answer(state))]
            for block in probe.model.layers:
                state = block(state)
                answers.append(float(tail.answer(state)))
        np.testing.assert_allclose(row, np.diff(answers), atol=1e-5)


def test_lens_costs_one_pass():
    probe = tiny_probe()
    probe.batch = probe.examples
    with counted(probe) as ran:
        score(LogitLens(), probe)

    assert ([0, 1, 2, 3], 1) == (ran, probe.cost)


# Gates


@pytest.mark.parametrize("block", ["pre-norm", "gated"])
def test_gate_path_is_the_integral_of_the_slopes(block):
    """By the midpoint rule over differences of the loss, of which each opens one gate a little more."""
    probe = double_probe(block, examples=2)
    points, step = 100, 1e-4

    def loss(number, gates):
        state, tail = embedded(probe, number), Tail(probe, number)
        with torch.no_grad():
            for gate, layer in zip(gates, probe.model.layers, strict=True):
                state = state + gate * (layer(state) - state)
            return -float(tail.answer(state))

    table = score(GatePath(nodes=12), probe)

    for number in range(2):
        expected = np.zeros(4)
        for t in (np.arange(points) + 0.5) / points:
            for layer in range(4):
                nudge = np.eye(4)[layer] * step / 2
                expected[layer] -= (loss(number, t + nudge) - loss(number, t - nudge)) / step / points
        np.testing.assert_allclose(table[number], expected, rtol=1e-3, atol=1e-4)


def test_gate_path_adds_up_to_what_all_layers_are_worth_and_tells_how_nearly():
    probe = double_probe()
    none, full = -probe.evaluate([(), (0, 1, 2, 3)], "loss")
    rows = score(GatePath(nodes=24), probe).sum(dim=1)

    np.testing.assert_allclose(rows, none - full, atol=1e-5)
    assert probe.facts["completeness_error"] == pytest.approx(
        abs(float(rows.mean()) - (none - full).mean()) / abs((none - full).mean()), abs=1e-12
    )
    assert probe.facts["completeness_error"] < 1e-6
    assert probe.cost == pytest.approx(2 * 24 + 1)

    score(GatePath(nodes=1), probe)
    assert probe.facts["completeness_error"] > 1e-3


def test_gate_path_of_a_language_model_adds_up_too():
    probe = llama_probe()
    score(GatePath(nodes=16), probe)

    assert probe.facts["completeness_error"] < 1e-3


# Conductance


def baseline_of(probe, kind):
    width = probe.model.model.config.hidden_size
    if kind == "zero":
        return torch.zeros(width, dtype=torch.double)
    with torch.no_grad():
        return torch.cat([embedded(probe, n)[0] for n in range(probe.examples)]).mean(dim=0)


@pytest.mark.parametrize("block", ["pre-norm", "gated"])
def test_conductance_is_the_integral_along_the_path(block):
    """By Gauss–Legendre quadrature, each branch's change by forward differentiation at every node."""
    probe = double_probe(block, examples=2)
    nodes, weights = np.polynomial.legendre.leggauss(24)
    base = baseline_of(probe, "mean")
    table = score(Conductance(steps=400), probe)

    for number in range(2):
        tail, inputs = Tail(probe, number), embedded(probe, number).detach()
        start = base.expand_as(inputs)

        def terms(alpha, start=start, inputs=inputs):
            state = start + alpha * (inputs - start)
            found = [state]
            for layer in probe.model.layers:
                found.append(layer(state) - state)
                state = layer(state)
            return torch.stack(found)

        expected = torch.zeros(5, dtype=torch.double)
        for alpha, weight in zip(torch.from_numpy((nodes + 1) / 2), weights / 2, strict=True):
            with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
                values, slopes = torch.func.jvp(terms, (alpha,), (torch.ones_like(alpha),))
            last = values.sum(dim=0).detach().requires_grad_()
            (gradient,) = torch.autograd.grad(tail.answer(last).sum(), last)
            expected += weight * (gradient * slopes).flatten(1).sum(dim=1).detach()
        np.testing.assert_allclose(table[number], expected[1:], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", ["mean", "zero"])
def test_conductance_and_the_embeddings_part_add_up_to_the_change_of_the_answer(kind):
    probe = double_probe()
    with torch.no_grad():
        changes = []
        for number in range(probe.examples):
            inputs, tail = embedded(probe, number), Tail(probe, number)
            start = baseline_of(probe, kind).expand_as(inputs)
            changes.append(float(tail(inputs) - tail(start)))

    errors = []
    for steps in (50, 100):
        rows = score(Conductance(steps=steps, baseline=kind), probe).sum(dim=1)
        told = probe.facts
        assert told["input_less_baseline"] == pytest.approx(np.mean(changes), abs=1e-6)
        assert float(rows.mean()) + told["embedding"] == pytest.approx(np.mean(changes), abs=0.02)
        errors.append(told["completeness_error"])
    assert probe.cost == pytest.approx(51 + 101 + 2 * (kind == "mean"))
    if kind == "mean":
        assert errors[0] < 1e-3
        assert errors[1] == pytest.approx(errors[0] / 4, rel=0.1)  # the trapezoid's error falls with the square


def test_conductance_of_the_stream_ranks_nothing_and_that_of_the_branches_does():
    """captum's layer conductance of a block's output is the change of the answer, whatever the block."""
    captum = pytest.importorskip("captum.attr")
    probe = double_probe(examples=2)
    table = score(Conductance(steps=200), probe)
    for number in range(2):
        tail, inputs = Tail(probe, number), embedded(probe, number).detach()
        start = baseline_of(probe, "mean").expand_as(inputs)
        with torch.no_grad():
            change = float(tail(inputs) - tail(start))
        streams = []
        for layer in probe.model.layers:
            told = captum.LayerConductance(tail, layer).attribute(inputs, baselines=start.clone(), n_steps=300)
            streams.append(float(told.detach().sum()))

        np.testing.assert_allclose(streams, change, rtol=0.01)
        assert float(table[number].std()) > 10 * np.std(streams)


def test_conductance_does_not_see_padding():
    """Examples of one length alone, and among longer ones, whose rows are padded."""
    probe = tiny_probe()
    with_padding = score(Conductance(steps=8, baseline="zero"), probe)
    for number in (0, 5, 11):
        one = Probe(probe.model, probe.subject, [probe.histories[number]], probe.targets[number : number + 1])
        np.testing.assert_allclose(
            score(Conductance(steps=8, baseline="zero"), one)[0], with_padding[number], atol=1e-5
        )


def test_conductance_of_a_language_model_adds_up():
    probe = llama_probe()
    score(Conductance(steps=64), probe)

    assert probe.facts["completeness_error"] < 0.01
    assert isinstance(probe.model, LayeredModel)
