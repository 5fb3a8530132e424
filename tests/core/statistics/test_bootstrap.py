import numpy as np
import pytest
from scipy import stats

from lwa_core.statistics.bootstrap import compare, intervals


def test_hits_have_the_exact_interval():
    """Clopper & Pearson's, by scipy; the ends are quantiles of that many draws."""
    for users, hits in ((2, 0), (2, 2), (7, 3), (60, 1), (400, 37)):
        values = (np.arange(users) < hits).astype(float)
        expected = stats.binomtest(hits, users).proportion_ci(0.95, method="exact")

        found = intervals({"hit": values}, resamples=20000)["hit"]

        assert hits / users == pytest.approx(found.mean)
        assert (expected.low, expected.high) == pytest.approx(
            (found.low, found.high), abs=0.02 * (expected.high - expected.low)
        )


def test_agrees_with_a_plain_loop():
    rng = np.random.default_rng(0)
    a, b = rng.random(30), rng.random(30)

    found = compare({"ab": (a, b)}, resamples=199, confidence=0.9, seed=5)["ab"]

    drawn = np.random.default_rng(5).exponential(size=(199, 31))
    ends = {"difference": ([], []), "ratio": ([], [])}
    for weights in drawn / drawn.sum(axis=1, keepdims=True):
        users, unseen = weights[:30], weights[30]
        ends["difference"][0].append(users @ (a - b) - unseen)
        ends["difference"][1].append(users @ (a - b) + unseen)
        ends["ratio"][0].append(users @ a / (users @ b + unseen))
        ends["ratio"][1].append((users @ a + unseen) / (users @ b))
    for name, mean in (("difference", np.mean(a - b)), ("ratio", a.mean() / b.mean())):
        lower, upper = map(sorted, ends[name])
        told = getattr(found, name)
        assert [mean, lower[9], upper[189]] == pytest.approx([told.mean, told.low, told.high])  # the 10th of 200 gaps


def test_what_else_is_measured_does_not_change_an_interval():
    rng = np.random.default_rng(0)
    a, b = rng.random(40), rng.random(40)

    alone = intervals({"a": a}, seed=9)["a"]
    together = intervals({"b": b, "a": a}, seed=9)["a"]

    assert [alone.mean, alone.low, alone.high] == pytest.approx([together.mean, together.low, together.high])


def test_equal_models_may_still_differ_for_users_whom_nobody_saw():
    """Of 60 users nobody differs: the rule of three, in the two-sided form 1 - 0.025^(1/n)."""
    a = np.zeros(60)
    a[:3] = 1, 0.63, 0.5

    found = compare({"x": (a, a.copy())}, resamples=20000)["x"]

    assert (0, 1) == (found.difference.mean, found.ratio.mean)
    assert [-(1 - 0.025 ** (1 / 60)), 1 - 0.025 ** (1 / 60)] == pytest.approx(
        [found.difference.low, found.difference.high], rel=0.05
    )
    assert found.ratio.low < 0.8 < 1.2 < found.ratio.high


def test_pairing_makes_a_difference_narrower_than_its_sides():
    rng = np.random.default_rng(1)
    easy = rng.random(200)
    a, b = np.clip(easy + rng.normal(0, 0.01, 200), 0, 1), easy
    difference = compare({"x": (a, b)})["x"].difference
    single = intervals({"a": a})["a"]

    assert difference.high - difference.low < 0.5 * (single.high - single.low)


def test_users_without_a_value_are_left_out():
    a = np.array([0.1, np.nan, 0.3, 0.5])
    b = np.array([0.0, 1.0, np.nan, 0.1])

    alone = intervals({"a": a, "none": np.full(4, np.nan)})

    assert {"a": pytest.approx(0.3)} == {name: estimate.mean for name, estimate in alone.items()}
    assert 0.25 == pytest.approx(compare({"x": (a, b)})["x"].difference.mean)


def test_a_ratio_to_nothing_is_not_told():
    assert compare({"x": (np.ones(5), np.zeros(5))})["x"].ratio is None


def test_a_ratio_to_a_single_hit_is_open_wide():
    found = compare({"x": (np.ones(5), np.array([1.0, 0, 0, 0, 0]))})["x"].ratio

    assert 5 == found.mean
    assert found.low < 2 < 50 < found.high


@pytest.mark.parametrize("value", [-0.1, 1.5])
def test_values_outside_0_to_1_are_refused(value):
    with pytest.raises(ValueError, match="a metric between 0 and 1 cannot be"):
        intervals({"a": np.array([0.5, value])})


def test_the_blocks_do_not_change_the_weights(monkeypatch):
    values = np.random.default_rng(0).random(6)
    whole = intervals({"a": values}, resamples=50)
    monkeypatch.setattr("lwa_core.statistics.bootstrap.WEIGHTS_AT_ONCE", 20)

    assert whole["a"].low == pytest.approx(intervals({"a": values}, resamples=50)["a"].low)


def test_arrays_of_other_users_are_refused():
    with pytest.raises(ValueError, match="3 values for 2 users"):
        intervals({"a": np.ones(2), "b": np.ones(3)})
