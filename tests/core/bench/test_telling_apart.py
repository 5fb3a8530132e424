"""Which pairs of entries the test examples of a cell tell apart, beside scipy's paired test."""

from itertools import combinations

import numpy as np
from scipy.stats import ttest_rel

from lwa_core.bench.telling_apart import told_apart
from lwa_core.statistics.subsets import every_subset, row_of


def table(examples, effect, seed=0):
    """Utilities of all subsets of three layers, those that keep layer 0 better by `effect`."""
    rng = np.random.default_rng(seed)
    common = rng.normal(0, 1, examples)
    rows = [common + rng.normal(0, 0.5, examples) + effect * (0 in kept) for kept in every_subset(3)]
    return np.stack(rows)


CHOSEN = {"a": [(0, 1), (0,)], "b": [(1, 2), (1,)], "c": [(0, 2), (2,)], "same": [(0, 1), (0,)]}


def test_pairs_are_those_of_a_paired_test_corrected_for_their_number():
    for effect in (0.0, 0.1, 1.0):
        values = table(80, effect)
        means = {name: np.mean([values[row_of(kept)] for kept in sets], axis=0) for name, sets in CHOSEN.items()}
        p = [ttest_rel(means[one], means[other]).pvalue for one, other in combinations(CHOSEN, 2)]

        expected = {"pairs": 6, "apart": sum(value < 0.05 / 6 for value in p)}

        assert expected == told_apart(values, CHOSEN)
    assert 0 < expected["apart"] < 6  # entries of the same sets never are


def test_chance_alone_seldom_tells_apart():
    found = [told_apart(table(60, 0.0, seed), CHOSEN)["apart"] > 0 for seed in range(300)]

    assert np.mean(found) <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 300)


def test_one_example_or_one_entry_tells_nothing_apart():
    assert {"pairs": 6, "apart": 0} == told_apart(table(1, 9.0), CHOSEN)
    assert {"pairs": 0, "apart": 0} == told_apart(table(80, 9.0), {"a": CHOSEN["a"]})
