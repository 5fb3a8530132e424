"""Metrics of ranks beside averages over every order of the items that tie, written out, and beside scikit-learn."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lwa_core.statistics.rank_metrics import headline_cutoff, ndcg, recall, reciprocal_rank

GAINS = {
    "ndcg": lambda place, k: 1 / math.log2(1 + place) if place <= k else 0.0,
    "recall": lambda place, k: float(place <= k),
    "mrr": lambda place, k: 1 / place,
}
METRICS = {"ndcg": ndcg, "recall": recall, "mrr": lambda ranks, k, tied: reciprocal_rank(ranks, tied)}


@given(
    places=st.lists(st.tuples(st.integers(0, 40), st.integers(0, 40)), min_size=1, max_size=8),
    k=st.integers(1, 25),
    name=st.sampled_from(sorted(METRICS)),
)
def test_every_place_among_the_tied_is_as_likely(places, k, name):
    ranks = np.array([rank for rank, _ in places])
    tied = np.array([min(tied, max(rank - 1, 0)) for rank, tied in places])

    expected = [
        np.mean([GAINS[name](place, k) for place in range(rank - equal, rank + 1)]) if rank else 0.0
        for rank, equal in zip(ranks.tolist(), tied.tolist(), strict=True)
    ]

    assert expected == pytest.approx(METRICS[name](ranks, k, tied).tolist(), abs=1e-12)


@given(scores=st.lists(st.integers(0, 3), min_size=2, max_size=5), k=st.integers(1, 6))
def test_is_the_mean_over_all_orders_of_the_items(scores, k):
    """What a sort gives that takes the items in any order and keeps that of equals."""
    target, items = 0, range(len(scores))
    values = []
    for order in itertools.permutations(items):
        place = sorted(order, key=lambda item: -scores[item]).index(target) + 1
        values.append(GAINS["ndcg"](place, k))
    rank, tied = sum(score >= scores[target] for score in scores), scores.count(scores[target]) - 1

    assert np.mean(values) == pytest.approx(ndcg(np.array([rank]), k, np.array([tied]))[0])


@pytest.mark.parametrize("k", [1, 5, 10])
def test_ndcg_of_ties_is_that_of_scikit_learn(k):
    ndcg_score = pytest.importorskip("sklearn.metrics").ndcg_score
    rng = np.random.default_rng(0)
    scores, targets = rng.integers(0, 6, (30, 20)), rng.integers(0, 20, 30)
    own = scores[np.arange(30), targets][:, None]
    ranks, tied = (scores >= own).sum(axis=1), (scores == own).sum(axis=1) - 1
    relevant = np.eye(20)[targets]

    expected = [ndcg_score(relevant[[row]], scores[[row]], k=k) for row in range(30)]
    assert expected == pytest.approx(ndcg(ranks, k, tied).tolist())


@pytest.mark.parametrize("items", [1, 7, 1000, 10**6])
def test_scores_that_are_all_alike_have_what_chance_has(items):
    ranks, tied = np.array([items]), np.array([items - 1])

    assert sum(1 / math.log2(1 + place) for place in range(1, min(items, 10) + 1)) / items == pytest.approx(
        ndcg(ranks, 10, tied)[0]
    )
    assert min(10, items) / items == pytest.approx(recall(ranks, 10, tied)[0])
    assert sum(1 / place for place in range(1, items + 1)) / items == pytest.approx(reciprocal_rank(ranks, tied)[0])


def test_without_ties_a_rank_counts_as_it_is():
    ranks = np.array([0, 1, 2, 10, 11])

    assert [0.0, 1.0, 1 / np.log2(3), 1 / np.log2(11), 0.0] == ndcg(ranks, 10).tolist()
    assert [0.0, 1.0, 1.0, 1.0, 0.0] == recall(ranks, 10).tolist()
    assert [0.0, 1.0, 0.5, 0.1, 1 / 11] == reciprocal_rank(ranks).tolist()


@pytest.mark.parametrize(("ks", "expected"), [((5, 10, 20), 10), ((5, 20), 20), ((1,), 1)])
def test_the_cut_off_of_sentences(ks, expected):
    assert expected == headline_cutoff(ks)
