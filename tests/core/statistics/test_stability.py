"""Certainty of layer orders against loops, closed forms and counted errors."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import stats

from lwa_core.statistics.means import skewed_interval
from lwa_core.statistics.stability import (
    bootstrap_weights,
    bottom_probability,
    look_sizes,
    settled,
    stability_at,
    stability_curve,
    until_settled,
)
from lwa_core.types import LayerScores


def table(rows=60, means=(0.0, 0.3, 0.5, 1.0), seed=0, spread=1.0):
    return np.random.default_rng(seed).normal(means, spread, size=(rows, len(means)))


@pytest.mark.parametrize("k", [0, 1, 3, 4])
def test_bottom_is_the_share_of_resamples_taken_one_by_one(k):
    rows = table()
    counted = np.zeros(4)
    for weights in np.concatenate(list(bootstrap_weights(60, 1000, 0))):
        resample = np.repeat(rows, weights.astype(int), axis=0)
        lowest = sorted(range(4), key=lambda layer: (resample[:, layer].mean(), layer))[:k]
        counted[lowest] += 1

    found = LayerScores("s", rows).bottom(k)

    assert (counted / 1000).tolist() == found.tolist()
    assert k == pytest.approx(found.sum())


def test_bottom_of_two_layers_is_the_normal_probability():
    """The lower of two means: P(difference < 0) = Φ(−d / SE) for a mean difference d of many rows."""
    rows = table(rows=400, means=(0.0, 0.08), seed=5)
    difference = rows[:, 1] - rows[:, 0]

    found = bottom_probability(rows, 1, resamples=20_000)

    expected = stats.norm.cdf(difference.mean() / stats.sem(difference))
    assert 0.55 < expected < 0.99
    assert expected == pytest.approx(found[0], abs=0.02)


def test_bottom_of_one_row_is_unknown():
    assert LayerScores("s", np.array([[1.0, 2.0]])).bottom(1) is None


def test_equal_layers_keep_their_order():
    assert [1.0, 1.0, 0.0] == bottom_probability(np.zeros((9, 3)), 2).tolist()


def test_bottom_follows_the_seed():
    rows = table()

    assert bottom_probability(rows, 2, seed=1).tolist() == bottom_probability(rows, 2, seed=1).tolist()
    assert bottom_probability(rows, 2, seed=1).tolist() != bottom_probability(rows, 2, seed=2).tolist()


def test_blocks_do_not_change_the_resamples(monkeypatch):
    whole = bottom_probability(table(), 2)
    monkeypatch.setattr("lwa_core.statistics.stability.WEIGHTS_AT_ONCE", 700)

    assert whole.tolist() == bottom_probability(table(), 2).tolist()


def test_stability_is_the_loop_over_halves():
    rows = table(rows=31)
    rng = np.random.default_rng(3)
    found = []
    for _ in range(50):
        order = rng.permutation(31)
        halves = rows[order[:15]].mean(axis=0), rows[order[15:30]].mean(axis=0)
        found.append(stats.spearmanr(*halves).statistic)

    assert np.mean(found) == pytest.approx(LayerScores("s", rows).stability(splits=50, seed=3))


def test_the_curve_has_powers_of_two_up_to_half_the_rows():
    assert [8, 16, 32] == [n for n, _ in LayerScores("s", table(rows=64)).stability_curve()]
    assert [8, 16] == [n for n, _ in stability_curve(table(rows=63))]
    assert [] == stability_curve(table(rows=15))
    assert [] == stability_curve(table(rows=64, means=(1.0,)))


def test_the_curve_ends_at_the_stability_of_the_halves():
    scores = LayerScores("s", table(rows=64))

    assert scores.stability() == pytest.approx(stability_at(scores.samples, [8, 32])[1])
    assert scores.stability() == scores.stability_curve()[-1][1]


def test_the_curve_estimates_what_new_rows_would_give():
    """From one table of 256 rows against tables drawn anew, whose orders really are independent."""
    means = np.linspace(0, 1, 6)
    estimated = np.mean([dict(stability_curve(table(256, means, seed)))[32] for seed in range(30)])
    drawn = [
        stats.spearmanr(table(32, means, 1000 + s).mean(axis=0), table(32, means, 9000 + s).mean(axis=0)).statistic
        for s in range(500)
    ]

    assert np.mean(drawn) == pytest.approx(estimated, abs=0.05)


def naively_settled(rows, keep, looks, confidence):
    """By the lower ends of the intervals of the differences, pair by pair."""
    layers = rows.shape[1]
    order = sorted(range(layers), key=lambda layer: (rows[:, layer].mean(), layer))
    kept, dropped = order[layers - keep :], order[: layers - keep]
    level = (1 - confidence) / (len(kept) * len(dropped) * looks) if kept and dropped else 1.0
    return all(
        skewed_interval(rows[:, i] - rows[:, j], 1 - 2 * level)[0] > 0 for i, j in itertools.product(kept, dropped)
    )


@given(
    hnp.arrays(np.float64, (65, 4), elements=st.floats(-1, 1).map(lambda x: round(x, 3))),
    st.floats(0, 2),
    st.integers(0, 4),
    st.integers(1, 5),
)
def test_settled_is_every_paired_bound_at_the_bonferroni_level(noise, gap, keep, looks):
    rows = noise + gap * np.array([0.0, 3.0, 1.0, 2.0])

    assert naively_settled(rows, keep, looks, 0.9) == settled(rows, keep, looks, 0.9)


def test_differences_that_never_vary_settle_by_their_sign():
    rows = np.tile([1.0, 2.0, 3.0], (64, 1)) + np.arange(64.0)[:, None]

    assert settled(rows, 1)
    assert not settled(rows[:39], 1)  # too few to tell
    assert not settled(np.zeros((64, 3)), 1)


def test_one_row_settles_nothing_and_no_choice_is_settled():
    assert not settled(np.array([[1.0, 2.0]]), 1)
    assert settled(np.array([[1.0, 2.0]]), 2)
    assert settled(np.array([[1.0, 2.0]]), 0)


@pytest.mark.parametrize(
    ("start", "most", "sizes"),
    [(8, 64, [8, 16, 32, 64]), (8, 50, [8, 16, 32, 50]), (8, 8, [8]), (8, 5, [5]), (3, 7, [3, 6, 7])],
)
def test_the_looks_are_known_beforehand(start, most, sizes):
    assert sizes == look_sizes(start, most)


def test_it_stops_at_the_first_look_that_settles():
    rows = table(rows=512, means=(0.0, 0.1, 0.9, 1.0))
    asked = []

    def draw(n):
        asked.append(n)
        return rows[:n]

    found, done = until_settled(draw, keep=2, start=16, most=512)

    verdicts = [settled(rows[:n], 2, looks=6) for n in (16, 32, 64, 128, 256, 512)]
    assert (True, [16 << i for i in range(verdicts.index(True) + 1)]) == (done, asked)
    assert rows[: asked[-1]].tolist() == found.tolist()
    assert len(found) < 512


def test_it_ends_with_most_where_layers_are_equal():
    found, done = until_settled(lambda n: table(rows=200, means=(0.0, 0.0, 0.0))[:n], keep=1, start=16, most=200)

    assert (200, False) == (len(found), done)


def test_a_first_look_needs_two_rows():
    with pytest.raises(ValueError, match="at least 2 rows, not 1"):
        until_settled(table, keep=1, start=1, most=8)


@pytest.mark.parametrize(("means", "keep"), [([0.0, 0.01], 1), ([0.0, 0.01, 9.0], 2), ([0, 0, 0.02, 0.02, 0.02], 3)])
def test_a_wrong_set_is_called_settled_no_more_often_than_promised(means, keep):
    """Near ties, where a wrong set is most easily taken for the right one, and skewed rows; the level is 20 %."""
    depth, wrong = len(means), 0
    for seed in range(1000):
        rows = np.random.default_rng(seed).gamma(4.0, 0.5, size=(256, depth)) + np.array(means)
        found, done = until_settled(lambda n, rows=rows: rows[:n], keep, start=16, most=256, confidence=0.8)
        best = np.argsort(found.mean(axis=0), kind="stable")[depth - keep :]
        wrong += done and set(best.tolist()) != set(range(depth - keep, depth))

    assert wrong / 1000 <= 0.2 + 3 * math.sqrt(0.2 * 0.8 / 1000)
    assert wrong > 20 or depth > 3  # or the test would show nothing; with many pairs errors are rarer than allowed


def test_clear_sets_settle_nearly_always():
    done = [
        until_settled(lambda n, seed=seed: table(512, (0.0, 0.1, 1.0, 1.1), seed)[:n], 2, 16, 512)
        for seed in range(100)
    ]

    assert all(settled for _, settled in done)
    assert np.mean([len(rows) for rows, _ in done]) < 128


def test_each_resample_draws_as_many_users_as_there_are():
    weights = np.concatenate(list(bootstrap_weights(7, 50, seed=1)))

    assert (50, 7) == weights.shape
    assert {7.0} == set(weights.sum(axis=1))


def test_resamples_are_those_of_drawing_users_with_replacement():
    users, draws = 5, 4000
    weights = np.concatenate(list(bootstrap_weights(users, draws, seed=3)))

    # Multinomial(n, 1/n): mean 1, variance 1 - 1/n, covariance -1/n.
    expected = np.full((users, users), -1 / users) + np.eye(users)
    assert np.ones(users) == pytest.approx(weights.mean(axis=0), abs=0.06)
    assert expected.ravel() == pytest.approx(np.cov(weights.T).ravel(), abs=0.08)


def test_the_blocks_do_not_change_the_resamples(monkeypatch):
    whole = np.concatenate(list(bootstrap_weights(6, 20, seed=2)))
    monkeypatch.setattr("lwa_core.statistics.stability.WEIGHTS_AT_ONCE", 20)

    assert whole.tolist() == np.concatenate(list(bootstrap_weights(6, 20, seed=2))).tolist()
