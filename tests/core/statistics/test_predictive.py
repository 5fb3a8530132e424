"""Total = aleatoric + epistemic, and the calibration of predictions."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.special import softmax
from scipy.stats import entropy

from lwa_core.statistics.predictive import calibration_error, decompose, decomposition_summary, joined

LOGITS = arrays(np.float64, (4, 3, 6), elements=st.floats(-60, 60))


@settings(max_examples=100, deadline=None)
@given(LOGITS)
def test_total_is_the_entropy_of_the_mean_and_both_parts_are_there(logits):
    p = softmax(logits, axis=2)

    parts = decompose(p)

    np.testing.assert_allclose(parts.total, entropy(p.mean(axis=0), axis=1), atol=1e-10)
    np.testing.assert_allclose(parts.aleatoric, entropy(p, axis=2).mean(axis=0), atol=1e-10)
    np.testing.assert_array_equal(parts.total, parts.aleatoric + parts.epistemic)
    assert (parts.epistemic >= 0).all()
    assert (parts.aleatoric >= 0).all()
    assert (parts.epistemic <= np.log(4) + 1e-10).all()  # no more than naming one of four models could tell


def test_models_that_agree_have_no_epistemic_part():
    p = np.random.default_rng(0).dirichlet(np.ones(5), size=7)

    parts = decompose([p, p, p])

    np.testing.assert_allclose(parts.epistemic, 0, atol=1e-15)
    np.testing.assert_allclose(parts.aleatoric, entropy(p, axis=1))


def test_models_that_are_sure_of_different_items_have_only_an_epistemic_part():
    parts = decompose(np.eye(5)[:, None, :])

    assert [0.0] == parts.aleatoric.tolist()
    assert parts.epistemic == pytest.approx([np.log(5)])


def test_the_finite_ensemble_understates_the_information_by_its_size():
    """The documented factor (S − 1) / S, for models that differ little."""
    rng = np.random.default_rng(1)
    centre = rng.normal(size=8)
    draws = softmax(centre + 0.05 * rng.normal(size=(2, 20000, 1, 8)), axis=3)
    pairs = np.mean([decompose(draws[:, n]).epistemic[0] for n in range(5000)])

    many = decompose(draws.reshape(-1, 1, 8)).epistemic[0]

    assert pairs / many == pytest.approx(1 / 2, rel=0.05)


def test_joined_parts_are_those_of_all_examples():
    p = np.random.default_rng(2).dirichlet(np.ones(4), size=(3, 10))

    parts = joined([decompose(p[:, :6]), decompose(p[:, 6:])])

    np.testing.assert_allclose(parts.total, decompose(p).total)
    assert decomposition_summary(decompose(p)) == decomposition_summary(parts)


def test_the_summary_adds_up_and_knows_how_many_there_were():
    told = decomposition_summary(decompose(np.random.default_rng(3).dirichlet(np.ones(4), size=(5, 30))))

    assert told["total"]["mean"] == pytest.approx(told["aleatoric"]["mean"] + told["epistemic"]["mean"])
    assert (5, 30) == (told["samples"], told["examples"])


def test_the_standard_error_is_how_far_other_examples_and_other_models_move_the_mean():
    """Models shift all examples together, as draws of weights do, so that examples alone would not tell."""
    rng = np.random.default_rng(4)

    def one():
        temperatures = np.exp(0.4 * rng.normal(size=(12, 1, 1)))
        return decomposition_summary(decompose(softmax(temperatures * rng.normal(size=(1, 40, 6)), axis=2)))[
            "aleatoric"
        ]

    told = [one() for _ in range(400)]

    spread = np.std([t["mean"] for t in told], ddof=1)
    assert np.mean([t["standard_error"] for t in told]) == pytest.approx(spread, rel=0.15)


@pytest.mark.parametrize(
    ("probabilities", "said"),
    [
        (np.ones((1, 2, 1)), "at least two models"),
        (np.ones((2, 3)) / 3, "at least two models"),
        (np.ones((2, 2, 3)), "add up to 1"),
        (np.array([[[1.5, -0.5]]] * 2), "add up to 1"),
    ],
)
def test_what_are_no_predictions_is_refused(probabilities, said):
    with pytest.raises(ValueError, match=said):
        decompose(probabilities)


def test_calibration_error_is_the_gap_in_each_bin_of_equally_many():
    confidence = np.array([0.1, 0.2, 0.6, 0.8])
    correct = np.array([True, False, False, True])

    # 0.5 were right where 0.15 was promised, and 0.5 where 0.7 was.
    assert (0.35 + 0.2) / 2 == pytest.approx(calibration_error(confidence, correct, bins=2))
    assert (0.9 + 0.2 + 0.6 + 0.2) / 4 == pytest.approx(calibration_error(confidence, correct, bins=15))


def test_calibrated_confidences_have_a_small_calibration_error():
    rng = np.random.default_rng(5)
    confidence = rng.beta(1, 20, size=50_000)
    correct = rng.random(50_000) < confidence

    assert calibration_error(confidence, correct) < 0.005
    assert calibration_error(confidence * 2, correct) > 0.03
