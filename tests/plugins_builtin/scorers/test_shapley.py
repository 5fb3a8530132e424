"""`shapley` and `banzhaf` against their definitions, subset by subset, and against shapiq."""

import itertools
import math

import numpy as np
import pytest
from layer_games import Game, counted, layers_probe
from scipy import stats

from lwa_core.errors import LwaError
from lwa_core.testing import tiny_probe
from lwa_core.testing.conformance import score
from lwa_plugins.scorers.banzhaf import Banzhaf
from lwa_plugins.scorers.shapley import Shapley


def made_up(depth, examples=1, seed=0):
    """A game whose every subset has a value of its own."""
    rng = np.random.default_rng(seed)
    table = {
        kept: rng.normal(size=examples) for n in range(depth + 1) for kept in itertools.combinations(range(depth), n)
    }
    return Game(depth, table.__getitem__), table


def others(layers, *without):
    rest = [layer for layer in layers if layer not in without]
    return [kept for n in range(len(rest) + 1) for kept in itertools.combinations(rest, n)]


def joined(kept, *layers):
    return tuple(sorted((*kept, *layers)))


def shapley_of(values, depth):
    """The definition: the mean over all orders of what a layer adds when it joins."""
    total = np.zeros(depth)
    for order in itertools.permutations(range(depth)):
        for place, layer in enumerate(order):
            before = tuple(sorted(order[:place]))
            total[layer] += values[joined(before, layer)] - values[before]
    return total / math.factorial(depth)


def banzhaf_of(values, depth):
    gains = [[values[joined(kept, i)] - values[kept] for kept in others(range(depth), i)] for i in range(depth)]
    return np.mean(gains, axis=1)


def interactions_of(values, depth, weight):
    found = np.zeros((depth, depth))
    for i, j in itertools.permutations(range(depth), 2):
        for kept in others(range(depth), i, j):
            both = values[joined(kept, i, j)] - values[joined(kept, i)] - values[joined(kept, j)] + values[kept]
            found[i, j] += weight(len(kept)) * both
    return found


@pytest.mark.parametrize("depth", [1, 2, 3, 5])
def test_exact_values_of_every_example_follow_the_definition(depth):
    game, table = made_up(depth, examples=3)
    shapley, banzhaf = Shapley(method="exact").score(game).numpy(), Banzhaf(method="exact").score(game).numpy()

    for example in range(3):
        values = {kept: told[example] for kept, told in table.items()}
        np.testing.assert_allclose(shapley[example], shapley_of(values, depth), atol=1e-12)
        np.testing.assert_allclose(banzhaf[example], banzhaf_of(values, depth), atol=1e-12)


@pytest.mark.parametrize("depth", [1, 2, 3, 5])
def test_interactions_follow_the_definition(depth):
    game, table = made_up(depth, examples=3)
    values = {kept: told.mean() for kept, told in table.items()}

    Shapley(method="exact").score(game)
    weight = lambda size: math.factorial(size) * math.factorial(depth - size - 2) / math.factorial(depth - 1)  # noqa: E731
    np.testing.assert_allclose(game.facts["interactions"], interactions_of(values, depth, weight), atol=1e-12)

    Banzhaf(method="exact").score(game)
    np.testing.assert_allclose(
        game.facts["interactions"], interactions_of(values, depth, lambda size: 0.5 ** (depth - 2)), atol=1e-12
    )


@pytest.mark.parametrize(("scorer", "value", "interaction"), [(Shapley, "SV", "SII"), (Banzhaf, "BV", "BII")])
def test_exact_values_and_interactions_are_those_of_shapiq(scorer, value, interaction):
    shapiq = pytest.importorskip("shapiq")
    game, table = made_up(6)

    def of_coalitions(coalitions):
        return np.array([table[tuple(np.flatnonzero(row))][0] for row in np.atleast_2d(coalitions)])

    found = scorer(method="exact").score(game).numpy()[0]

    exact = shapiq.ExactComputer(of_coalitions, n_players=6)
    single, pairs = exact(value, 1).dict_values, exact(interaction, 2).dict_values
    np.testing.assert_allclose(found, [single[i,] for i in range(6)], atol=1e-10)
    for i, j in itertools.combinations(range(6), 2):
        assert game.facts["interactions"][i][j] == pytest.approx(pairs[i, j], abs=1e-10)
        assert game.facts["interactions"][i][j] == game.facts["interactions"][j][i]


def test_pairs_are_the_mean_of_an_order_and_its_reverse():
    game, table = made_up(5, examples=4)
    orders = np.random.default_rng(0)
    expected = []
    for _ in range(6):
        order = orders.permutation(5).tolist()
        gains = np.zeros((2, 5))
        for row, walk in zip(gains, (order, order[::-1]), strict=True):
            for place, layer in enumerate(walk):
                row[layer] = table[joined(walk[:place], layer)].mean() - table[tuple(sorted(walk[:place]))].mean()
        expected.append(gains.mean(axis=0))

    np.testing.assert_allclose(Shapley(pairs=6).score(game), expected, atol=1e-12)


