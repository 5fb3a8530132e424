import itertools
import math
from fractions import Fraction

import attrs
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ranked_data import leave_last_out
from scipy.sparse import csr_array

from lwa_core.recommendation import baselines as module
from lwa_core.recommendation.baselines import baselines, bigram, item_knn, popularity
from lwa_core.recommendation.ranking import rank_examples

ITEMS = 6
sequences_of = st.lists(st.lists(st.integers(0, ITEMS - 1), max_size=7), min_size=1, max_size=6)
histories_of = st.lists(st.lists(st.integers(0, ITEMS - 1), max_size=14), min_size=1, max_size=4)


def training(sequences):
    return [sequence[:-1] for sequence in sequences]


def naive_shares(parts):
    events = [item for part in parts for item in part]
    return [events.count(item) / max(len(events), 1) for item in range(ITEMS)]


def arrays(histories):
    return [np.array(history, dtype=np.int32) for history in histories]


def rows(baseline, histories):
    return baseline.scores(arrays(histories)).numpy()


@given(sequences_of, histories_of)
def test_popularity_counts_training_events(sequences, histories):
    expected = [naive_shares(training(sequences))] * len(histories)

    assert np.array(expected) == pytest.approx(rows(popularity(leave_last_out(sequences, ITEMS)), histories))


@given(sequences_of, histories_of)
def test_bigram_counts_what_follows_the_last_item(sequences, histories):
    parts = training(sequences)
    shares = naive_shares(parts)
    steps = [pair for part in parts for pair in itertools.pairwise(part)]

    def score(history, item):
        if not history:
            return shares[item]
        last = history[-1]
        follows = sum(1 for a, _ in steps if a == last)
        return (steps.count((last, item)) + 1.0 * shares[item]) / (follows + 1.0)

    expected = [[score(history, item) for item in range(ITEMS)] for history in histories]
    assert np.array(expected) == pytest.approx(rows(bigram(leave_last_out(sequences, ITEMS)), histories))


def naive_cosine(parts, a, b):
    has_a = {user for user, part in enumerate(parts) if a in part}
    has_b = {user for user, part in enumerate(parts) if b in part}
    return len(has_a & has_b) / math.sqrt(len(has_a) * len(has_b)) if a != b and has_a and has_b else 0.0


@given(sequences_of, histories_of)
def test_item_knn_adds_up_cosines_of_the_last_items(sequences, histories):
    parts = training(sequences)

    def score(history, item):
        recent = history[-10:]
        return sum(0.8**age * naive_cosine(parts, old, item) for age, old in enumerate(reversed(recent)))

    expected = [[score(history, item) for item in range(ITEMS)] for history in histories]
    found = rows(item_knn(leave_last_out(sequences, ITEMS)), histories)
    assert np.array(expected) == pytest.approx(found, abs=2e-9)


def test_item_knn_keeps_the_nearest_neighbours(monkeypatch):
    monkeypatch.setattr(module, "NEIGHBOURS", 1)
    parts = [[0, 1], [0, 1], [0, 2], [3, 0]]
    data = leave_last_out([[*part, 5] for part in parts], ITEMS)

    found = rows(item_knn(data), [[0]])[0]

    assert [1] == np.flatnonzero(found > 1e-6).tolist()
    assert naive_cosine(parts, 0, 1) == pytest.approx(found[1])


@settings(deadline=None)
@given(
    parts=st.lists(st.lists(st.integers(0, 11), min_size=1, max_size=6), min_size=1, max_size=12),
    most=st.integers(1, 6),
    block=st.integers(1, 12),
)
def test_neighbours_are_those_of_exact_fractions_and_of_equals_the_lowest_index(parts, most, block):
    """Rounded, 1/√(2·8) and 2/√(8·8), say, may differ, and what is kept would depend on it."""
    data = leave_last_out([[*part, 0] for part in parts], 12)
    has = [{user for user, part in enumerate(parts) if item in part} for item in range(12)]

    def squared_cosine(a, b):
        return Fraction(len(has[a] & has[b]) ** 2, max(len(has[a]) * len(has[b]), 1))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "NEIGHBOURS", most)
        patch.setattr(module, "BLOCK", block)
        found = item_knn(data).similar

    for item in range(12):
        others = [other for other in range(12) if other != item and squared_cosine(item, other)]
        nearest = sorted(others, key=lambda other: (-squared_cosine(item, other), other))[:most]
        row = found[[item]].tocoo()
        assert sorted(nearest) == sorted(row.coords[1].tolist())
        values = dict(zip(row.coords[1].tolist(), row.data.tolist(), strict=True))
        for a, b in itertools.combinations(nearest, 2):
            assert (squared_cosine(item, a) == squared_cosine(item, b)) == (values[a] == values[b])


def test_the_same_similarities_in_another_order_are_the_same_score():
    """0.8 · a + 0.64 · b + c is another double where c is added first."""
    rng = np.random.default_rng(0)
    knn = item_knn(leave_last_out([[0, 1, 5]] * 3, ITEMS))
    similar = rng.random((ITEMS, 1)) * np.ones((1, ITEMS))
    similar[[0, 1, 2], 4] = similar[[0, 1, 2], 3] + 1e-15 * np.array([1, -2, 1])
    exact = attrs.evolve(knn, similar=csr_array(similar), popularity=np.arange(ITEMS) / (2 * module.GRID * ITEMS))

    found = rows(exact, [[0, 1, 2], [2, 1, 0]])

    assert (np.diff(found, axis=1) > 0).all()  # ties of all items: popularity alone orders them


def test_item_knn_does_not_depend_on_its_blocks(monkeypatch):
    rng = np.random.default_rng(0)
    data = leave_last_out([rng.integers(0, 40, size=10).tolist() for _ in range(60)], 40)
    histories = [rng.integers(0, 40, size=5).tolist() for _ in range(8)]
    whole = rows(item_knn(data), histories)

    monkeypatch.setattr(module, "BLOCK", 7)

    assert whole == pytest.approx(rows(item_knn(data), histories))


def test_popularity_breaks_the_ties_of_item_knn():
    data = leave_last_out([[0, 1, 5], [2, 5], [2, 5], [3, 5]], ITEMS)

    order = np.argsort(-rows(item_knn(data), [[0]])[0], kind="stable")

    assert [1, 2] == order[:2].tolist()


def test_test_items_are_not_looked_at():
    data = leave_last_out([[0, 1, 5], [0, 1, 5], [0, 1, 5]], ITEMS)

    for baseline in (popularity(data), bigram(data)):
        assert 0 == rows(baseline, [[0, 1]])[0, 5]


def test_all_of_them_can_be_ranked():
    data = leave_last_out([[0, 1, 2], [0, 1, 3], [4]], ITEMS)

    fitted = baselines(data)

    assert ["popularity", "bigram", "item-knn"] == [baseline.name for baseline in fitted]
    for baseline in fitted:
        ranking = rank_examples(baseline.scores, data, data.test, filter_seen=True, depth=ITEMS)
        assert set(range(1, ITEMS + 1)) >= set(ranking.ranks.tolist())
