"""`kernel-shap` against exact values, the regression that it is, and the spread of many estimates."""

import itertools
import math

import numpy as np
import pytest
from layer_games import Game
from scipy import optimize, stats

from lwa_core.errors import LwaError
from lwa_core.testing import tiny_probe
from lwa_core.testing.conformance import score
from lwa_plugins.scorers.kernel_shap import KernelShap
from lwa_plugins.scorers.shapley import Shapley


def table_of(depth, examples=1, seed=0):
    rng = np.random.default_rng(seed)
    sets = [kept for n in range(depth + 1) for kept in itertools.combinations(range(depth), n)]
    return {kept: rng.normal(size=examples) for kept in sets}


def test_is_the_constrained_least_squares_fit():
    """Found here by a numerical optimiser over free parameters, from the same subsets."""
    table = table_of(5)
    asked = []

    class Asked(Game):
        def evaluate(self, keeps, utility=None):
            asked.append([tuple(int(i) for i in kept) for kept in keeps])
            return super().evaluate(keeps, utility)

    rows = KernelShap(pairs=20).score(Asked(5, table.__getitem__)).numpy()
    z = np.array([[layer in kept for layer in range(5)] for kept in asked[-1]], dtype=float)
    gains = np.array([table[kept][0] - table[()][0] for kept in asked[-1]])
    whole = table[0, 1, 2, 3, 4][0] - table[()][0]

    def residuals(free):
        return gains - z @ np.array([*free, whole - sum(free)])

    fit = optimize.least_squares(residuals, np.zeros(4), xtol=1e-14, ftol=1e-14, gtol=1e-14).x
    np.testing.assert_allclose(rows.mean(axis=0), [*fit, whole - fit.sum()], atol=1e-7)
    assert all(
        set(a) | set(b) == set(range(5)) and not set(a) & set(b)
        for a, b in zip(asked[-1][::2], asked[-1][1::2], strict=True)
    )


def test_subset_sizes_follow_the_shapley_kernel():
    depth, pairs = 6, 20000
    found = KernelShap(pairs=pairs)._subsets(Game(depth, len, seed=3)).sum(axis=1)
    kernel = np.array(
        [(depth - 1) / (math.comb(depth, s) * s * (depth - s)) * math.comb(depth, s) for s in range(1, 6)]
    )

    counts = np.bincount(found, minlength=6)[1:]

    assert stats.chisquare(counts, pairs * kernel / kernel.sum()).pvalue > 0.001


def test_members_of_a_size_are_equally_likely():
    drawn = KernelShap(pairs=20000)._subsets(Game(5, len, seed=4))
    twos = [tuple(np.flatnonzero(row)) for row in drawn if row.sum() == 2]

    counts = [twos.count(pair) for pair in itertools.combinations(range(5), 2)]

    assert stats.chisquare(counts).pvalue > 0.001


def test_estimates_are_near_the_exact_values_and_as_uncertain_as_they_say():
    table = table_of(6)
    truth = Shapley(method="exact").score(Game(6, table.__getitem__)).numpy()[0]
    estimates, errors, held = [], [], 0
    for seed in range(400):
        rows = KernelShap(pairs=64).score(Game(6, table.__getitem__, seed)).numpy()
        error = rows.std(axis=0, ddof=1) / 8
        estimates.append(rows.mean(axis=0))
        errors.append(error**2)
        held += (np.abs(estimates[-1] - truth) < stats.t.ppf(0.975, 63) * error).mean()

    spread = np.std(estimates, axis=0, ddof=1)
    np.testing.assert_allclose(np.sqrt(np.mean(errors, axis=0)), spread, rtol=0.15)
    assert 0.92 <= held / 400 <= 0.98
    assert (np.abs(np.mean(estimates, axis=0) - truth) < 0.3 * spread).all()  # a small bias is known


def test_comes_to_the_exact_values_of_a_model():
    probe = tiny_probe()
    exact = score(Shapley(method="exact"), probe).mean(dim=0)
    table = score(KernelShap(pairs=4000), probe)

    deviations = (table.mean(dim=0) - exact).abs() / (table.std(dim=0) / 4000**0.5)

    assert float(deviations.max()) < 4


def test_the_error_over_examples_is_that_of_the_same_estimate_of_each():
    table = table_of(4, examples=6)
    game = Game(4, table.__getitem__)
    KernelShap(pairs=30).score(game)

    alone = [
        KernelShap(pairs=30).score(Game(4, lambda kept, n=n: table[kept][n])).numpy().mean(axis=0) for n in range(6)
    ]

    np.testing.assert_allclose(game.facts["standard_error_over_examples"], stats.sem(alone), atol=1e-12)


def test_one_layer_is_worth_all_that_layers_are_worth():
    assert [[2.0], [3.0]] == KernelShap().score(Game(1, lambda kept: np.array([2.0, 3.0]) * len(kept))).tolist()


def test_too_few_pairs_are_an_error():
    with pytest.raises(LwaError, match="8 pairs do not tell 9 layers apart"):
        KernelShap(pairs=8).score(Game(9, len))
