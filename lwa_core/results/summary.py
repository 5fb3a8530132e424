"""From rankings and scores to the JSON-ready parts of `metrics.json`."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from lwa_core.data import Catalogue, PreparedData
from lwa_core.recommendation.metrics import coverage, ndcg, per_user, recall
from lwa_core.recommendation.ranking import Ranking
from lwa_core.recommendation.sections import Evaluate
from lwa_core.statistics.agreement import concordance, correlations, overlap
from lwa_core.statistics.bootstrap import compare, intervals
from lwa_core.statistics.estimate import Estimate
from lwa_core.statistics.stability import RESAMPLES
from lwa_core.types import Floats, LayerScores, ScoreBoard


def summarise(
    rankings: Mapping[str, Ranking],
    catalogue: Catalogue,
    evaluate: Evaluate,
    seed: int,
    teacher: str = "teacher",
) -> dict[str, dict[str, Any]]:
    """Every model's metrics, its difference to the teacher, and the share of the teacher's figure that it keeps.

    Args:
        rankings: The rankings of the same test examples by every model and baseline, with top lists of at least
            max(evaluate.k) items.
        catalogue: The items.
        evaluate: Cut-offs, resamples and confidence.
        seed: Of the resamples, which all models and metrics share.
        teacher: Which of the rankings the others are compared with.

    Returns:
        name -> `{"metrics", "difference", "kept"}`, each metric -> `{"mean", "low", "high"}`; difference and kept are
        None for the teacher. A metric that is not defined is None; one without an interval has None as low and high.
        `"versus"` holds the paired difference of every NDCG to that of each other model, by that model's name.
    """
    ks = sorted(set(evaluate.k))
    values = {name: per_user(ranking, catalogue, ks) for name, ranking in rankings.items()}
    covered = {
        name: {f"coverage@{k}": coverage(ranking, catalogue, k) for k in ks} for name, ranking in rankings.items()
    }
    how: dict[str, Any] = {"resamples": evaluate.bootstrap, "confidence": evaluate.confidence, "seed": seed}
    alone = intervals({(n, m): array for n, arrays in values.items() for m, array in arrays.items()}, **how)
    against = compare(
        {(n, m): (a, values[teacher][m]) for n, arrays in values.items() if n != teacher for m, a in arrays.items()},
        **how,
    )
    each = compare(
        {
            (n, other, f"ndcg@{k}"): (arrays[f"ndcg@{k}"], values[other][f"ndcg@{k}"])
            for n, arrays in values.items()
            for other in values
            for k in ks
            if other != n
        },
        **how,
    )
    names = [f"{metric}@{k}" for metric in ("ndcg", "recall") for k in ks] + ["mrr"]
    names += [f"{metric}@{k}" for metric in ("coverage", "diversity") for k in ks]

    def figures(name: str) -> dict[str, Any]:
        own = {m: _told(alone.get((name, m)), covered[name].get(m)) for m in names}
        versus: dict[str, Any] = {other: {} for other in values if other != name}
        for (one, other, metric), pair in each.items():
            if one == name:
                versus[other][metric] = _told(pair.difference)
        if name == teacher:
            return {"metrics": own, "difference": None, "kept": None, "versus": versus}
        pairs = {m: against.get((name, m)) for m in names}
        lost = {m: covered[name][m] - covered[teacher][m] if m in covered[name] else None for m in names}
        return {
            "metrics": own,
            "difference": {m: _told(pair.difference if pair else None, lost[m]) for m, pair in pairs.items()},
            "kept": {m: _told(pair.ratio) for m, pair in pairs.items() if pair is not None},
            "versus": versus,
        }

    return {name: figures(name) for name in rankings}


def cold_start(
    rankings: Mapping[str, Ranking], data: PreparedData, evaluate: Evaluate, seed: int
) -> dict[str, Any] | None:
    """How every model ranks the test targets that no training sequence holds, JSON-ready; None where there are none.

    Args:
        rankings: Of the test examples.
        data: Whose test examples.
        evaluate: Cut-offs, resamples and confidence.
        seed: Of the resamples, which all models and metrics share.

    Returns:
        `examples`, out of `of`, with `items` different targets; `models`, name -> `ndcg@k` and `recall@k` of these
        examples, each `{"mean", "low", "high"}`.
    """
    trained = np.zeros(len(data.catalogue), dtype=np.bool_)
    for sequence in data.training_sequences():
        trained[sequence] = True
    targets = data.targets(data.test)
    cold = ~trained[targets]
    if not cold.any():
        return None
    names = {f"{name}@{k}": (measure, k) for name, measure in (("ndcg", ndcg), ("recall", recall)) for k in evaluate.k}
    values = {
        (model, name): measure(ranking.ranks[cold], k)
        for model, ranking in rankings.items()
        for name, (measure, k) in names.items()
    }
    how: dict[str, Any] = {"resamples": evaluate.bootstrap, "confidence": evaluate.confidence, "seed": seed}
    found = intervals(values, **how)
    return {
        "examples": int(cold.sum()),
        "of": len(targets),
        "items": len(np.unique(targets[cold])),
        "models": {model: {name: _told(found[model, name]) for name in names} for model in rankings},
    }


def scores_of(
    board: ScoreBoard,
    components: Mapping[str, str],
    references: Mapping[str, str | None],
    confidence: float = 0.95,
    removed: Sequence[int] = (),
) -> list[dict[str, Any]]:
    """The scores of every scorer, JSON-ready, with what it told besides as `"facts"`.

    Args:
        board: The scores by the recipe's names.
        components: Name -> component that computed it.
        references: Name -> the paper that defines it.
        confidence: Of the Student-t interval of each layer's mean.
        removed: For how many removed layers each layer's probability of being among the lowest is told.
    """
    counts = sorted({k for k in removed if k > 0})
    return [
        {
            "name": name,
            "component": components[name],
            "unit": scores.unit,
            "reference": references.get(name),
            "combines": scores.facts.get("combines"),
            **_layers(scores, confidence),
            **_certainty(scores, counts),
            "facts": _ready(scores.facts),
        }
        for name, scores in board.scores.items()
    ]


def agreement_of(board: ScoreBoard, keeps: Sequence[int] = ()) -> dict[str, Any]:
    """How far the scorers agree on the order of the layers, JSON-ready.

    Combined scores are left out, because they agree with what they are made of; baselines are left out of Kendall's W.

    Args:
        board: The scores by the recipe's names.
        keeps: For how many kept layers the overlap is told.

    Returns:
        `names`; `kendall` and `kendall_p`, tau-b and its permutation p-value (None on the diagonal) with the number of
        `permutations`, all there are where `exact`; `concordance`, W and its p-value over the scorers of its `names`,
        or None where there are fewer than two; `overlap`, for each k `shared`, `chance` and the hypergeometric `p`.
    """
    names = [name for name in board.names if name not in board.combined]
    means = board.means(names)
    pairs = correlations(means)
    ks = sorted({k for k in keeps if 0 < k < means.shape[1]}, reverse=True)
    return {
        "names": names,
        "kendall": [_rounded(row) for row in pairs.tau],
        "kendall_p": _off_diagonal(pairs.p),
        "permutations": pairs.permutations,
        "exact": pairs.exact,
        "concordance": _concordance(board, [name for name in names if name not in board.baselines]),
        "overlap": [
            {"k": top.k, "chance": _number(top.chance), "shared": top.shared.tolist(), "p": _off_diagonal(top.p)}
            for top in (overlap(means, k) for k in ks)
        ],
    }


def _concordance(board: ScoreBoard, names: Sequence[str]) -> dict[str, Any] | None:
    found = concordance(board.means(names)) if len(names) > 1 else None
    if found is None:
        return None
    tested = {"permutations": found.permutations, "exact": found.exact}
    return {"names": list(names), "w": _number(found.w), "p": _number(found.p), **tested}


def _off_diagonal(table: Floats) -> list[list[float | None]]:
    return [[None if i == j else _number(p) for j, p in enumerate(row)] for i, row in enumerate(table.tolist())]


def _layers(scores: LayerScores, confidence: float) -> dict[str, Any]:
    interval, error, stability = scores.interval(confidence), scores.standard_error, scores.stability()
    return {
        "count": scores.count,
        "mean": _rounded(scores.mean),
        "standard_error": None if error is None else _rounded(error),
        "low": None if interval is None else _rounded(interval[0]),
        "high": None if interval is None else _rounded(interval[1]),
        "stability": None if stability is None else _number(stability),
    }


def _certainty(scores: LayerScores, removed: Sequence[int]) -> dict[str, Any]:
    """`bottom`: for each number of removed layers every layer's probability of being among them, None with one sample;
    `stability_curve`: [[samples, rank correlation], ...].
    """
    chances = [(k, scores.bottom(k)) for k in removed]
    return {
        "bottom": [
            {"removed": k, "resamples": RESAMPLES, "probability": _rounded(p)} for k, p in chances if p is not None
        ]
        or None,
        "stability_curve": [[n, _number(rho)] for n, rho in scores.stability_curve()],
    }


def _told(estimate: Estimate | None, alone: float | None = None) -> dict[str, float | None] | None:
    """An estimate, or a figure that has no interval, or None where there is neither."""
    if estimate is not None:
        return {"mean": _number(estimate.mean), "low": _number(estimate.low), "high": _number(estimate.high)}
    return None if alone is None else {"mean": _number(alone), "low": None, "high": None}


def _ready(told: Any) -> Any:
    """What a scorer told, with its numbers rounded as all others are."""
    if isinstance(told, Mapping):
        return {str(name): _ready(value) for name, value in told.items()}
    if isinstance(told, (list, tuple)):
        return [_ready(value) for value in told]
    return _number(told) if isinstance(told, float) else told


def _rounded(values: Floats) -> list[float | None]:
    return [_number(value) for value in values.tolist()]


def _number(value: float) -> float | None:
    """Ten significant digits: the last ones depend on how the libraries of a machine order their additions."""
    return float(f"{value:.10g}") if math.isfinite(value) else None