def test_all_orders_give_the_exact_values_of_every_example(monkeypatch):
    """And the error over examples that is told is that of the exact values."""
    game, _ = made_up(4, examples=5)
    exact = Shapley(method="exact").score(game).numpy()
    every = iter([np.array(order) for order in itertools.permutations(range(4))])
    monkeypatch.setattr(game, "generator", type("All", (), {"permutation": lambda self, depth: next(every)})())

    table = Shapley(pairs=24).score(game).numpy()

    np.testing.assert_allclose(table.mean(axis=0), exact.mean(axis=0), atol=1e-12)
    np.testing.assert_allclose(game.facts["standard_error_over_examples"], stats.sem(exact), atol=1e-12)


@pytest.mark.parametrize(
    ("make", "exact"),
    [
        (lambda: Shapley(pairs=40), Shapley(method="exact")),
        (lambda: Banzhaf(subsets=120), Banzhaf(method="exact")),
    ],
    ids=["shapley", "banzhaf"],
)
def test_estimates_are_unbiased_and_as_uncertain_as_they_say(make, exact):
    _, table = made_up(6)
    truth = exact.score(Game(6, table.__getitem__)).numpy()[0]
    estimates, errors = [], []
    for seed in range(400):
        rows = make().score(Game(6, table.__getitem__, seed)).numpy()
        estimates.append(rows.mean(axis=0))
        errors.append(rows.var(axis=0, ddof=1) / len(rows))

    spread = np.std(estimates, axis=0, ddof=1)
    assert (np.abs(np.mean(estimates, axis=0) - truth) < 4 * spread / math.sqrt(400)).all()
    np.testing.assert_allclose(np.sqrt(np.mean(errors, axis=0)), spread, rtol=0.15)


def test_banzhaf_reuses_every_subset_for_every_layer():
    """The estimate is a difference of two means, whatever its rows are."""
    game, table = made_up(4)
    rows = Banzhaf(subsets=50).score(game).numpy()

    holds = np.random.default_rng(0).random((50, 4)) < 0.5
    values = np.array([table[tuple(np.flatnonzero(row))][0] for row in holds])
    expected = [values[holds[:, i]].mean() - values[~holds[:, i]].mean() for i in range(4)]
    np.testing.assert_allclose(rows.mean(axis=0), expected, atol=1e-12)
    variances = [
        values[holds[:, i]].var() / holds[:, i].sum() + values[~holds[:, i]].var() / (~holds[:, i]).sum()
        for i in range(4)
    ]
    np.testing.assert_allclose(rows.var(axis=0) / 50, variances, rtol=1e-9)


def test_stops_at_the_pairs_that_settle_the_kept_layers():
    worth = np.array([3.0, 0.1, 2.0, 0.0])

    def value(kept):
        return worth[list(kept)].sum() + 0.2 * (0 in kept and 1 in kept)

    stopped, whole = Game(4, value), Game(4, value)
    table = Shapley(pairs=200, until="stable", keep=2).score(stopped).numpy()

    assert (64, True) == (stopped.facts["pairs"], stopped.facts["settled"])
    np.testing.assert_array_equal(table, Shapley(pairs=200).score(whole).numpy()[:64])


def test_takes_all_pairs_where_nothing_settles():
    game, _ = made_up(3)
    alike = Game(3, lambda kept: float(len(kept)) ** 2)

    assert (40, 3) == tuple(Shapley(pairs=40, until="stable", keep=1).score(alike).shape)
    assert (40, False) == (alike.facts["pairs"], alike.facts["settled"])
    with pytest.raises(LwaError, match="no 3 of 3 layers"):
        Shapley(until="stable", keep=3).score(game)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"until": "stable"}, "go together"),
        ({"keep": 1}, "go together"),
        ({"until": "stable", "keep": 1, "method": "exact"}, "no orders to draw"),
    ],
)
def test_settings_that_do_not_go_together(settings, said):
    with pytest.raises(ValueError, match=said):
        Shapley(**settings)


@pytest.mark.parametrize("scorer", [Shapley(method="exact"), Banzhaf(method="exact")], ids=["shapley", "banzhaf"])
def test_all_subsets_of_a_model_cost_two_to_the_depth(scorer):
    probe = layers_probe(5)
    with counted(probe) as ran:
        score(scorer, probe)

    assert len(ran) == 31 == pytest.approx(5 * probe.cost)


def test_permutations_cost_the_prefixes_that_they_share():
    probe = layers_probe(6)
    with counted(probe) as ran:
        score(Shapley(pairs=5), probe)

    assert len(ran) == pytest.approx(6 * probe.cost)
    assert probe.cost < 5 * 2 * (6 + 1) / 2


def test_shapley_of_a_model_in_another_utility():
    probe = tiny_probe(utility="loss")
    table = score(Shapley(method="exact", utility="ndcg"), probe).numpy()
    values = dict(zip(probe.subsets(), probe.evaluate(probe.subsets(), "ndcg").mean(axis=1), strict=True))

    np.testing.assert_allclose(table.mean(axis=0), shapley_of(values, 4), atol=1e-12)
