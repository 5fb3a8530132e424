"""The part `optimality` of metrics.json against loops over every subset."""

import itertools
import json

import numpy as np
import pytest
from scipy import stats

from lwa_core.results.as_json import from_json, to_json
from lwa_core.results.optimality import optimality_of
from lwa_core.results.schema import Difference, Optimality
from lwa_core.statistics.means import mean_interval
from lwa_core.statistics.regret import mean_regret, oracle_values, regret
from lwa_core.statistics.simultaneous import chosen_estimate, simultaneous_interval
from lwa_core.statistics.subsets import row_of

HOW = {"utility": "loss", "confidence": 0.9, "seed": 4}
TABLE = np.random.default_rng(0).normal(size=(32, 70)) + np.arange(70)
TIERS = [(0, 2, 4), (1,)]


@pytest.fixture(scope="module")
def told():
    return optimality_of(TABLE, TIERS, **HOW)


def figures(told):
    return {"mean": told.mean, "standard_error": told.standard_error, "low": told.low, "high": told.high}


def figure(values, low, high):
    return {"mean": values.mean(), "standard_error": stats.sem(values), "low": float(low), "high": float(high)}


def chosen(kept, other):
    """A set less another, with an interval that allows for the choice among the sets of its size."""
    rows = [TABLE[row_of(each)] - other for each in subsets(len(kept))]
    found = chosen_estimate(np.array(rows), subsets(len(kept)).index(tuple(kept)), 0.9, seed=4)
    return figure(TABLE[row_of(kept)] - other, found.low, found.high)


def subsets(size):
    return list(itertools.combinations(range(5), size))


def test_it_is_json_and_says_of_what(told):
    assert told == from_json(json.loads(json.dumps(to_json(told), allow_nan=False)), Optimality)
    assert ("calibration", "loss", 70) == (told.on, told.utility, told.examples)
    assert TABLE[-1].mean() == pytest.approx(told.full)


@pytest.mark.parametrize("size", [1, 2, 3, 4])
def test_depths_are_less_the_full_model(told, size):
    entry = told.depths[size - 1]
    best = max(subsets(size), key=lambda kept: TABLE[row_of(kept)].mean())
    rows = [TABLE[row_of(kept)] - TABLE[-1] for kept in subsets(size)]
    oracle, choices = oracle_values(TABLE, 5, size, seed=4)

    assert (size, best, len(choices)) == (entry.layers, entry.kept, entry.oracle_choices)
    assert chosen(best, TABLE[-1]) == pytest.approx(figures(entry.best))
    random = sum(rows) / len(rows)
    assert figure(random, *mean_interval(random, 0.9)) == pytest.approx(figures(entry.random))
    lows, highs = simultaneous_interval(np.array(rows), 0.9, seed=4)
    expected = np.clip((oracle - TABLE[-1]).mean(), lows.max(), highs.max()), lows.max(), highs.max()
    assert expected == pytest.approx((entry.oracle.mean, entry.oracle.low, entry.oracle.high))


def test_the_full_depth_is_the_full_model(told):
    last = told.depths[-1]

    assert 5 == len(told.depths)
    assert [Difference(0, 0, 0, standard_error=0), Difference(0, 0, 0)] == [last.best, last.oracle]
    assert Difference(0, None, None, standard_error=0) == last.random


@pytest.mark.parametrize("place", [0, 1])
def test_tiers_have_their_regret_gain_and_rank(told, place):
    entry, kept = told.tiers[place], TIERS[place]
    own = TABLE[row_of(kept)]
    lost = regret(TABLE, 5, kept, confidence=0.9, seed=4)
    chance = np.mean([TABLE[row_of(other)] for other in subsets(len(kept))], axis=0)
    gain = chosen(kept, chance)
    better = [other for other in subsets(len(kept)) if TABLE[row_of(other)].mean() > own.mean()]

    assert (len(kept), kept) == (entry.layers, entry.kept)
    assert chosen(kept, TABLE[-1]) == pytest.approx(figures(entry.difference))
    assert (lost.mean, lost.low, lost.high) == pytest.approx((entry.regret.mean, entry.regret.low, entry.regret.high))
    assert (gain["mean"], gain["low"], gain["high"]) == pytest.approx(
        (entry.gain.mean, entry.gain.low, entry.gain.high)
    )
    assert (1 + len(better), len(subsets(len(kept)))) == (entry.rank, entry.subsets)


def test_the_regret_is_averaged_over_depths_but_not_over_two_sets_of_one_depth(told):
    mean = mean_regret(TABLE, 5, TIERS, confidence=0.9, seed=4)

    assert (mean.mean, mean.low) == pytest.approx((told.mean_regret.mean, told.mean_regret.low))
    assert told.mean_regret.standard_error is None
    assert optimality_of(TABLE, TIERS[:1], **HOW).mean_regret is None
    assert optimality_of(TABLE, [(0,), (1,)], **HOW).mean_regret is None


def test_one_example_tells_nothing():
    assert optimality_of(TABLE[:, :1], TIERS, **HOW) is None


def test_few_examples_have_figures_without_intervals():
    few = optimality_of(TABLE[:, :12], TIERS, **HOW)

    for found in (
        few.tiers[0].regret,
        few.tiers[0].gain,
        few.tiers[0].difference,
        few.depths[0].oracle,
        few.mean_regret,
    ):
        assert found.mean is not None
        assert (None, None) == (found.low, found.high)
    assert few.tiers[0].difference.standard_error > 0
