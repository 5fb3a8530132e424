"""Cold start: which test examples it counts, and their figures, against a loop over users."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ranked_data import leave_last_out

from lwa_core.recommendation.ranking import Ranking
from lwa_core.recommendation.sections import Evaluate
from lwa_core.results.summary import cold_start
from lwa_core.statistics.bootstrap import intervals

ITEMS = 8
EVALUATE = Evaluate(k=(2, 10), bootstrap=100)


def ranking(ranks):
    return Ranking(np.array(ranks, dtype=np.int64), np.zeros((len(ranks), 10), dtype=np.int32))


@settings(max_examples=40)
@given(
    st.lists(st.lists(st.integers(0, ITEMS - 1), min_size=1, max_size=5), min_size=1, max_size=8), st.integers(0, 99)
)
def test_figures_are_those_of_targets_that_nobody_has_in_training(sequences, seed):
    data = leave_last_out(sequences, ITEMS)
    ranks = {name: np.random.default_rng([seed, n]).integers(0, 13, len(sequences)) for n, name in enumerate("ab")}
    trained = {item for sequence in sequences for item in sequence[:-1]}
    cold = [user for user, sequence in enumerate(sequences) if sequence[-1] not in trained]

    told = cold_start({name: ranking(r) for name, r in ranks.items()}, data, EVALUATE, seed=0)

    if not cold:
        assert told is None
        return
    assert (len(cold), len(sequences)) == (told.examples, told.of)
    assert len({sequences[user][-1] for user in cold}) == told.items
    assert ["a", "b"] == list(told.models)
    for name, figures in told.models.items():
        for k in (2, 10):
            hits = [int(ranks[name][user]) for user in cold if 1 <= ranks[name][user] <= k]
            gains = sum(1 / math.log2(1 + rank) for rank in hits)
            assert len(hits) / len(cold) == pytest.approx(figures[f"recall@{k}"].mean, rel=1e-9)
            assert gains / len(cold) == pytest.approx(figures[f"ndcg@{k}"].mean, rel=1e-9)


def test_intervals_are_those_of_these_users_alone():
    rng = np.random.default_rng(0)
    sequences = [[0, 1, 2 + user % 2] if user % 3 else [0, 1, 0] for user in range(90)]
    ranks = rng.integers(0, 13, 90)
    hits = ((ranks >= 1) & (ranks <= 10)).astype(float)[[user for user in range(90) if user % 3]]

    told = cold_start({"teacher": ranking(ranks)}, leave_last_out(sequences, ITEMS), EVALUATE, seed=7)

    expected = intervals({"hits": hits}, resamples=100, confidence=0.95, seed=7)["hits"]
    assert (60, 2) == (told.examples, told.items)
    found = told.models["teacher"]["recall@10"]
    assert [expected.mean, expected.low, expected.high] == pytest.approx([found.mean, found.low, found.high])
    assert found.low < found.mean < found.high
