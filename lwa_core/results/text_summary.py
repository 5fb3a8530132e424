"""From what was measured on texts to the figures of every model, in the form that all tasks share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from lwa_core.results.schema import Figure, ModelQuality
from lwa_core.statistics.bootstrap import Comparison, compare
from lwa_core.statistics.correlation import compare_correlations
from lwa_core.statistics.perplexity import compare_means, compare_perplexities
from lwa_core.text.quality import TextQuality
from lwa_core.text.sections import EvaluateText

PERPLEXITIES = {"perplexity": "", "perplexity_other": "other_"}
"""Metric -> what stands before the names of its arrays."""

LOWER_IS_BETTER = (*PERPLEXITIES, "loss")

HEADLINES = {"causal": "perplexity", "masked": "perplexity", "classify": "accuracy", "encode": "ndcg@10"}


def headline_of(task: str, evaluate: EvaluateText, scored: bool) -> str:
    """The metric of sentences about a model that is asked for this; `scored`: pairs of texts have scores."""
    if task != "encode":
        return HEADLINES[task]
    return "spearman" if scored else f"ndcg@{10 if 10 in evaluate.k else max(evaluate.k)}"


def summarise_texts(
    qualities: Mapping[str, TextQuality], evaluate: EvaluateText, seed: int, teacher: str = "teacher"
) -> dict[str, ModelQuality]:
    """Every model's metrics, its difference to the teacher's and its ratio, paired by text.

    A perplexity is that of all tokens together, exp(Σ nll / Σ tokens); its interval is over the texts.
    """
    if not qualities:
        return {}  # a recipe may keep no texts for a test
    how: dict[str, Any] = {"resamples": evaluate.bootstrap, "confidence": evaluate.confidence, "seed": seed}
    alone = _compared(qualities, None, evaluate, how)
    against = _compared(qualities, teacher, evaluate, how)
    names = list(dict.fromkeys(metric for _, metric in alone))

    def figures(name: str) -> ModelQuality:
        own = {m: Figure.of(alone[name, m].difference) if (name, m) in alone else None for m in names}
        one = {name: qualities[name]}
        versus = {
            other: {
                m: Figure.of(pair.difference) for (_, m), pair in _compared(one, None, evaluate, how, quality).items()
            }
            for other, quality in qualities.items()
            if other != name
        }
        if name == teacher:
            return ModelQuality(metrics=own, versus=versus)
        pairs = {m: against.get((name, m)) for m in names}
        return ModelQuality(
            metrics=own,
            difference={m: Figure.of(pair.difference) if pair else None for m, pair in pairs.items()},
            kept={m: Figure.of(pair.ratio) if pair.ratio else None for m, pair in pairs.items() if pair is not None},
            versus=versus,
        )

    return {name: figures(name) for name in qualities}


def _compared(
    qualities: Mapping[str, TextQuality],
    teacher: str | None,
    evaluate: EvaluateText,
    how: Mapping[str, Any],
    other: TextQuality | None = None,
) -> dict[tuple[str, str], Comparison]:
    """Every figure that a model and what it is compared with both have, by model and metric."""
    found: dict[tuple[str, str], Comparison] = {}
    second = other or (None if teacher is None else qualities[teacher])
    for name, quality in qualities.items():
        if name == teacher:
            continue
        a, b = quality.arrays, None if second is None else second.arrays
        for metric, before in PERPLEXITIES.items():
            keys = (f"{before}nll", f"{before}count")
            if "correct" in a or keys[0] not in a or (b is not None and keys[0] not in b):
                continue
            ours = (a[keys[0]], a[keys[1]])
            theirs = None if b is None else (b[keys[0]], b[keys[1]])
            found[name, metric] = compare_perplexities(ours, theirs, evaluate.confidence)
        values, others = _per_text(a, evaluate), None if b is None else _per_text(b, evaluate)
        pairs = {
            (name, m): (array, None if others is None else others[m])
            for m, array in values.items()
            if others is None or m in others
        }
        if (loss := pairs.pop((name, "loss"), None)) is not None:
            found[name, "loss"] = compare_means(*loss, evaluate.confidence)
        found |= compare(pairs, **how)
        if "cosine" in a and (b is None or "cosine" in b):
            cosine = None if b is None else b["cosine"]
            found[name, "spearman"] = compare_correlations(a["cosine"], a["gold"], cosine, evaluate.confidence)
    return found


def _per_text(arrays: Mapping[str, Any], evaluate: EvaluateText) -> dict[str, Any]:
    """The metrics that have a value for each text."""
    found: dict[str, Any] = {}
    if "correct" in arrays:
        found["accuracy"] = arrays["correct"]
        if "nll" in arrays:
            found["loss"] = arrays["nll"]
    for key, after in (("ranks", ""), ("own_ranks", "_own_index")):
        if key in arrays:
            ranks = arrays[key]
            for k in sorted(set(evaluate.k)):
                found[f"ndcg@{k}{after}"] = np.where(ranks <= k, 1 / np.log2(1 + ranks), 0.0)
            for k in sorted(set(evaluate.k)):
                found[f"recall@{k}{after}"] = (ranks <= k).astype(np.float64)
            found[f"mrr{after}"] = 1 / ranks
    return found
