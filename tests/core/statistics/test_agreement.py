"""Agreement of scorers against scipy, hand-computed examples and all permutations gone through one by one."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import stats

from lwa_core.statistics.agreement import (
    borda_points,
    concordance,
    correlations,
    overlap,
    robust_rank_aggregation,
    spearman,
    spearman_rows,
)

TIED = np.array([[1.0, 2, 2, 3, 5], [4.0, 1, 3, 3, 3], [0.5, 0.1, 0.7, 0.9, 0.8]])


def tables(scorers, layers):
    """Few distinct values, so that ties are common."""
    sizes = st.tuples(st.integers(*scorers), st.integers(*layers))
    return sizes.flatmap(lambda shape: hnp.arrays(np.float64, shape, elements=st.integers(0, 5).map(float)))


def naive_w(scores):
    """From the definition: W is the variance of the rank sums over its largest possible value, ties taken off."""
    m, n = scores.shape
    ranks = [stats.rankdata(row) for row in scores]
    sums = [math.fsum(row[i] for row in ranks) for i in range(n)]
    mean = math.fsum(sums) / n
    ties = sum(sum(c**3 - c for c in (list(row).count(v) for v in set(row))) for row in ranks)
    return 12 * math.fsum((s - mean) ** 2 for s in sums) / (m**2 * (n**3 - n) - m * ties)


@given(hnp.arrays(np.float64, (3, 7), elements=st.integers(0, 4).map(float)), st.data())
def test_spearman_is_scipys(rows, data):
    others = data.draw(hnp.arrays(np.float64, (3, 7), elements=st.integers(0, 4).map(float)))

    assert [spearman(a, b) for a, b in zip(rows, others, strict=True)] == spearman_rows(rows, others).tolist()
    for a, b, found in zip(rows, others, spearman_rows(rows, others), strict=True):
        if len(set(a)) == 1 or len(set(b)) == 1:
            assert 0.0 == found
        else:
            assert stats.spearmanr(a, b).statistic == pytest.approx(found, abs=1e-12)


@given(tables(scorers=(2, 4), layers=(2, 6)))
def test_w_is_that_of_the_definition(scores):
    found = concordance(scores, permutations=9)

    if all(len(set(row)) == 1 for row in scores):
        assert found is None
    else:
        assert naive_w(scores) == pytest.approx(found.w, abs=1e-12)
        assert 0 <= found.w <= 1 + 1e-12


@given(hnp.arrays(np.float64, (4, 8), elements=st.floats(-1, 1), unique=True))
def test_w_is_the_mean_spearman_in_other_words(scores):
    mean = np.mean([stats.spearmanr(a, b).statistic for a, b in itertools.combinations(scores, 2)])

    assert (4 * concordance(scores, permutations=9).w - 1) / 3 == pytest.approx(mean, abs=1e-9)


def test_w_of_an_example_by_hand():
    # Rank sums 5, 9, 10, 6; mean 7.5; squares 6.25 + 2.25 + 6.25 + 2.25 = 17; W = 12 · 17 / (9 · 60).
    scores = np.array([[1.0, 4, 3, 2], [2.0, 1, 4, 3], [2.0, 4, 3, 1]])

    assert 12 * 17 / (9 * 60) == pytest.approx(concordance(scores).w, abs=1e-12)


@pytest.mark.parametrize("scores", [TIED[:2], TIED[:, :4], np.array([[1.0, 2, 3], [1.0, 2, 3], [1.0, 3, 2]])])
def test_the_p_value_of_w_is_the_share_of_all_orders(scores):
    observed = naive_w(scores)
    orders = list(itertools.permutations(range(scores.shape[1])))
    drawn = [
        naive_w(np.array([row[list(order)] for row, order in zip(scores, each, strict=True)]))
        for each in itertools.product(orders, repeat=len(scores))
    ]

    found = concordance(scores)

    assert found.exact
    assert np.mean([w >= observed - 1e-12 for w in drawn]) == pytest.approx(found.p, abs=1e-12)


def test_the_random_p_value_of_w_is_near_the_exact_one():
    scores = np.random.default_rng(1).normal(size=(2, 8)) + np.linspace(0, 1.5, 8)
    exact = concordance(scores)
    # Three scorers of 8 layers are too many to go through; the third is constant and changes no order of rank sums.
    drawn = concordance(np.vstack([scores, np.zeros(8)]), permutations=20_000, seed=3)

    assert (exact.exact, drawn.exact) == (True, False)
    assert exact.permutations == math.factorial(8)
    assert exact.p == pytest.approx(drawn.p, abs=4 * math.sqrt(exact.p / 20_000))


def test_scorers_that_agree_entirely_have_w_1_and_the_smallest_p():
    found = concordance(np.tile(np.arange(12.0), (4, 1)), permutations=99)

    assert (1.0, 1 / 100, 99, False) == (pytest.approx(found.w), found.p, found.permutations, found.exact)


def test_p_values_of_independent_orders_are_uniform():
    rng = np.random.default_rng(0)
    p = [concordance(rng.normal(size=(3, 9)), permutations=199, seed=i).p for i in range(300)]

    assert stats.kstest(p, "uniform").pvalue > 0.01


def test_one_scorer_or_one_layer_has_no_w():
    assert concordance(np.array([[1.0, 2.0]])) is None
    assert concordance(np.array([[1.0], [2.0]])) is None
    assert concordance(np.zeros((2, 3))) is None


@given(tables(scorers=(2, 4), layers=(2, 6)))
def test_tau_is_scipys(scores):
    found = correlations(scores)

    for i, j in itertools.product(range(len(scores)), repeat=2):
        expected = stats.kendalltau(scores[i], scores[j]).statistic
        assert (1.0 if i == j else 0.0 if np.isnan(expected) else expected) == pytest.approx(found.tau[i, j], abs=1e-6)


def test_the_p_value_of_tau_is_scipys_exact_one_where_there_are_no_ties():
    scores = np.random.default_rng(4).normal(size=(4, 8)) + np.linspace(0, 1, 8)

    found = correlations(scores)

    assert (True, math.factorial(8)) == (found.exact, found.permutations)
    for i, j in itertools.combinations(range(4), 2):
        expected = stats.kendalltau(scores[i], scores[j], method="exact").pvalue
        assert expected == pytest.approx(found.p[i, j], abs=1e-12)
        assert found.p[i, j] == found.p[j, i]


def test_the_p_value_of_tau_with_ties_is_the_share_of_all_orders():
    found = correlations(TIED)

    for i, j in itertools.combinations(range(3), 2):
        observed = abs(stats.kendalltau(TIED[i], TIED[j]).statistic)
        drawn = [abs(stats.kendalltau(TIED[i], order).statistic) for order in itertools.permutations(TIED[j])]
        assert np.mean([tau >= observed - 1e-12 for tau in drawn]) == pytest.approx(found.p[i, j], abs=1e-12)


def test_the_random_p_value_of_tau_is_near_the_normal_one(monkeypatch):
    monkeypatch.setattr("lwa_core.statistics.agreement.ENTRIES_AT_ONCE", 5000)  # in several blocks
    scores = np.random.default_rng(2).normal(size=(3, 20)) + np.linspace(0, 1, 20)

    found = correlations(scores, permutations=4999)

    assert not found.exact
    for i, j in itertools.combinations(range(3), 2):
        expected = stats.kendalltau(scores[i], scores[j], method="exact").pvalue
        assert expected == pytest.approx(found.p[i, j], abs=4 * math.sqrt(expected / 4999) + 1 / 4999)
    assert found.p.min() >= 1 / 5000


def test_a_scorer_that_ranks_nothing_correlates_with_none():
    found = correlations(np.array([[1.0, 1, 1, 1], [1.0, 2, 3, 4]]))

    assert (0.0, 1.0) == (found.tau[0, 1], found.p[0, 1])


def test_overlap_of_an_example_by_hand():
    scores = np.array([[1.0, 2, 3, 4, 5, 6], [6.0, 5, 4, 3, 2, 1], [6.0, 1, 2, 5, 3, 4]])

    found = overlap(scores, 3)

    assert [[3, 0, 2], [0, 3, 1], [2, 1, 3]] == found.shared.tolist()
    assert 1.5 == found.chance
    # Of the 20 threes out of 6, 10 hold at least two given ones: C(3,2)·3 + 1.
    assert [10 / 20, 1.0, 1 / 20] == pytest.approx([found.p[0, 2], found.p[0, 1], found.p[0, 0]])


@given(st.integers(1, 6), st.integers(0, 6))
def test_chance_and_p_of_the_overlap_are_those_of_all_subsets(layers, shared):
    k = min(layers, 3)
    subsets = list(itertools.combinations(range(layers), k))
    sizes = [len(set(a) & set(range(k))) for a in subsets]
    scores = np.zeros((2, layers))
    scores[0, :k] = 1
    best = subsets[min(shared, len(subsets) - 1)]
    scores[1, list(best)] = 1

    found = overlap(scores, k)

    assert np.mean(sizes) == pytest.approx(found.chance)
    assert len(set(best) & set(range(k))) == found.shared[0, 1]
    assert np.mean([size >= found.shared[0, 1] for size in sizes]) == pytest.approx(found.p[0, 1])


def test_of_equal_scores_the_later_layer_is_the_higher_as_in_a_selection():
    assert [[1, 0], [0, 1]] == overlap(np.array([[1.0, 1, 1], [3.0, 2, 1]]), 1).shared.tolist()
    assert [[1, 1], [1, 1]] == overlap(np.array([[1.0, 1, 1], [1.0, 2, 3]]), 1).shared.tolist()


def test_borda_points_count_the_layers_below():
    assert [[0.0, 1.5, 1.5, 3.0, 4.0], [4.0, 0.0, 2.0, 2.0, 2.0], [1.0, 0.0, 2.0, 4.0, 3.0]] == borda_points(
        TIED
    ).tolist()


@given(tables(scorers=(1, 4), layers=(1, 6)))
def test_borda_points_are_wins_and_half_the_draws(scores):
    above = scores[:, :, None] > scores[:, None, :]
    equal = scores[:, :, None] == scores[:, None, :]

    assert (above.sum(axis=2) + (equal.sum(axis=2) - 1) / 2).tolist() == borda_points(scores).tolist()


def naive_rho(scores):
    """Kolde et al. 2012 with scipy's beta distribution."""
    m, layers = scores.shape
    ranks = np.sort([stats.rankdata(-row) / layers for row in scores], axis=0)
    return np.array(
        [min(stats.beta.cdf(ranks[k - 1, i], k, m - k + 1) for k in range(1, m + 1)) for i in range(layers)]
    )


