"""Intervals over seeds and users: what they hold in simulations, beside the bootstrap and other libraries."""

import numpy as np
import pytest
from scipy.stats import t as student
from scipy.stats import ttest_1samp

from lwa_core.statistics.seeds import equivalent, holm, not_shown_worse, p_value, seeds_estimate, seeds_needed


def drawn(rng, seeds, users, by_seed=1.0, by_user=1.0, rest=1.0, mean=0.0):
    """Crossed effects: the same users under every seed."""
    seed, user = rng.normal(0, by_seed, (seeds, 1)), rng.normal(0, by_user, (1, users))
    return mean + seed + user + rng.normal(0, rest, (seeds, users))


@pytest.mark.parametrize(("by_seed", "by_user"), [(1.0, 1.0), (0.1, 5.0), (0.3, 1.0), (0.0, 1.0), (1.0, 0.0)])
@pytest.mark.parametrize("seeds", [2, 3, 5, 10])
def test_where_nothing_differs_a_difference_is_shown_in_five_of_a_hundred_cases(seeds, by_seed, by_user):
    rng = np.random.default_rng(0)
    found = [seeds_estimate(drawn(rng, seeds, 200, by_seed, by_user)) for _ in range(2000)]
    share = np.mean([estimate.low > 0 or estimate.high < 0 for estimate in found])
    assert share <= 0.06
    if by_seed and not by_user:
        assert share >= 0.03


def test_it_agrees_with_the_bootstrap_of_both_where_there_are_many_seeds():
    rng = np.random.default_rng(1)
    table = drawn(rng, 60, 400, 0.3, 2.0)
    means = []
    for _ in range(2000):
        rows, columns = rng.integers(60, size=60), rng.integers(400, size=400)
        means.append(table[rows][:, columns].mean())
    low, high = np.quantile(means, [0.025, 0.975])
    estimate = seeds_estimate(table)
    assert estimate.high - estimate.low == pytest.approx(high - low, rel=0.1)


def test_of_means_alone_it_is_students_interval():
    values = np.array([0.1, 0.12, 0.09, 0.15])
    estimate = seeds_estimate(values[:, None])
    low, high = student.interval(0.95, 3, values.mean(), values.std(ddof=1) / 2)
    assert (low, high) == pytest.approx((estimate.low, estimate.high))
    assert ttest_1samp(values, 0).pvalue == pytest.approx(p_value(estimate))


def test_one_seed_is_over_users_alone_and_one_figure_has_no_interval():
    table = np.random.default_rng(0).random((1, 50))
    estimate = seeds_estimate(table)
    low, high = student.interval(0.95, 49, table.mean(), table.std(ddof=1) / np.sqrt(50))
    assert (low, high) == pytest.approx((estimate.low, estimate.high))
    assert seeds_estimate(np.array([[0.3]])).low is None


def test_holm_is_that_of_the_step_down_definition():
    values = [0.01, 0.04, 0.03, 0.005]
    # Smallest times 4, then 3, 2, 1, never falling.
    assert holm(values) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([]) == []
    assert max(holm([0.9, 0.8])) <= 1


def test_the_set_holds_the_best_and_loses_what_is_far_behind():
    rng = np.random.default_rng(0)
    missed = wrong = 0
    for _ in range(300):
        tables = {name: drawn(rng, 5, 100, 0.05, 0, 0.3, mean) for name, mean in (("a", 0.0), ("b", 0.0), ("c", -0.5))}
        kept = not_shown_worse(tables)
        missed += not {"a", "b"} <= set(kept)
        wrong += "c" in kept
    assert missed <= 0.1 * 300  # either of the two best, 5 % each at the most
    assert wrong <= 3


def test_differences_within_a_margin_are_shown_to_be_so_and_only_then():
    rng = np.random.default_rng(0)
    at_the_margin = [equivalent(seeds_estimate(drawn(rng, 6, 100, 0.1, 0, 0.1, 0.2)), 0.2) for _ in range(1000)]
    assert np.mean(at_the_margin) <= 0.065
    assert equivalent(seeds_estimate(drawn(rng, 6, 100, 0.01, 0, 0.1)), 0.2)
    assert not equivalent(seeds_estimate(np.array([[0.0]])), 0.2)


def test_with_as_many_seeds_as_it_says_the_margin_is_seen_in_eight_of_ten_studies():
    rng = np.random.default_rng(0)
    pilot = drawn(rng, 200, 100, 0.1, 0.05, 0.2)
    seeds = seeds_needed(pilot, margin=0.1)
    seen = [seeds_estimate(drawn(rng, seeds, 100, 0.1, 0.05, 0.2, 0.1)).low > 0 for _ in range(1000)]
    assert 0.72 <= np.mean(seen) <= 0.9
    assert seeds_needed(pilot, margin=0.2) < seeds


def test_no_number_of_seeds_shows_what_too_few_users_hide():
    rng = np.random.default_rng(0)
    assert seeds_needed(drawn(rng, 5, 20, 0.01, 1.0, 0.01), margin=0.05) is None
    assert seeds_needed(np.zeros((1, 20)), margin=0.05) is None
