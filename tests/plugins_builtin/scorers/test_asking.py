"""What holds of all scorers that ask: conformance, layers that do nothing, games with a known answer."""

import itertools
import json

import numpy as np
import pytest
import torch
from layer_games import Game, llama_probe, zero_block

from lwa_core.testing import check_scorer, tiny_probe, tiny_recommender
from lwa_core.testing.conformance import score
from lwa_plugins.scorers.banzhaf import Banzhaf
from lwa_plugins.scorers.conductance import Conductance
from lwa_plugins.scorers.first_last import FirstLast
from lwa_plugins.scorers.gate_path import GatePath
from lwa_plugins.scorers.greedy_order import GreedyOrder
from lwa_plugins.scorers.hutchinson import Hutchinson
from lwa_plugins.scorers.kernel_shap import KernelShap
from lwa_plugins.scorers.last_first import LastFirst
from lwa_plugins.scorers.leave_one_out import LeaveOneOut
from lwa_plugins.scorers.logit_lens import LogitLens
from lwa_plugins.scorers.shapley import Shapley

ADDITIVE = [
    LeaveOneOut(),
    Shapley(pairs=4),
    Shapley(method="exact"),
    Banzhaf(method="exact"),
    KernelShap(pairs=24),
    LogitLens(),
]
SCORERS = [
    *ADDITIVE,
    LeaveOneOut(utility="kl"),
    LeaveOneOut(until="stable", keep=2),
    Shapley(until="stable", keep=1, utility="ndcg"),
    Banzhaf(subsets=64),
    GreedyOrder(),
    GatePath(nodes=3),
    Conductance(steps=3),
    Conductance(steps=3, baseline="zero"),
    Hutchinson(draws=2),
    FirstLast(),
    LastFirst(),
]


def named(scorer):
    return repr(scorer).split("(")[0] + ":" + getattr(scorer, "method", getattr(scorer, "until", ""))


@pytest.mark.parametrize("scorer", SCORERS, ids=named)
def test_conforms(scorer):
    check_scorer(scorer)


@pytest.mark.parametrize("scorer", SCORERS, ids=named)
def test_what_it_tells_is_json(scorer):
    probe = tiny_probe()
    score(scorer, probe)

    json.dumps(probe.facts, allow_nan=False)


@pytest.mark.parametrize("depth", [1, 2])
@pytest.mark.parametrize("scorer", [s for s in SCORERS if getattr(s, "until", "all") == "all"], ids=named)
def test_shallow_models_have_scores_too(scorer, depth):
    table = score(scorer, tiny_probe(tiny_recommender(layers=depth)))

    assert table.shape[1] == depth
    assert bool(torch.isfinite(table).all())


@pytest.mark.parametrize("scorer", SCORERS, ids=named)
def test_works_on_a_causal_language_model(scorer):
    table = score(scorer, llama_probe())

    assert table.shape[1] == 3
    assert bool(torch.isfinite(table).all())


@pytest.mark.parametrize(
    "scorer",
    [
        LeaveOneOut(),
        Shapley(pairs=4),
        Shapley(method="exact"),
        Banzhaf(method="exact"),
        LogitLens(),
        GatePath(nodes=3),
        Conductance(steps=4),
    ],
    ids=named,
)
@pytest.mark.parametrize("block", ["pre-norm", "gated"])
def test_a_layer_that_adds_nothing_scores_nothing(scorer, block):
    probe = tiny_probe(tiny_recommender(block=block))
    zero_block(probe, 2)

    table = score(scorer, probe)

    np.testing.assert_allclose(table[:, 2], 0, atol=2e-6)
    assert all(float(table[:, i].abs().mean()) > 1e-4 for i in (0, 1, 3))


@pytest.mark.parametrize("scorer", ADDITIVE, ids=named)
def test_layers_that_add_up_score_what_they_add(scorer):
    worth = np.random.default_rng(1).normal(size=(7, 5))  # (examples, layers)
    game = Game(5, lambda kept: 3.0 + worth[:, list(kept)].sum(axis=1))

    table = scorer.score(game).numpy()

    expected = worth if len(table) == 7 else np.tile(worth.mean(axis=0), (len(table), 1))
    np.testing.assert_allclose(table, expected, atol=1e-12)


def test_banzhaf_samples_estimate_what_layers_add():
    worth = np.array([0.5, -1.0, 2.0, 0.0])
    table = Banzhaf(subsets=4000).score(Game(4, lambda kept: worth[list(kept)].sum())).numpy()

    error = table.std(axis=0, ddof=1) / np.sqrt(len(table))
    assert (np.abs(table.mean(axis=0) - worth) < 4 * error).all()


@pytest.mark.parametrize("scorer", [Shapley(method="exact"), Banzhaf(method="exact")], ids=named)
def test_layers_that_are_alike_score_alike(scorer):
    """Any function of how many of layers 1 and 3 are kept, and of the others."""
    rng = np.random.default_rng(2)
    value = {(n, a, b): rng.normal(size=6) for n in range(3) for a in (0, 1) for b in (0, 1)}

    table = scorer.score(Game(4, lambda kept: value[len({1, 3} & set(kept)), int(0 in kept), int(2 in kept)])).numpy()

    np.testing.assert_allclose(table[:, 1], table[:, 3], atol=1e-12)
    assert np.abs(table[:, 0] - table[:, 2]).max() > 0.1


@pytest.mark.parametrize(
    "scorer",
    [Shapley(pairs=4), Shapley(method="exact"), KernelShap(pairs=24), LogitLens(), Shapley(until="stable", keep=2)],
    ids=named,
)
def test_every_row_adds_up_to_what_all_layers_add(scorer):
    rng = np.random.default_rng(3)
    table = {kept: rng.normal(size=5) for n in range(5) for kept in itertools.combinations(range(4), n)}
    game = Game(4, table.__getitem__)

    rows = scorer.score(game).numpy().sum(axis=1)

    whole = table[0, 1, 2, 3] - table[()]
    np.testing.assert_allclose(rows, whole if len(rows) == 5 else whole.mean(), atol=1e-12)
    if "sum" in game.facts:
        assert game.facts["sum"] == pytest.approx(whole.mean())
        assert game.facts["all_layers_together"] == pytest.approx(whole.mean())


def test_orders_of_positions():
    assert [[0, 1, 2, 3]] == score(LastFirst(), tiny_probe()).tolist()
    assert [[0, -1, -2, -3]] == score(FirstLast(), tiny_probe()).tolist()
    assert FirstLast.baseline
    assert LastFirst.baseline