def test_one_scorer_is_aggregated_to_its_ranks():
    assert [0.75, 0.5, 1.0, 0.25] == pytest.approx(robust_rank_aggregation(np.array([[2.0, 5, 1, 9]])).tolist())


def test_two_scorers_have_a_closed_form():
    """P(U_(1) > a, U_(2) > b) = (1 − a)² − (b − a)² with a, b the rho-quantiles of the smaller and the larger."""
    scores = np.random.default_rng(0).normal(size=(2, 9))
    rho = naive_rho(scores)
    a, b = 1 - np.sqrt(1 - rho), np.sqrt(rho)

    expected = 1 - ((1 - a) ** 2 - (b - a) ** 2)

    np.testing.assert_allclose(robust_rank_aggregation(scores), expected, rtol=1e-9, atol=1e-12)


@given(hnp.arrays(np.float64, (5, 7), elements=st.floats(-1, 1), unique=True))
def test_the_aggregate_lies_between_rho_and_its_bonferroni_bound(scores):
    rho, p = naive_rho(scores), robust_rank_aggregation(scores)

    assert np.all(p >= rho * (1 - 1e-9))
    assert np.all(p <= np.minimum(1, 5 * rho) * (1 + 1e-9))
    assert np.all(np.diff(p[np.argsort(rho)]) >= -1e-12)


