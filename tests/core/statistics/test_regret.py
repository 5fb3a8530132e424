"""Regret, oracle and chance against loops over every subset, and against the truth of simulated tables."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from lwa_core.statistics.means import FEWEST, mean_estimate
from lwa_core.statistics.regret import (
    best_of_size,
    gain_over_random,
    mean_regret,
    oracle_values,
    random_expectation,
    regret,
)
from lwa_core.statistics.simultaneous import simultaneous_interval
from lwa_core.statistics.subsets import every_subset, row_of, rows_of_size


def table(depth=4, examples=30, seed=0):
    return np.random.default_rng(seed).normal(size=(2**depth, examples))


def subsets(depth, size):
    return list(itertools.combinations(range(depth), size))


def test_a_row_is_the_number_whose_bits_are_the_layers():
    assert [(), (0,), (1,), (0, 1), (2,), (0, 2), (1, 2), (0, 1, 2)] == every_subset(3)
    assert list(range(16)) == [row_of(kept) for kept in every_subset(4)]


@pytest.mark.parametrize(("depth", "size"), [(1, 0), (1, 1), (5, 2), (6, 3), (7, 7)])
def test_rows_of_size_are_all_of_them(depth, size):
    found = [every_subset(depth)[row] for row in rows_of_size(depth, size)]

    assert set(subsets(depth, size)) == set(found)
    assert len(found) == len(set(found))


@pytest.mark.parametrize("size", [-1, 5])
def test_a_size_that_there_is_not_is_refused(size):
    with pytest.raises(ValueError, match=f"no subset of {size} of 4 layers"):
        rows_of_size(4, size)


@given(st.integers(0, 10**6), st.integers(1, 4), st.integers(2, 9))
def test_chance_and_the_best_are_those_of_a_loop(seed, size, examples):
    values = table(examples=examples, seed=seed)
    means = {kept: values[sum(2**layer for layer in kept)].mean() for kept in subsets(4, size)}
    rows = [values[sum(2**layer for layer in kept)] for kept in means]

    assert max(means, key=means.get) == best_of_size(values, 4, size)
    assert random_expectation(values, 4, size) == pytest.approx(sum(rows) / len(rows))


def test_of_equals_the_later_layers_are_the_best():
    assert (2, 3) == best_of_size(np.zeros((16, 5)), 4, 2)


@pytest.mark.parametrize("examples", [2, 11, 30])
def test_the_oracle_is_chosen_on_one_half_and_scored_on_the_other(examples):
    values = table(examples=examples)
    rng = np.random.default_rng(3)
    first = np.arange(examples) < examples // 2
    halves = rng.permuted(np.stack([first] * 7), axis=1)
    expected, choices = np.zeros(examples), []
    for half in halves:
        for chooser, scored in ((half, ~half), (~half, half)):
            best = max(subsets(4, 2), key=lambda kept: values[row_of(kept)][chooser].mean())
            choices.append(best)
            expected[scored] += values[row_of(best)][scored] / 7

    found, chosen = oracle_values(values, 4, 2, splits=7, seed=3)

    assert expected == pytest.approx(found)
    assert {kept: choices.count(kept) / 14 for kept in choices} == pytest.approx(chosen)


def test_regret_is_the_oracles_lead_between_the_ends_of_all_differences():
    values = table(examples=80)
    values[0b1010] -= 0.5
    oracle, choices = oracle_values(values, 4, 2)
    rows = rows_of_size(4, 2)
    low, high = simultaneous_interval(values[rows] - values[0b1010], 0.9, seed=0)

    found = regret(values, 4, (3, 1), confidence=0.9)

    assert (oracle - values[0b1010]).mean() == pytest.approx(found.mean)
    assert (low.max(), high.max()) == pytest.approx((found.low, found.high))
    assert found.oracle - found.value == pytest.approx(found.mean)
    assert found.choices == choices


@given(st.integers(0, 10**6), st.integers(2, 80), st.integers(1, 4))
def test_no_set_is_better_than_the_best(seed, examples, size):
    """Whether the set was chosen on these examples or not."""
    values = table(examples=examples, seed=seed)
    for kept in (best_of_size(values, 4, size), tuple(range(size))):
        found = regret(values, 4, kept, splits=3)
        assert found.mean >= 0
        assert (found.low is None) == (found.high is None) == (examples < FEWEST)
        if found.low is not None:
            assert 0 <= found.low <= found.mean <= found.high
    assert 0 == regret(values, 4, best_of_size(values, 4, size)).mean  # the oracle is chosen by half of the examples


def test_regret_of_several_sizes_is_averaged():
    values = table(examples=70)
    sets = [(0,), (1, 2), (0, 1, 3)]
    leads = [(oracle_values(values, 4, len(kept))[0] - values[row_of(kept)]).mean() for kept in sets]
    alone = [regret(values, 4, kept) for kept in sets]

    found = mean_regret(values, 4, sets)

    assert np.clip(np.mean(leads), found.low, found.high) == pytest.approx(found.mean)
    assert found.low <= np.mean([each.low for each in alone])  # all of them hold together
    assert np.mean([each.high for each in alone]) <= found.high
    assert {1, 2, 3} == {len(kept) for kept in found.choices}


def test_the_full_model_has_no_regret():
    found = regret(table(examples=70), 4, (0, 1, 2, 3))

    assert (0, 0, 0) == (found.mean, found.low, found.high)


def test_gain_over_chance_is_a_paired_mean():
    values = table(examples=80)
    gained = values[0b0110] - np.mean([values[row_of(kept)] for kept in subsets(4, 2)], axis=0)

    expected, found = mean_estimate(gained, 0.9), gain_over_random(values, 4, [(1, 2)], confidence=0.9)
    assert (expected.mean, expected.low, expected.high) == pytest.approx((found.mean, found.low, found.high))


def test_gains_of_all_sets_of_a_size_cancel():
    values = table()
    gains = [gain_over_random(values, 4, [kept]).mean for kept in subsets(4, 2)]

    assert 0 == pytest.approx(sum(gains))
    assert 0 == pytest.approx(gain_over_random(values, 4, subsets(4, 2)).mean)


@pytest.mark.parametrize("shape", [(15, 4), (16,), (16, 4, 1)])
def test_another_table_is_refused(shape):
    with pytest.raises(ValueError, match=r"a table of 4 layers is \(2\^4, examples\)"):
        regret(np.zeros(shape), 4, (0, 1))


def test_one_example_has_no_halves():
    with pytest.raises(ValueError, match="at least two examples"):
        regret(np.zeros((16, 1)), 4, (0, 1))


def simulated(rng, truth, examples=64):
    """Tables with known means: subsets of an example share half of the noise."""
    shared = rng.normal(size=(1, examples))
    return truth[:, None] + 0.7 * shared + 0.7 * rng.normal(size=(len(truth), examples))


def test_the_naive_oracle_flatters_and_the_cross_fitted_one_does_not():
    """Against the true means of a simulation, over 400 tables of 20 nearly equal subsets of 3 of 6 layers."""
    rng = np.random.default_rng(0)
    truth = 0.05 * rng.normal(size=64)
    best = truth[rows_of_size(6, 3)].max()
    naive, naive_bias, fitted_bias, above = [], [], [], []
    for _ in range(400):
        values = simulated(rng, truth)
        kept = best_of_size(values, 6, 3)
        naive.append(values[row_of(kept)].mean() - best)
        naive_bias.append(values[row_of(kept)].mean() - truth[row_of(kept)])
        oracle, choices = oracle_values(values, 6, 3, splits=5)
        really = sum(share * truth[row_of(choice)] for choice, share in choices.items())
        fitted_bias.append(oracle.mean() - really)
        above.append(oracle.mean() - best)

    assert stats.ttest_1samp(naive, 0, alternative="greater").pvalue < 1e-6
    assert stats.ttest_1samp(naive_bias, 0, alternative="greater").pvalue < 1e-6
    assert abs(np.mean(fitted_bias)) < 3 * stats.sem(fitted_bias)
    assert np.mean(above) < 3 * stats.sem(above)
