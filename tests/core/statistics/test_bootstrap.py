import numpy as np
import pytest

from lwa_core.statistics.bootstrap import bootstrap_weights, compare, intervals


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


def test_agrees_with_a_plain_bootstrap_loop():
    rng = np.random.default_rng(0)
    a, b = rng.random(30), rng.random(30) + 0.5

    found = compare({"ab": (a, b)}, resamples=200, confidence=0.9, seed=5)["ab"]

    draws = np.random.default_rng(5)
    differences, ratios = [], []
    for _ in range(200):
        users = draws.integers(0, 30, size=30)
        differences.append(np.mean([a[u] - b[u] for u in users]))
        ratios.append(np.mean([a[u] for u in users]) / np.mean([b[u] for u in users]))
    expected = [np.mean(a - b), *np.quantile(differences, [0.05, 0.95])]
    assert expected == pytest.approx([found.difference.mean, found.difference.low, found.difference.high])
    expected = [a.mean() / b.mean(), *np.quantile(ratios, [0.05, 0.95])]
    assert expected == pytest.approx([found.ratio.mean, found.ratio.low, found.ratio.high])


def test_what_else_is_measured_does_not_change_an_interval():
    rng = np.random.default_rng(0)
    a, b = rng.random(40), rng.random(40)

    alone = intervals({"a": a}, seed=9)["a"]
    together = intervals({"b": b, "a": a}, seed=9)["a"]

    assert [alone.mean, alone.low, alone.high] == pytest.approx([together.mean, together.low, together.high])


def test_the_interval_covers_the_population_as_often_as_it_says():
    rng = np.random.default_rng(11)
    covered = []
    for trial in range(300):
        estimate = intervals({"x": rng.exponential(2.0, size=100)}, resamples=300, confidence=0.9, seed=trial)["x"]
        covered.append(estimate.low <= 2.0 <= estimate.high)

    # Binomial(300, 0.9) has a standard deviation of 1.7 %; the percentile bootstrap of skewed data falls short a bit.
    assert 0.84 <= np.mean(covered) <= 0.95


def test_two_equal_models_differ_about_as_seldom_as_they_should():
    rng = np.random.default_rng(12)
    differ = []
    for trial in range(300):
        easy = rng.random(120)  # what both models share: pairing takes it out
        a, b = easy + rng.normal(0, 0.1, 120), easy + rng.normal(0, 0.1, 120)
        difference = compare({"x": (a, b)}, resamples=300, seed=trial)["x"].difference
        differ.append(not difference.low <= 0 <= difference.high)

    assert 0.02 <= np.mean(differ) <= 0.09


def test_a_model_against_itself_differs_by_nothing():
    a = np.random.default_rng(0).random(20)

    found = compare({"x": (a, a.copy())})["x"]

    assert (0, 0, 0) == (found.difference.mean, found.difference.low, found.difference.high)
    assert (1, 1, 1) == (found.ratio.mean, found.ratio.low, found.ratio.high)


def test_pairing_makes_a_difference_narrower_than_its_sides():
    rng = np.random.default_rng(1)
    easy = rng.random(200)
    a, b = easy + rng.normal(0, 0.01, 200), easy
    difference = compare({"x": (a, b)})["x"].difference
    single = intervals({"a": a})["a"]

    assert difference.high - difference.low < 0.1 * (single.high - single.low)


def test_users_without_a_value_are_left_out():
    a = np.array([1.0, np.nan, 3.0, 5.0])
    b = np.array([0.0, 1.0, np.nan, 1.0])

    alone = intervals({"a": a, "none": np.full(4, np.nan)})

    assert {"a": 3.0} == {name: estimate.mean for name, estimate in alone.items()}
    assert 2.5 == compare({"x": (a, b)})["x"].difference.mean


def test_a_ratio_to_nothing_is_not_told():
    assert compare({"x": (np.ones(5), np.zeros(5))})["x"].ratio is None
    # In some resamples nobody has a hit.
    assert compare({"x": (np.ones(5), np.array([1.0, 0, 0, 0, 0]))})["x"].ratio is None


def test_arrays_of_other_users_are_refused():
    with pytest.raises(ValueError, match="3 values for 2 users"):
        intervals({"a": np.ones(2), "b": np.ones(3)})
