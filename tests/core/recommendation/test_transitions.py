"""The sparse table against the formula, written out in loops over a dense table."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ranked_data import catalogue, leave_last_out
from transition_knobs import knobs

from lwa_core.data import Catalogue
from lwa_core.recommendation import transitions as module
from lwa_core.recommendation.baselines import bigram, transitions
from lwa_core.recommendation.transitions import (
    Counting,
    TransitionSettings,
    count_transitions,
    fit_transitions,
    item_features,
)

pytest.importorskip("sklearn")

ITEMS = 6
TITLED = Catalogue(
    tuple("abcdef"),
    titles=("red lamp", "red chair", "old lamp", "old red chair", "", "green"),
    categories=(("light",), ("seat",), ("light", "used"), ("seat", "used"), (), ("light",)),
)
WORDS = [
    ["red", "lamp", "category light"],
    ["red", "chair", "category seat"],
    ["old", "lamp", "category light", "category used"],
    ["old", "red", "chair", "category seat", "category used"],
    [],
    ["category light"],
]
"""Of the titled items the terms that more than one of them has."""

sequences_of = st.lists(st.lists(st.integers(0, ITEMS - 1), max_size=8), min_size=1, max_size=6)
histories_of = st.lists(st.lists(st.integers(0, ITEMS - 1), max_size=9), min_size=1, max_size=4)


def arrays(sequences):
    return [np.array(sequence, dtype=np.int32) for sequence in sequences]


def naive_cosines():
    """TF-IDF as scikit-learn has it: (1 + ln tf) · (1 + ln((1 + n) / (1 + df))); here every tf is 1."""
    idf = {}
    for term in {term for words in WORDS for term in words}:
        idf[term] = 1 + math.log((1 + ITEMS) / (1 + sum(term in words for words in WORDS)))
    cosines = np.zeros((ITEMS, ITEMS))
    for a, words in enumerate(WORDS):
        for b, others in enumerate(WORDS):
            length = math.sqrt(sum(idf[t] ** 2 for t in words) * sum(idf[t] ** 2 for t in others))
            common = sum(idf[t] ** 2 for t in words if t in others)
            cosines[a, b] = common / length if length else 0.0
    return cosines


def naive_scores(sequences, histories, knobs, cosines):
    """The formula, pair by pair."""
    counting = knobs.counting
    counted = np.zeros((ITEMS, ITEMS))
    for sequence in sequences:
        for at, item in enumerate(sequence):
            for distance in range(1, counting.window + 1):
                if at + distance < len(sequence):
                    weight = counting.fade ** (distance - 1) / distance**counting.power
                    counted[item, sequence[at + distance]] += weight
                    counted[sequence[at + distance], item] += counting.reverse * weight
    events = [sum(sequence.count(item) for sequence in sequences) for item in range(ITEMS)]
    shares = [max(count, 0.5) / max(sum(events), 1) for count in events]
    sums = counted.sum(axis=1)
    mean = np.mean([r for r in sums if r > 0] or [1.0])

    def evidence(a, b):
        if not counted[a, b]:
            return 0.0
        x = counted[a, b] / sums[a] * (sums[a] / mean) ** (1 - knobs.evidence)
        x /= (ITEMS * shares[b]) ** knobs.correction
        return x if knobs.scale is None else math.log(1 + x / knobs.scale)

    def score(history, b):
        total = knobs.popularity * math.log(shares[b])
        for age, item in enumerate(reversed(history[-knobs.history :])):
            total += knobs.decay**age * evidence(item, b)
            total += knobs.features * knobs.features_decay**age * cosines[item, b]
        return total

    return np.array([[score(history, b) for b in range(ITEMS)] for history in histories])


@settings(deadline=None)
@given(sequences_of, histories_of, knobs)
def test_scores_are_those_of_the_formula(sequences, histories, knobs):
    found = fit_transitions(arrays(sequences), TITLED, knobs).table(arrays(histories))

    assert naive_scores(sequences, histories, knobs, naive_cosines()) == pytest.approx(found, rel=1e-9, abs=2e-9)
    assert np.isfinite(found).all()


@settings(deadline=None)
@given(sequences_of, histories_of, knobs)
def test_without_features_their_weight_moves_nothing(sequences, histories, knobs):
    found = fit_transitions(arrays(sequences), catalogue(ITEMS), knobs).table(arrays(histories))

    nothing = np.zeros((ITEMS, ITEMS))
    assert naive_scores(sequences, histories, knobs, nothing) == pytest.approx(found, rel=1e-9, abs=2e-9)


@settings(deadline=None)
@given(sequences_of, st.integers(1, 30), st.integers(1, 40), st.sampled_from([0.0, 0.5]))
def test_blocks_change_nothing_and_the_strongest_are_kept(sequences, pairs, entries, reverse):
    counting = Counting(window=4, reverse=reverse)
    whole = count_transitions(arrays(sequences), ITEMS, counting)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "PAIRS", pairs)
        patch.setattr(module, "ENTRIES", entries)
        cut = count_transitions(arrays(sequences), ITEMS, counting)

    assert whole.sums.tolist() == cut.sums.tolist()
    most = max(1, entries // ITEMS)
    for full, kept in zip(whole.table.toarray(), cut.table.toarray(), strict=True):
        strongest = sorted(np.flatnonzero(full), key=lambda item: (-full[item], item))[:most]
        expected = np.where(np.isin(np.arange(ITEMS), strongest), full, 0.0)
        assert expected.tolist() == kept.tolist()


def test_one_item_and_full_correction_order_as_the_smoothed_bigram():
    """log(1 + c / (r μ n p)) + log p = log(p + c / (r μ n)); with μ n r = m that is the bigram less a constant."""
    sequences = [[0, 1, 2, 3], [1, 2, 4], [0, 1, 4], [0, 1, 2]]
    data = leave_last_out([[*sequence, 5] for sequence in sequences], ITEMS)
    history = arrays([[3, 1]])
    after = 4  # events that follow item 1
    knobs = TransitionSettings(Counting(1, 1.0, 0.0, 0.0), 1.0, 1.0, 1 / (after * ITEMS), 1, 1.0, 0.0, 1.0, 1.0)

    known = [0, 1, 2, 3, 4]  # item 5 has no event
    ours = transitions(data, knobs).scores(history).numpy()[0][known]
    theirs = np.log(bigram(data).scores(history).numpy()[0][known])

    assert (theirs - theirs[0]).tolist() == pytest.approx((ours - ours[0]).tolist())


def test_equal_evidence_is_an_equal_score():
    table = fit_transitions(arrays([[0, 1], [0, 2], [3, 1], [3, 2]]), catalogue(ITEMS), TransitionSettings())

    scores = table.table(arrays([[0, 3], [3, 0, 3]]))

    assert scores[:, 1].tolist() == scores[:, 2].tolist()


def test_items_without_events_are_ranked_by_their_titles():
    knobs = TransitionSettings(features=1.0)
    scores = fit_transitions(arrays([[1, 4], [1, 4]]), TITLED, knobs).table(arrays([[1]]))[0]

    assert scores[3] > scores[0] > scores[2]  # a red chair, something red, neither


@pytest.mark.parametrize(
    "nothing",
    [
        Catalogue(("a", "b")),
        Catalogue(("a", "b"), titles=("", "")),
        Catalogue(("a", "b"), titles=("one", "two")),
        Catalogue(("a", "b"), categories=((), ())),
    ],
)
def test_what_no_two_items_share_is_no_feature(nothing):
    assert item_features(nothing) is None


def test_rows_of_features_have_length_one():
    squares = item_features(TITLED).multiply(item_features(TITLED)).sum(axis=1)

    assert [1, 1, 1, 1, 0, 1] == pytest.approx(np.asarray(squares).ravel().tolist())


def test_no_event_and_no_history_leave_finite_scores():
    empty = fit_transitions([], catalogue(ITEMS), TransitionSettings())

    assert np.isfinite(empty.table(arrays([[], [1, 2]]))).all()
    assert (0, ITEMS) == empty.table([]).shape


def test_what_is_fitted_is_the_training_part():
    data = leave_last_out([[0, 1, 5], [0, 1, 5], [0, 1, 5]], ITEMS)

    scores = transitions(data, TransitionSettings()).scores(arrays([[0, 1]])).numpy()[0]

    assert scores[5] == scores.min()
