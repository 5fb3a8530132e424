import example_run
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import linregress, t

from lwa_core.results.convergence import CODE, convergence_warnings, still_rises, unconverged
from lwa_core.results.schema import Training


def trained(values, best=None, metric="ndcg@10"):
    history = tuple({"epoch": e, "loss": 1.0 / e, metric: value} for e, value in enumerate(values, start=1))
    return Training(name="teacher", history=history, best_epoch=best or 1 + int(np.argmax(values)))


FLAT = [0.1, 0.2, 0.25, 0.26, 0.262, 0.259, 0.261, 0.258, 0.26, 0.257]
NOISE = np.random.default_rng(0).normal(0, 0.004, 30)
RISING = [0.01 * epoch for epoch in range(1, 28)] + [0.3, 0.28, 0.29]


@pytest.mark.parametrize(
    ("training", "expected"),
    [
        (trained(FLAT), None),
        (trained([0.1, 0.2, 0.3]), "its best epoch is the last of 3"),
        (trained([0.1]), "it was trained for one epoch"),
        (trained(RISING), "its validation NDCG@10 still rises at the end"),
        (trained((-1 / np.arange(1, 31)).tolist(), 29, "log-likelihood"), "its validation log-likelihood still rises"),
        (trained((0.3 + NOISE).tolist()), None),
        (Training(name="teacher", history=(), best_epoch=0), None),
        (Training(name="teacher", history=({"epoch": 1, "loss": 2.0}, {"epoch": 2, "loss": 1.0}), best_epoch=1), None),
    ],
)
def test_a_training_that_had_not_come_to_its_end(training, expected):
    found = unconverged(training)

    assert (expected is None) == (found is None)
    assert expected is None or found.startswith(expected)


@settings(max_examples=100)
@given(st.lists(st.floats(-1, 1).map(lambda v: round(v, 3)), min_size=1, max_size=60))
def test_a_rise_is_that_of_a_linear_regression(values):
    last = values[-min(10, max(5, len(values) // 3)) :]
    if len(values) < 5 or len(set(last)) == 1:
        assert not still_rises(values)
        return
    fit = linregress(np.arange(len(last)), last)
    low = fit.slope - t.ppf(0.975, len(last) - 2) * fit.stderr
    if abs(low) > 1e-9:
        assert (low > 0) == still_rises(values)


def test_noise_about_a_level_is_seldom_called_a_rise():
    rng = np.random.default_rng(1)

    found = [still_rises(rng.normal(0, 1, 30).tolist()) for _ in range(2000)]

    assert abs(np.mean(found) - 0.025) < 0.011  # three standard errors


def cautions(told):
    return [caution.message for caution in convergence_warnings(example_run.results(told))]


def test_a_teacher_whose_best_epoch_is_the_last_is_warned_of():
    told = example_run.metrics()
    assert [] == cautions(told)

    told["training"][0]["best_epoch"] = 12

    assert ["the teacher has not converged: its best epoch is the last of 12"] == [
        message.partition(";")[0] for message in cautions(told)
    ]


@pytest.mark.parametrize(("half", "expected"), [(0.004, 1), (0.02, 0)])
def test_a_teacher_that_gains_by_more_training_had_not_converged(half, expected):
    told = example_run.controlled(example_run.metrics(), gain=0.01, half=half)

    found = cautions(told)

    assert expected == len(found)
    for message in found:
        assert "teacher+distill, the teacher trained for as long as students were healed, is shown to rank better" in (
            message
        )


def test_a_student_that_had_not_converged_is_not_taken_for_the_teacher():
    told = example_run.metrics()
    told["training"] = told["training"][1:]

    assert [] == cautions(told)


def test_the_code_is_that_of_the_documents():
    assert "teacher-not-converged" == CODE
