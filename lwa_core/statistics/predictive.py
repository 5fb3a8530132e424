"""Predictive uncertainty of several models of one posterior: total = aleatoric + epistemic.

H[E p] = E H[p] + I(y; θ): the entropy of the mean prediction is the mean entropy of the predictions, which more data
would not lower, plus the mutual information of label and weights, which it would (Houlsby et al. 2011, Bayesian active
learning for classification and preference learning; Depeweg et al. 2018, Decomposition of uncertainty in Bayesian deep
learning). A property of predictions, not of layers. It rests on the models being draws from a posterior over the right
family; what they all get wrong is in neither part (Hüllermeier & Waegeman 2021; Wimmer et al. 2023).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import attrs
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

BINS = 15


@attrs.frozen(eq=False)
class Decomposition:
    """Uncertainty of predictions, in nats, by model and example.

    Args:
        entropy: H[p_s] of every model's prediction (models, examples).
        divergence: KL(p_s ‖ p̄) to the mean prediction (models, examples); its mean over the models is I(y; θ).
    """

    entropy: Floats
    divergence: Floats

    @property
    def aleatoric(self) -> Floats:
        """E H[p] of each example (examples,)."""
        return np.asarray(self.entropy.mean(axis=0))

    @property
    def epistemic(self) -> Floats:
        """I(y; θ) of each example (examples,)."""
        return np.asarray(self.divergence.mean(axis=0))

    @property
    def total(self) -> Floats:
        """H[E p] of each example (examples,)."""
        return self.aleatoric + self.epistemic


def decompose(probabilities: Sequence[Any] | Floats) -> Decomposition:
    """Split the uncertainty of an ensemble's predictions.

    With S models I(y; θ) comes out too low by a factor of about (S − 1) / S, as a variance around the sample mean does.

    Args:
        probabilities: What each model predicts, S arrays (examples, items) whose rows add up to 1.

    Raises:
        ValueError: There are fewer than two models, or rows that are no distributions.
    """
    p = np.stack([np.asarray(one, dtype=np.float64) for one in probabilities])
    if p.ndim != 3 or len(p) < 2:
        raise ValueError(f"at least two models' predictions (examples, items) are needed, not an array {p.shape}")
    if p.min(initial=0.0) < 0 or not np.allclose(p.sum(axis=2), 1, atol=1e-6):
        raise ValueError("predictions must be probabilities that add up to 1 for every example")
    with np.errstate(divide="ignore", invalid="ignore"):
        log_p, log_mean = np.log(p), np.log(p.mean(axis=0))
        entropy = -np.where(p > 0, p * log_p, 0.0).sum(axis=2)
        apart = np.where(p > 0, p * (log_p - log_mean), 0.0).sum(axis=2)
    return Decomposition(entropy, np.maximum(apart, 0.0))  # a divergence below 0 is rounding


def joined(parts: Sequence[Decomposition]) -> Decomposition:
    """The same models' decompositions of some examples and of others, together."""
    return Decomposition(
        np.concatenate([part.entropy for part in parts], axis=1),
        np.concatenate([part.divergence for part in parts], axis=1),
    )


def decomposition_summary(parts: Decomposition) -> dict[str, Any]:
    """Means over the examples with standard errors, JSON-ready.

    A standard error holds both that other examples and that other models could have been drawn: the variance of the
    examples' means over their number plus that of the models' means over theirs.
    """
    tables = {
        "total": parts.entropy + parts.divergence,
        "aleatoric": parts.entropy,
        "epistemic": parts.divergence,
    }
    return {
        **{name: {"mean": float(t.mean()), "standard_error": _standard_error(t)} for name, t in tables.items()},
        "samples": len(parts.entropy),
        "examples": parts.entropy.shape[1],
    }


def _standard_error(table: Floats) -> float | None:
    models, examples = table.shape
    if examples < 2:
        return None
    over_examples = table.mean(axis=0).var(ddof=1) / examples
    return float(np.sqrt(over_examples + table.mean(axis=1).var(ddof=1) / models))


def calibration_error(confidence: Floats, correct: NDArray[np.bool_], bins: int = BINS) -> float:
    """Expected calibration error: mean over bins of |share that was right − mean confidence|, by examples in them.

    Bins hold equally many examples (Nixon et al. 2019, Measuring calibration in deep learning): with a large catalogue
    nearly all confidences would fall into the first of equally wide ones. It is above 0 for a calibrated model too, by
    chance, and the more so the fewer examples there are.

    Args:
        confidence: Probability of the item that was ranked first (examples,).
        correct: Whether it was the one that followed (examples,).
        bins: How many; at most one an example.
    """
    order = np.argsort(confidence, kind="stable")
    shares = np.array_split(order, min(bins, len(order)))
    gaps = [len(rows) * abs(correct[rows].mean() - confidence[rows].mean()) for rows in shares]
    return float(sum(gaps) / len(order))
