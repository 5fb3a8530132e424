"""What the report says of the uncertainty of the model: by layer, and of its predictions."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import sqrt
from typing import Any

from lwa_core.report.tables import Table
from lwa_core.results.figures import number, percent, short, signed, with_interval
from lwa_core.results.schema import Figure, Metrics, ScorerResult
from lwa_core.results.verdict import Verdict, compared, verdict
from lwa_core.results.words import Words, words_of

QUANTITIES = {
    "target": "log p of {right}",
    "drawn": "log p of an {answer} drawn from the model's own prediction",
    "margin": "the logit of the model's first {answer} less that of its second",
}
STRUCTURES = {"kfac": "Kronecker-factored (K-FAC)", "diagonal": "diagonal"}
LABELS = {"sampled": "labels drawn from the model", "observed": "the observed labels (the empirical Fisher)"}


def told(metrics: Metrics) -> list[dict[str, Any]]:
    """What the templates show of every score that is a posterior variance; nothing where there is none."""
    words = words_of(metrics.task)
    return [_told(scores, words) for scores in metrics.scores if scores.facts.get("laplace")]


def _told(scores: ScorerResult, words: Words) -> dict[str, Any]:
    laplace, predictive = scores.facts["laplace"], scores.facts.get("predictive")
    quantity = laplace["quantity"]
    return {
        "name": scores.name,
        "unit": scores.unit,
        "examples": scores.count,
        "quantity": QUANTITIES.get(quantity, quantity).format(answer=words.answer, right=words.right),
        "structure": STRUCTURES.get(laplace["structure"], laplace["structure"]),
        "labels": LABELS.get(laplace["labels"], laplace["labels"]),
        "targets": laplace["training_targets"],
        "layers": layers(scores, laplace),
        "whole": _with_error(laplace["variance"], short),
        "deviation": short(sqrt(laplace["variance"]["mean"])),
        "prior": f"{short(laplace['prior_precision'])} ({_origin(laplace)})",
        "evidence": [number(laplace[f"log_{name}"], 1) for name in ("marginal_likelihood", "likelihood", "evidence")],
        "predictive": None if predictive is None else _predictive(predictive),
    }


def layers(scores: ScorerResult, laplace: Mapping[str, Any]) -> Table:
    """Every layer's part of the variance, beside how many weights it has and how many the data determine."""
    whole = sum(scores.mean)
    rows = [
        (
            f"layer {layer}",
            with_interval(scores.figure(layer), short),
            percent(mean / whole) if whole else "",
            f"{laplace['parameters'][layer]:,}",
            f"{laplace['effective_parameters'][layer]:,.0f}",
        )
        for layer, mean in enumerate(scores.mean)
    ]
    return Table(("", f"variance [{scores.unit}]", "share", "weights", "effective weights"), rows)


def _predictive(told: Mapping[str, Any]) -> dict[str, Any]:
    difference = told["nll"]["difference"]
    gain = Figure(difference["mean"], difference.get("low"), difference.get("high"))
    return {
        "samples": told["samples"],
        "linearised": told["method"] == "linearised",
        "bins": told["ece"]["bins"],
        "parts": parts(told),
        "calibration": calibration(told, gain),
        "verdict": _verdict(gain),
    }


def parts(told: Mapping[str, Any]) -> Table:
    """Total, aleatoric and epistemic."""
    whole = told["total"]["mean"]
    rows = [
        (
            name,
            number(told[name]["mean"]),
            "" if told[name]["standard_error"] is None else number(told[name]["standard_error"]),
            percent(told[name]["mean"] / whole) if whole else "",
        )
        for name in ("total", "aleatoric", "epistemic")
    ]
    return Table(("uncertainty", "nats", "standard error", "share"), rows)


def calibration(told: Mapping[str, Any], gain: Figure) -> Table:
    """Loss and calibration error of the plain and of the mean prediction."""
    nll, ece = told["nll"], told["ece"]
    rows = [
        ("negative log-likelihood [nats]", number(nll["plain"]), number(nll["mean"]), with_interval(gain, signed)),
        ("expected calibration error", number(ece["plain"]), number(ece["mean"]), signed(ece["mean"] - ece["plain"])),
    ]
    return Table(("", "the model", "mean of the draws", "difference"), rows)


def _verdict(gain: Figure) -> str:
    """`gain`: the loss of the mean prediction less that of the model alone."""
    shown = verdict(gain, less_is_better=True)
    if shown is Verdict.UNKNOWN:
        return ""
    return f"Averaging over the posterior {compared(shown, 'predict these examples')} the model alone."


def _origin(laplace: Mapping[str, Any]) -> str:
    return "set" if laplace["prior_precision_by"] == "setting" else f"by {laplace['prior_precision_by']}"


def _with_error(told: Mapping[str, Any], show: Callable[[float], str]) -> str:
    """A mean with its standard error, which promises no more than it is."""
    error = told["standard_error"]
    return show(told["mean"]) + ("" if error is None else f" (standard error {show(error)})")
