import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from ranked_data import catalogue

from lwa_core.recommendation.metrics import _Sets, coverage, per_user
from lwa_core.recommendation.ranking import Ranking


def naive_ndcg(rank, k):
    gains = [0.0] * k
    if 1 <= rank <= k:
        gains[rank - 1] = 1.0
    ideal = [1.0] + [0.0] * (k - 1)

    def dcg(values):
        return sum(gain / math.log2(place + 2) for place, gain in enumerate(values))

    return dcg(gains) / dcg(ideal)


def naive_diversity(top, categories):
    distances = []
    for a, b in itertools.combinations([item for item in top if item >= 0], 2):
        first, second = set(categories[a]), set(categories[b])
        if first and second:
            distances.append(1 - len(first & second) / len(first | second))
    return sum(distances) / len(distances) if distances else math.nan


ranks_of = st.lists(st.integers(0, 30), min_size=1, max_size=20)


def ranking_of(ranks, top=None):
    top = np.zeros((len(ranks), 20)) if top is None else np.array(top)
    return Ranking(np.array(ranks, dtype=np.int64), top.astype(np.int32))


@given(ranks_of)
def test_metrics_of_ranks_agree_with_their_definitions(ranks):
    values = per_user(ranking_of(ranks), catalogue(31), (1, 5, 20))

    for k in (1, 5, 20):
        assert [naive_ndcg(rank, k) for rank in ranks] == pytest.approx(values[f"ndcg@{k}"])
        assert [float(rank in range(1, k + 1)) for rank in ranks] == values[f"recall@{k}"].tolist()
    assert [1 / rank if rank else 0.0 for rank in ranks] == pytest.approx(values["mrr"])


@st.composite
def lists_with_categories(draw):
    items = draw(st.integers(1, 8))
    names = st.lists(st.sampled_from("abcd"), max_size=4)
    categories = draw(st.lists(names, min_size=items, max_size=items))
    depth = draw(st.integers(1, 6))
    lists = st.permutations(range(items)).map(lambda order: (list(order) + [-1] * depth)[:depth])
    return draw(st.lists(lists, min_size=1, max_size=5)), tuple(map(tuple, categories)), depth


@given(lists_with_categories())
def test_diversity_agrees_with_comparing_pair_by_pair(case):
    tops, categories, depth = case
    ks = tuple(range(1, depth + 1))

    values = per_user(ranking_of([1] * len(tops), tops), catalogue(len(categories), categories), ks)

    if any(categories):
        for k in ks:
            expected = [naive_diversity(top[:k], categories) for top in tops]
            assert expected == pytest.approx(values[f"diversity@{k}"].tolist(), nan_ok=True)
    else:
        assert not [name for name in values if name.startswith("diversity")]


@pytest.mark.parametrize("names", ["ab", "abcdefgh"])
def test_diversity_of_many_users_does_not_depend_on_the_chunks(monkeypatch, names):
    rng = np.random.default_rng(0)
    categories = tuple(tuple(rng.choice(list(names), size=2)) for _ in range(30))
    ranking = ranking_of([1] * 50, np.stack([rng.permutation(30)[:20] for _ in range(50)]))
    whole = per_user(ranking, catalogue(30, categories), (20,))["diversity@20"]

    monkeypatch.setattr("lwa_core.recommendation.metrics.PAIRS_AT_ONCE", 40)

    parts = per_user(ranking, catalogue(30, categories), (20,))["diversity@20"]
    np.testing.assert_allclose(whole, parts, rtol=1e-12)


@given(lists_with_categories())
def test_coverage_is_the_share_of_items_in_any_list(case):
    tops, categories, depth = case
    ranking = ranking_of([1] * len(tops), tops)

    for k in range(1, depth + 1):
        expected = len({item for top in tops for item in top[:k]} - {-1}) / len(categories)
        assert expected == coverage(ranking, catalogue(len(categories)), k)


@given(lists_with_categories())
def test_counting_sets_and_comparing_pairs_give_the_same(case):
    tops, categories, depth = case
    if any(categories):
        sets, top, ks = _Sets(categories), np.array(tops, dtype=np.int32), range(1, depth + 1)

        counted, compared = sets.by_counts(top, ks), sets.by_pairs(top, ks)

        for k in ks:
            for one, other in zip(counted[k], compared[k], strict=True):
                np.testing.assert_allclose(one, other, atol=1e-12)


def test_more_than_there_is_is_measured_as_all_there_is():
    """A k above the catalogue takes neither its memory nor its time."""
    rng = np.random.default_rng(0)
    categories = tuple(tuple(rng.choice(list("abcd"), size=2)) for _ in range(30))
    top = np.stack([rng.permutation(30) for _ in range(50)])
    ranking, items = ranking_of(rng.integers(1, 31, 50), top), catalogue(30, categories)

    far, near = per_user(ranking, items, (10**9,)), per_user(ranking, items, (30,))

    for metric in ("ndcg", "recall", "diversity"):
        np.testing.assert_allclose(far[f"{metric}@{10**9}"], near[f"{metric}@30"], rtol=1e-12)
    assert coverage(ranking, items, 10**9) == coverage(ranking, items, 30) == 1.0


def test_without_categories_there_is_no_diversity():
    assert {"ndcg@5", "recall@5", "mrr"} == set(per_user(ranking_of([1]), catalogue(3), (5,)))


def test_a_perfect_ranking_scores_one():
    values = per_user(ranking_of([1, 1, 1]), catalogue(3), (1, 10))

    assert {1.0} == {float(v) for array in values.values() for v in array}


def test_ndcg_depends_on_the_order_and_recall_does_not():
    first, second = per_user(ranking_of([1]), catalogue(3), (5,)), per_user(ranking_of([2]), catalogue(3), (5,))

    assert first["recall@5"].tolist() == second["recall@5"].tolist()
    assert first["ndcg@5"][0] > second["ndcg@5"][0]


def test_uniform_ranks_recall_k_of_the_candidates():
    ranks = list(range(1, 101))

    assert pytest.approx(0.1) == per_user(ranking_of(ranks), catalogue(100), (10,))["recall@10"].mean()


def test_lists_shorter_than_k_are_refused():
    with pytest.raises(ValueError, match="top lists of 20 items"):
        per_user(ranking_of([1]), catalogue(60), (50,))
