"""The part of the report on the uncertainty of the model."""

import re

import example_run
import pytest

from lwa_core.report import predictive, write_report
from lwa_core.results.figures import number

LAPLACE = {
    "quantity": "target",
    "structure": "kfac",
    "labels": "sampled",
    "variance": {"mean": 0.36, "standard_error": 0.01},
    "training_targets": 97401,
    "parameters": [50000] * 8,
    "effective_parameters": [900.4, 800.0, 700.0, 600.0, 500.0, 400.0, 300.0, 200.0],
    "prior_precision": 46.34,
    "prior_precision_by": "marginal likelihood",
    "log_evidence": -1113.0,
    "log_likelihood": -42823.4,
    "log_marginal_likelihood": -43936.4,
}
PREDICTIVE = {
    "total": {"mean": 5.0, "standard_error": 0.02},
    "aleatoric": {"mean": 4.8, "standard_error": 0.02},
    "epistemic": {"mean": 0.2, "standard_error": 0.003},
    "samples": 20,
    "examples": 1024,
    "method": "linearised",
    "nll": {
        "plain": 4.93,
        "mean": 4.9,
        "difference": {"mean": -0.03, "standard_error": 0.005, "low": -0.04, "high": -0.02},
    },
    "ece": {"plain": 0.05, "mean": 0.04, "bins": 15},
}


def metrics(facts):
    told = example_run.metrics()
    scores = example_run.scores("laplace", "laplace", [0.1, 0.08, 0.05, 0.04, 0.03, 0.03, 0.02, 0.01], half=0.004)
    told["scores"].append({**scores, "unit": "nats²", "facts": {**facts, "passes": 46.0}})
    return told


def read(folder, facts):
    return [path.read_text("utf-8") for path in write_report(example_run.write_run(folder, metrics(facts)))]


def plain(text):
    return " ".join(re.sub(r"<[^>]*>|[*\\]", "", text).replace("\N{NO-BREAK SPACE}", " ").split())


def test_every_figure_is_that_of_the_metrics(tmp_path):
    for text in read(tmp_path, {"laplace": LAPLACE, "predictive": PREDICTIVE}):
        said = plain(text)
        assert "0.1 (0.096 to 0.104)" in said
        assert "27.8 %" in said  # 0.1 of 0.36
        assert "All layers together: 0.36 (standard error 0.01) nats²" in said
        assert "whose root is 0.6: the variance of log p of the item that followed" in said
        for name, told in (("total", PREDICTIVE["total"]), ("epistemic", PREDICTIVE["epistemic"])):
            assert number(told["mean"]) in said
            assert number(told["standard_error"]) in said
            assert name in said
        assert "−0.0300 (−0.0400 to −0.0200)" in said
        assert "N: 97,401 training targets" in said
        assert "λ: 46.3 (by marginal likelihood)" in said
        assert "−43,936.4 nats, made of −42,823.4 for the fit" in said
        assert "Averaging over the posterior is shown to predict these examples better than the model alone." in said
        assert "no measure of importance" in said


@pytest.mark.parametrize(
    ("mean", "said"),
    [(-0.03, "examples better than"), (0.03, "examples worse than"), (0.001, "not shown to predict these examples")],
)
def test_the_verdict_follows_the_interval(tmp_path, mean, said):
    between = {"low": mean - 0.01, "high": mean + 0.01}
    nll = {**PREDICTIVE["nll"], "difference": {"mean": mean, "standard_error": 0.005, **between}}

    for text in read(tmp_path, {"laplace": LAPLACE, "predictive": {**PREDICTIVE, "nll": nll}}):
        assert said in plain(text)


def test_what_was_not_sampled_is_said_to_be_not_measured(tmp_path):
    for text in read(tmp_path, {"laplace": {**LAPLACE, "prior_precision_by": "setting"}}):
        assert "Not measured: the uncertainty of the predictions; laplace was asked for no samples" in plain(text)
        assert "λ: 46.3 (set)" in plain(text)
        assert "aleatoric" not in text


def test_a_single_example_has_no_interval(tmp_path):
    told = metrics({"laplace": {**LAPLACE, "variance": {"mean": 0.36, "standard_error": None}}})
    told["scores"][-1].update(count=1, low=None, high=None)

    (found,) = predictive.told(example_run.results(told).metrics)

    assert "0.36" == found["whole"]
    assert ("layer 0", "0.1", "27.8 %", "50,000", "900") == found["layers"].rows[0]


def test_a_run_without_such_a_score_says_nothing_of_it(tmp_path):
    assert [] == predictive.told(example_run.results().metrics)
    for path in write_report(example_run.write_run(tmp_path)):
        assert "Uncertainty of the model" not in path.read_text("utf-8")


def test_the_chart_of_the_score_says_that_it_is_no_importance(tmp_path):
    for text in read(tmp_path, {"laplace": LAPLACE}):
        assert 1 == plain(text).count("No measure of importance: see the uncertainty of the model.")
