"""From what was measured on texts to the figures of every model, in the form that all tasks share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from lwa_core.results.schema import AgainstControl, Figure, ModelQuality
from lwa_core.results.trivial import constant_metrics, trivial_cut_offs
from lwa_core.statistics.bootstrap import Comparison, compare
from lwa_core.statistics.correlation import compare_correlations
from lwa_core.statistics.perplexity import compare_means, compare_perplexities
from lwa_core.statistics.rank_metrics import headline_cutoff, ndcg, recall, reciprocal_rank
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
    return "spearman" if scored else f"ndcg@{headline_cutoff(evaluate.k)}"


def summarise_texts(
    qualities: Mapping[str, TextQuality],
    evaluate: EvaluateText,
    seed: int,
    teacher: str = "teacher",
    controls: Mapping[str, str] | None = None,
) -> dict[str, ModelQuality]:
    """Every model's metrics, its difference to the teacher's and its ratio, paired by text.

    A perplexity is that of all tokens together, exp(Σ nll / Σ tokens); its interval is over the texts.
    `controls`: by the name of a student that of the model that it is compared with besides.
    """
    if not qualities:
        return {}  # a recipe may keep no texts for a test
    how: dict[str, Any] = {"resamples": evaluate.bootstrap, "confidence": evaluate.confidence, "seed": seed}
    alone = _compared(qualities, None, evaluate, how)
    against = _compared(qualities, teacher, evaluate, how)
    names = list(dict.fromkeys(metric for _, metric in alone))

    def figures(name: str) -> ModelQuality:
        texts = {m: _texts(qualities[name], m) for m in names}
        own = {m: Figure.of(alone[name, m].difference, texts[m]) if (name, m) in alone else None for m in names}
        one = {name: qualities[name]}
        pairwise = {
            other: {m: pair for (_, m), pair in _compared(one, None, evaluate, how, quality).items()}
            for other, quality in qualities.items()
            if other != name
        }

        def differences(pairs: Mapping[str, Comparison]) -> dict[str, Figure | None]:
            return {m: Figure.of(pair.difference, texts[m]) for m, pair in pairs.items()}

        def ratios(pairs: Mapping[str, Comparison]) -> dict[str, Figure | None]:
            return {m: Figure.of(pair.ratio, texts[m]) if pair.ratio else None for m, pair in pairs.items()}

        versus = {other: differences(pairs) for other, pairs in pairwise.items()}
        if name == teacher:
            return ModelQuality(metrics=own, versus=versus)
        pairs = {m: against[name, m] for m in names if (name, m) in against}
        control = (controls or {}).get(name)
        return ModelQuality(
            metrics=own,
            difference=dict.fromkeys(names) | differences(pairs),
            kept=ratios(pairs),
            versus=versus,
            control=None
            if control is None
            else AgainstControl(
                name=control, difference=differences(pairwise[control]), kept=ratios(pairwise[control])
            ),
        )

    return {name: figures(name) for name in qualities}


def trivial_texts(qualities: Mapping[str, TextQuality], evaluate: EvaluateText, index: int) -> dict[str, str]:
    """The metrics that tell nothing of a model, and why; `index`: how many texts an encoder looks among."""
    values = [_per_text(quality.arrays, evaluate) for quality in qualities.values()]
    sizes = np.array([index] if any("ranks" in quality.arrays for quality in qualities.values()) else [], dtype=int)
    easy = trivial_cut_offs(sizes, sorted(set(evaluate.k)), ("ndcg", "recall"))
    own = {f"{metric}_own_index": why for metric, why in easy.items()}
    measured = {metric for each in values for metric in each}
    return constant_metrics(values, "texts") | {m: why for m, why in (easy | own).items() if m in measured}


def _texts(quality: TextQuality, metric: str) -> int:
    """Over how many texts, or pairs of them, a metric is."""
    arrays = quality.arrays
    if metric in PERPLEXITIES:
        return len(arrays.get(f"{PERPLEXITIES[metric]}nll", ()))
    return len(arrays.get("gold" if metric == "spearman" else "correct" if "correct" in arrays else "ranks", ()))


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
            ranks, tied = arrays[key], arrays[key.replace("ranks", "tied")]
            for k in sorted(set(evaluate.k)):
                found[f"ndcg@{k}{after}"] = ndcg(ranks, k, tied)
            for k in sorted(set(evaluate.k)):
                found[f"recall@{k}{after}"] = recall(ranks, k, tied)
            found[f"mrr{after}"] = reciprocal_rank(ranks, tied)
    return found
