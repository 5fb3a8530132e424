"""`hutchinson` against the whole Hessian of a tiny model in double precision."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

from lwa_core.testing import tiny_probe, tiny_recommender
from lwa_core.testing.conformance import score
from lwa_plugins.scorers.hutchinson import Hutchinson


@pytest.fixture(scope="module")
def probe():
    probe = tiny_probe(tiny_recommender(layers=2, width=4, heads=1, max_length=5), examples=6, items=9)
    probe.model.model.double()
    return probe


@pytest.fixture(scope="module")
def hessian(probe):
    """Of the mean loss by all weights of the layers, and which layer each row is of."""
    network = probe.model.model
    names = [name for name, _ in network.named_parameters() if name.startswith("blocks.")]
    weights = {name: network.get_parameter(name).detach() for name in names}
    sizes = [weights[name].numel() for name in names]
    batch = probe.subject.example_batch(probe.histories, probe.targets)

    def loss(flat):
        parts = dict(zip(names, flat.split(sizes), strict=True))
        named = {name: part.view_as(weights[name]) for name, part in parts.items()}
        states = torch.func.functional_call(network, named, (batch["input_ids"],)).last_hidden_state
        last = states[torch.arange(len(states)), batch["last"]]
        return F.cross_entropy(last @ network.item_embedding.weight[1:].T, torch.from_numpy(probe.targets))

    with sdpa_kernel(SDPBackend.MATH):
        flat = torch.cat([weights[name].flatten() for name in names])
        matrix = torch.autograd.functional.hessian(loss, flat, vectorize=True)
    layer = np.repeat([int(name.split(".")[1]) for name in names], sizes)
    return matrix.numpy(), layer


def test_mean_and_spread_are_those_of_the_exact_traces(probe, hessian):
    matrix, layer = hessian
    rows = score(Hutchinson(draws=500), probe).numpy()
    trace = np.array([np.diag(matrix)[layer == i].sum() for i in range(2)])
    # Of zᵀHz over a layer, each sign pairs up with every other one: twice within the layer, once outside of it.
    off = np.square(matrix - np.diag(np.diag(matrix)))
    inside = np.array([off[np.ix_(layer == i, layer == i)].sum() for i in range(2)])
    outside = np.array([off[np.ix_(layer == i, layer != i)].sum() for i in range(2)])

    spread = np.sqrt(2 * inside + outside)

    assert (np.abs(rows.mean(axis=0) - trace) < 4 * spread / np.sqrt(500)).all()
    np.testing.assert_allclose(rows.std(axis=0), spread, rtol=0.12)
    assert (np.abs(trace) > 8 * spread / np.sqrt(500)).all()  # far enough from 0 to tell


def test_a_row_is_the_product_with_one_vector_of_signs(probe, hessian, monkeypatch):
    matrix, layer = hessian
    signs = torch.from_numpy(np.random.default_rng(5).choice([-1.0, 1.0], size=len(layer)))
    weights = [w for block in probe.model.layers for w in block.parameters()]
    pieces = {
        id(w): part.view_as(w) for w, part in zip(weights, signs.split([w.numel() for w in weights]), strict=True)
    }
    monkeypatch.setattr("lwa_plugins.scorers.hutchinson._signs", lambda weight, generator: pieces[id(weight)])

    rows = score(Hutchinson(draws=2), probe).numpy()

    z = signs.numpy()
    expected = [(z * (matrix @ z))[layer == i].sum() for i in range(2)]
    np.testing.assert_allclose(rows, [expected, expected], rtol=1e-8)


def test_signs_are_signs_and_follow_the_seed():
    like = torch.zeros(50, 40, dtype=torch.double)
    from lwa_plugins.scorers.hutchinson import _signs

    drawn = [_signs(like, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2)]

    assert {-1.0, 1.0} == set(drawn[0].unique().tolist())
    assert abs(float(drawn[0].mean())) < 4 / 2000**0.5
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])


def test_micro_batches_play_no_part(probe):
    table = score(Hutchinson(draws=3), tiny_probe())
    whole = tiny_probe()
    whole.batch = whole.examples

    np.testing.assert_allclose(score(Hutchinson(draws=3), whole), table, rtol=1e-3)