def stuart(bounds):
    """P(U_(1) > b_1, …, U_(m) > b_m) by the recursion of Stuart et al. 2003, the way the R package computes it."""
    r = 1 - np.asarray(bounds)[::-1]
    m = len(r)
    v = [1.0]
    for k in range(1, m + 1):
        terms = [(-1) ** (i - 1) * v[k - i] / math.factorial(i) * r[m - k] ** i for i in range(1, k + 1)]
        v.append(math.fsum(terms))
    return math.factorial(m) * v[m]


@pytest.mark.parametrize("scorers", [3, 6])
def test_the_aggregate_is_stuarts_recursion(scorers):
    scores = np.random.default_rng(scorers).normal(size=(scorers, 8))
    k = np.arange(1, scorers + 1)

    expected = [1 - stuart(stats.beta.ppf(rho, k, scorers - k + 1)) for rho in naive_rho(scores)]

    np.testing.assert_allclose(robust_rank_aggregation(scores), expected, rtol=1e-8)


def test_the_aggregate_of_uniform_ranks_is_uniform():
    """With many layers a layer's ranks by independent scorers are near to uniform numbers, and so is its p-value."""
    p = robust_rank_aggregation(np.random.default_rng(7).normal(size=(4, 2000)))

    assert stats.kstest(p, "uniform").pvalue > 0.01


def test_small_p_values_keep_their_digits():
    """Ranked first of 32 by all of 20: rho = 32^-20 (k = m), and no other set of ranks reaches it."""
    p = robust_rank_aggregation(np.tile(np.arange(32.0), (20, 1)))

    assert 32.0**-20 <= p[-1] <= 20 * 32.0**-20
    assert 1.0 == p[0]
    assert np.all(np.diff(p) < 0)
