"""The intervals of real scorers' tables hold the true value as often as they say."""

import math

import numpy as np
import pytest

from lwa_core.testing import tiny_probe
from lwa_core.testing.conformance import score
from lwa_core.types import LayerScores
from lwa_plugins.scorers.fisher import Fisher
from lwa_plugins.scorers.leave_one_out import LeaveOneOut
from lwa_plugins.scorers.shapley import Shapley

SCORERS = [LeaveOneOut(), Fisher(), Shapley(pairs=700)]


@pytest.fixture(scope="module", params=SCORERS, ids=lambda scorer: type(scorer).__name__)
def population(request):
    """A table that counts as the whole truth: drawn from with replacement, so that its size plays no part."""
    return score(request.param, tiny_probe(examples=700)).double().numpy()


def drawn(population, rows, number):
    rng = np.random.default_rng(rows)
    return [LayerScores("s", population[rng.integers(0, len(population), rows)]) for _ in range(number)]


def test_intervals_of_95_percent_hold_the_true_value_that_often(population):
    truth = population.mean(axis=0)
    intervals = [scores.interval(0.95) for scores in drawn(population, 400, 1000)]

    held = np.mean([(low <= truth) & (truth <= high) for low, high in intervals])

    assert 0.93 <= held <= 0.97


def test_the_standard_error_falls_with_the_samples_and_their_spread_does_not(population):
    spread = population.std(axis=0)
    for rows in (100, 400, 1600):
        tables = drawn(population, rows, 100)
        error = np.mean([scores.standard_error for scores in tables], axis=0)
        spreads = np.mean([scores.samples.std(axis=0, ddof=1) for scores in tables], axis=0)

        np.testing.assert_allclose(error * math.sqrt(rows), spread, rtol=0.06)
        np.testing.assert_allclose(spreads, spread, rtol=0.06)


def test_the_standard_error_is_the_spread_of_means(population):
    tables = drawn(population, 300, 1000)

    expected = np.std([scores.mean for scores in tables], axis=0, ddof=1)

    np.testing.assert_allclose(np.mean([scores.standard_error for scores in tables], axis=0), expected, rtol=0.1)
