"""Every built-in selector against a brute-force reference."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lwa_core import LayerCosts, LayerScores, LwaError, ScoreBoard
from lwa_core.modeling.files.sizes import memory_bytes, parameter_count
from lwa_core.pipeline.stages.selection import TeacherSelection
from lwa_core.testing import tiny_probe
from lwa_plugins.selectors.budget import Budget, best_subset
from lwa_plugins.selectors.greedy import Greedy
from lwa_plugins.selectors.random import Random
from lwa_plugins.selectors.top_k import TopK
from lwa_plugins.selectors.uniform import Uniform, spread


def selection(*rows, seed=0, names=("first", "second")):
    board = ScoreBoard({n: LayerScores(n, np.array([row], dtype=float)) for n, row in zip(names, rows, strict=False)})
    return TeacherSelection(depth=4, seed=seed, board=board, make_probe=tiny_probe)


def test_top_k_keeps_the_highest_scores_in_the_order_of_the_layers():
    plan = TopK(keep=(3, 1)).select(selection([0.3, -1.0, 2.0, 0.4]))

    assert plan.tiers == ((0, 2, 3), (2,))


def test_top_k_follows_the_named_scorer():
    chosen = selection([1, 2, 3, 4], [4, 3, 2, 1])

    assert TopK(keep=2, by="second").select(chosen).tiers == ((0, 1),)
    assert TopK(keep=2).select(chosen).tiers == ((2, 3),)


def test_of_equal_scores_the_later_layer_stays():
    assert TopK(keep=2).select(selection([1, 1, 1, 1])).tiers == ((2, 3),)


@given(st.integers(2, 40).flatmap(lambda depth: st.tuples(st.just(depth), st.integers(2, depth))))
def test_uniform_has_both_ends_and_even_gaps(case):
    depth, count = case
    kept = spread(depth, count)
    gaps = {b - a for a, b in itertools.pairwise(kept)}

    assert (kept[0], kept[-1], len(set(kept))) == (0, depth - 1, count)
    assert max(gaps) - min(gaps) <= 1


def test_uniform_of_one_is_the_first():
    assert Uniform(keep=1).select(selection([0] * 4)).tiers == ((0,),)


def test_random_follows_the_seed_and_reaches_every_subset():
    drawn = {Random(keep=2).select(selection([0] * 4, seed=seed)).tiers[0] for seed in range(200)}

    assert drawn == set(itertools.combinations(range(4), 2))
    assert Random(keep=2).select(selection([0] * 4, seed=7)) == Random(keep=2).select(selection([0] * 4, seed=7))


def test_greedy_is_the_naive_loop_over_really_removed_layers():
    probe = tiny_probe()
    kept = (0, 1, 2, 3)
    expected = []
    while len(kept) > 1:
        options = list(itertools.combinations(kept, len(kept) - 1))
        values = [naive_utility(probe, option) for option in options]
        kept = options[int(np.argmax(values))]
        expected.append(kept)

    plan = Greedy(keep=(3, 2, 1)).select(selection([0] * 4))

    assert plan.tiers == tuple(expected)


def naive_utility(probe, kept):
    import torch

    batch = probe.subject.example_batch(probe.histories, probe._targets)
    with torch.no_grad():
        return -float(probe.subject.loss(probe.model.keep(kept).model.eval(), batch).mean.mean())


@pytest.mark.parametrize("selector", [TopK(keep=5), Uniform(keep=5), Random(keep=5), Greedy(keep=(2, 5))])
def test_more_layers_than_there_are_is_an_error(selector):
    with pytest.raises(LwaError, match="cannot keep 5 of 4 layers"):
        selector.select(selection([0] * 4))


scores = st.floats(-5, 5, allow_nan=False).map(lambda x: round(x, 3))
costs = st.floats(0.1, 5).map(lambda x: round(x, 3))


@given(st.lists(st.tuples(scores, costs), min_size=1, max_size=7), st.floats(0, 20))
def test_the_knapsack_is_as_good_as_trying_every_subset(layers, limit):
    values, weights = zip(*layers, strict=True)
    costing = LayerCosts("parameters", weights, 1.0)
    subsets = [s for n in range(1, len(layers) + 1) for s in itertools.combinations(range(len(layers)), n)]
    affordable = [sum(values[i] for i in s) for s in subsets if costing.of(s) <= limit]

    kept = best_subset(values, costing, limit)

    if not affordable:
        assert kept == []
    else:
        assert costing.of(kept) <= limit + 1e-9
        assert sum(values[i] for i in kept) == pytest.approx(max(affordable), abs=1e-9)


def test_budget_of_parameters_counts_the_whole_model():
    probe = tiny_probe()
    layer, whole = parameter_count(probe.model.layers[0]), parameter_count(probe.model.model)

    plan = Budget(parameters=whole - 2 * layer).select(selection([4, 3, 2, 1]))

    assert plan.tiers == ((0, 1),)
    assert plan.trace["cost"] == whole - 2 * layer


def test_budget_of_megabytes_counts_bytes():
    probe = tiny_probe()
    size = memory_bytes(probe.model.model) / 1e6

    assert Budget(megabytes=size).select(selection([1, 2, 3, 4])).tiers == ((0, 1, 2, 3),)


def test_budget_of_milliseconds_is_measured():
    plan = Budget(milliseconds=1e9).select(selection([1, 2, 3, 4]))

    assert plan.tiers == ((0, 1, 2, 3),)
    assert all(cost > 0 for cost in plan.trace["layers"])


def test_a_budget_that_nothing_fits_says_what_would():
    with pytest.raises(LwaError, match="no layer fits into 10 parameters") as caught:
        Budget(parameters=10).select(selection([1, 2, 3, 4]))

    assert "raise select.parameters" in caught.value.hint


@pytest.mark.parametrize("settings", [{}, {"megabytes": 1.0, "parameters": 5}])
def test_a_budget_is_exactly_one(settings):
    with pytest.raises(ValueError, match="exactly one"):
        Budget(**settings)
