import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import ttest_1samp

from lwa_core.measuring.timing import (
    BLOCKS,
    Times,
    block_medians,
    cpu_share,
    difference,
    doubts,
    log_ratios,
    over_blocks,
    ratio,
    twins,
)

QUIET = {"load": (0.4, 1.0), "processors": 2, "on_cpu": True}


def steady(milliseconds, requests=100, seed=0, noise=0.02):
    return milliseconds * np.exp(np.random.default_rng(seed).normal(0, noise, requests))


def times(wall, cpu=None, network=None):
    wall = np.asarray(wall, dtype=np.float64)
    return Times(wall, wall if cpu is None else cpu, wall / 2 if network is None else network)


def sample(**how):
    """Three models, two of one architecture, on a quiet machine."""
    return {
        "teacher": times(steady(4.0, seed=1, **how)),
        "drop-4": times(steady(2.0, seed=2, **how)),
        "distill-4": times(steady(2.0, seed=3, **how)),
    }


ALIKE = {"teacher": "a", "drop-4": "b", "distill-4": "b"}


def test_blocks_hold_consecutive_requests():
    assert BLOCKS == len(block_medians(np.arange(300.0)))
    assert np.arange(40.0).reshape(20, 2).mean(axis=1).tolist() == block_medians(np.arange(40.0)).tolist()
    assert [3.0, 1.0] == block_medians(np.array([3.0, 1.0])).tolist()


@given(st.lists(st.floats(0.1, 10), min_size=5, max_size=60))
def test_the_interval_over_blocks_is_that_of_a_t_test(values):
    expected = ttest_1samp(values, 0).confidence_interval()

    mean, low, high = over_blocks(np.array(values))

    np.testing.assert_allclose([mean, low, high], [np.mean(values), expected.low, expected.high], atol=1e-9)


@pytest.mark.parametrize("requests", [1, 2, 4])
def test_few_requests_have_no_interval(requests):
    mean, low, high = ratio([steady(2.0, requests)], steady(4.0, requests))

    assert None is low is high
    assert 0.4 < mean < 0.6


def test_the_ratio_is_the_geometric_mean_of_the_blocks():
    own, first = steady(2.0, 60, 1), steady(4.0, 60, 2)

    mean, low, high = ratio([own], first)

    medians = [np.median(own[i : i + 3]) / np.median(first[i : i + 3]) for i in range(0, 60, 3)]
    np.testing.assert_allclose(np.exp(np.mean(np.log(medians))), mean)
    assert low < mean < high


def test_models_of_one_architecture_share_a_ratio_that_holds_what_each_of_them_says():
    first, pair = steady(4.0, seed=1), [steady(2.0, seed=2), steady(2.06, seed=3)]

    mean, low, high = ratio(pair, first)

    assert ratio(pair[::-1], first) == pytest.approx((mean, low, high))
    for own in pair:
        assert low <= np.exp(log_ratios(own, first).mean()) <= high


def test_what_is_added_is_the_difference_of_the_same_requests():
    wall = steady(3.0)

    mean, low, high = difference(wall, wall - 0.4)

    assert [pytest.approx(0.4)] * 3 == [mean, low, high]


def drifting(rng, requests=100):
    """A machine that is slowed by up to three times for stretches, and by single spikes: of both models at once."""
    level = np.exp(np.cumsum(rng.normal(0, 0.15, requests)))
    level = np.clip(level / np.median(level), 0.7, 3)
    spikes = np.where(rng.random((2, requests)) < 0.03, 4, 1)
    noise = np.exp(rng.normal(0, 0.05, (2, requests)))
    return level * spikes * noise


def test_the_interval_covers_the_true_ratio_on_a_drifting_machine():
    rng, covered = np.random.default_rng(0), []
    for _ in range(500):
        own, first = drifting(rng)
        _, low, high = ratio([0.6 * own], first)
        covered.append(low <= 0.6 <= high)

    assert 0.93 <= np.mean(covered)


def test_a_quiet_machine_leaves_no_doubt():
    assert [] == doubts(sample(), ALIKE, **QUIET)


def test_twins_that_differ_are_a_doubt():
    found = sample() | {"distill-4": times(steady(4.2, seed=4))}

    (said,) = doubts(found, ALIKE, **QUIET)

    assert said.startswith("drop-4 and distill-4 are of one architecture, and yet the first took 0.48 (0.4")
    assert [] == doubts(found, {**ALIKE, "distill-4": "c"}, **QUIET)
    assert [] == doubts(found, dict.fromkeys(ALIKE, ""), **QUIET)


def test_waiting_for_a_processor_is_a_doubt():
    waited = {name: times(each.wall, each.cpu * 0.6) for name, each in sample().items()}

    assert ["the process had a processor for only 60 % of the time that its answers took"] == doubts(
        waited, ALIKE, **QUIET
    )
    assert [] == doubts(waited, ALIKE, **{**QUIET, "on_cpu": False})  # the GPU worked meanwhile
    assert 0.6 == pytest.approx(cpu_share(waited))


def test_several_threads_are_no_doubt():
    threads = {name: times(each.wall, each.cpu * 1.8) for name, each in sample().items()}

    assert [] == doubts(threads, ALIKE, **QUIET)


@pytest.mark.parametrize(
    ("load", "expected"),
    [((0.3, 2.1), 0), ((8.3, 1.0), 1), ((1.0, 8.3), 1), ((None, None), 0), ((None, 8.3), 1)],
)
def test_a_loaded_machine_is_a_doubt(load, expected):
    found = doubts(sample(), ALIKE, **{**QUIET, "load": load})

    assert ["the load of the machine was 8.3 on 2 processors"] * expected == found


def test_a_machine_that_became_slower_is_a_doubt():
    slower = np.repeat([1.0, 3.1], 50)
    found = {name: times(each.wall * slower) for name, each in sample().items()}

    (said,) = doubts(found, ALIKE, **QUIET)

    assert said == "a request of teacher took 3.99 ms in one quarter of the rounds and 12.4 ms in another"


def test_requests_of_all_lengths_are_no_drift():
    rng = np.random.default_rng(0)
    lengths = np.exp(rng.normal(0, 1.2, (200, 40)))

    found = [doubts({"teacher": times(4.0 * each)}, {}, **QUIET) for each in lengths]

    assert sum(map(bool, found)) <= 2


@pytest.mark.parametrize(("requests", "expected"), [(1, 1), (5, 1), (19, 1), (20, 0)])
def test_few_requests_are_a_doubt(requests, expected):
    found = doubts(sample(requests=requests), ALIKE, **QUIET)

    assert expected == len([said for said in found if said.startswith("only ")])


def test_twins_are_the_others_of_an_architecture_that_is_known():
    assert {"teacher": (), "drop-4": ("distill-4",), "distill-4": ("drop-4",)} == twins(ALIKE)
    assert {"a": (), "b": ()} == twins({"a": "", "b": ""})


@settings(max_examples=30)
@given(st.integers(0, 10**6))
def test_doubts_are_rare_on_a_quiet_machine(seed):
    quiet = {name: times(steady(2.0, 200, seed + place)) for place, name in enumerate(ALIKE)}

    assert [] == doubts(quiet, ALIKE, **QUIET)
