"""What passes a profile: the end of the interval that speaks against it decides, and nothing unmeasured passes."""

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lwa_core.recipe.profiles import Limits
from lwa_core.report.devices import sentence, table
from lwa_core.results.devices import Device, Fit, checks
from lwa_core.results.schema import Configuration, Figure

TAKEN = Configuration(
    memory=70_000_000,
    p50=1.0,
    p95=Figure(2.0, 1.5, 3.0),
    cold_start=Figure(0.5, 0.4, 0.6),
    disk=4_000_000,
    threads=1,
    starts=3,
    requests=1000,
)


def verdicts(limits, taken=TAKEN, kept=None):
    return {check.name: check.passed for check in checks(limits, taken, kept)}


@given(st.floats(0.01, 100), st.floats(0, 10), st.floats(0, 10), st.floats(0.01, 100))
def test_a_time_passes_when_the_upper_end_does(mean, below, above, allowed):
    taken = attrs.evolve(TAKEN, p95=Figure(mean, max(mean - below, 0), mean + above))
    assert verdicts(Limits(p95_ms=allowed), taken) == {"p95": mean + above <= allowed}


@given(st.floats(0.5, 1.2), st.floats(0, 0.5), st.floats(0, 0.5), st.floats(0.01, 1))
def test_a_share_passes_when_the_lower_end_does(mean, below, above, allowed):
    assert verdicts(Limits(keep=allowed), kept=Figure(mean, mean - below, mean + above)) == {
        "share kept": mean - below >= allowed
    }


def test_a_limit_that_is_not_stated_is_not_checked():
    assert verdicts(Limits()) == {}
    assert verdicts(Limits(memory_mb=70.0)) == {"memory": True}
    assert verdicts(Limits(memory_mb=69.9, disk_mb=4.0)) == {"memory": False, "disk": True}


@pytest.mark.parametrize("kept", [None, Figure(None), Figure(0.99)])
def test_a_share_without_an_interval_does_not_pass(kept):
    assert verdicts(Limits(keep=0.95), kept=kept) == {"share kept": False}


def test_what_was_not_measured_does_not_pass():
    assert not any(verdicts(Limits(memory_mb=1e9, p95_ms=1e9, disk_mb=1e9), taken=None).values())


def fit(name, depth, p95, allowed=10.0):
    taken = attrs.evolve(TAKEN, p95=Figure(p95, p95, p95))
    return Fit(name, depth, p95, checks(Limits(p95_ms=allowed), taken, None))


def test_the_deepest_and_the_fastest_of_those_that_pass_are_named():
    fits = (fit("deep", 8, 20.0), fit("middle", 4, 6.0), fit("middle/int8", 4, 5.0), fit("flat", 1, 2.0))
    device = Device("mobile", Limits(p95_ms=10.0), fits)
    assert (device.deepest.name, device.fastest.name) == ("middle/int8", "flat")
    assert sentence(device) == "middle/int8 (4 layers) is the deepest that passes, flat (1 layer) the fastest."
    assert [row[1] for row in table(device).rows] == ["fails: p95", "pass", "pass", "pass"]


def test_where_none_passes_the_nearest_is_named_with_what_it_lacks():
    device = Device("mobile", Limits(p95_ms=10.0), (fit("deep", 8, 40.0), fit("flat", 1, 15.0)))
    assert sentence(device) == ("none passes. Nearest is flat (1 layer): its p95 is 15 ms, 1.50 times what is allowed.")
