"""Every interval that is printed holds the truth in at least 93 of 100 simulated samples."""

import sys
from pathlib import Path

import pytest
from scipy import stats

BENCHMARK = Path(__file__).parents[3] / "benchmarks" / "coverage"
PROMISED = 0.93


@pytest.fixture(scope="module")
def measure():
    """The benchmark, whose modules lie beside each other."""
    sys.path.insert(0, str(BENCHMARK))
    try:
        import measure

        yield measure
    finally:
        sys.path.remove(str(BENCHMARK))


def fallen_short(measure, cases, draws):
    """The cases whose coverage is below what is promised, beyond what chance does in one of 10,000 cases."""
    found = []
    for case in cases:
        told = measure.measure(case, draws)
        printed = round(told["printed"] * draws)
        if told["held"] is not None:
            p = stats.binomtest(round(told["held"] * printed), printed, PROMISED, alternative="less").pvalue
            if p < 1e-4:
                found.append(measure.line(told))
    return found


def test_the_quick_cases_hold(measure):
    cases = [case for case in (*measure.metric_cases(), *measure.other_cases()) if case.quick]

    assert len(cases) > 30
    assert not fallen_short(measure, cases, 120)


def test_the_intervals_of_before_fall_short(measure):
    """Or the simulation would show nothing."""
    wanted = {("NDCG@10, share kept", "5% hits", 200), ("score of a layer", "log-normal 2", 64)}
    cases = (*measure.metric_cases(), *measure.other_cases())
    told = [measure.measure(case, 200) for case in cases if (case.figure, case.data, case.size) in wanted]

    assert 2 == len(told)
    assert all(row["held_before"] < 0.9 or row["printed_before"] < 0.9 for row in told)


@pytest.mark.slow
def test_all_cases_hold(measure):
    assert not fallen_short(measure, (*measure.metric_cases(), *measure.other_cases()), 300)
