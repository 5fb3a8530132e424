"""From rankings and scores to the parts of `metrics.json`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from lwa_core.data import Catalogue, PreparedData
from lwa_core.recommendation.metrics import coverage, per_user
from lwa_core.recommendation.ranking import Ranking
from lwa_core.recommendation.sections import Evaluate
from lwa_core.results.schema import (
    AgainstControl,
    Agreement,
    Bottom,
    ColdStart,
    ConcordanceResult,
    Figure,
    ModelQuality,
    OverlapResult,
    ScorerResult,
)
from lwa_core.results.trivial import constant_metrics, trivial_cut_offs
from lwa_core.statistics.agreement import concordance, correlations, overlap
from lwa_core.statistics.bootstrap import compare, intervals
from lwa_core.statistics.estimate import Estimate, finite_digits, ten_digits
from lwa_core.statistics.rank_metrics import SAMPLED, ndcg, recall, reciprocal_rank
from lwa_core.statistics.stability import RESAMPLES
from lwa_core.types import Floats, LayerScores, ScoreBoard

MEASURES = {"ndcg": ndcg, "recall": recall}
"""Metrics at k that follow from the ranks alone."""


def summarise(
    rankings: Mapping[str, Ranking],
    catalogue: Catalogue,
    evaluate: Evaluate,
    seed: int,
    teacher: str = "teacher",
    controls: Mapping[str, str] | None = None,
) -> dict[str, ModelQuality]:
    """Every model's metrics, its difference to the teacher, and the share of the teacher's figure that it keeps.

    Args:
        rankings: The rankings of the same test examples by every model and baseline, with top lists of at least
            max(evaluate.k) items.
        catalogue: The items.
        evaluate: Cut-offs, resamples and confidence.
        seed: Of the resamples, which all models and metrics share.
        teacher: Which of the rankings the others are compared with.
        controls: By the name of a student that of the ranking that it is compared with besides.

    Returns:
        By name; `difference` and `kept` are None for the teacher. A metric that is not defined is None; one without an
        interval has None as low and high. `versus` holds the paired difference of every NDCG.
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
    controls = controls or {}
    longer = compare(
        {(n, m): (a, values[other][m]) for n, other in controls.items() for m, a in values[n].items()}, **how
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
    names += [name for name in values[teacher] if name.endswith(SAMPLED)]

    def figures(name: str) -> ModelQuality:
        users = {m: _users(array) for m, array in values[name].items()}
        own = {m: _figure(alone.get((name, m)), covered[name].get(m), users.get(m)) for m in names}
        versus: dict[str, dict[str, Figure | None]] = {other: {} for other in values if other != name}
        for (one, other, metric), pair in each.items():
            if one == name:
                versus[other][metric] = _figure(pair.difference, units=users[metric])
        if name == teacher:
            return ModelQuality(metrics=own, versus=versus)
        pairs = {m: against.get((name, m)) for m in names}
        both = {m: _users(array + values[teacher][m]) for m, array in values[name].items()}
        lost = {m: covered[name][m] - covered[teacher][m] if m in covered[name] else None for m in names}
        return ModelQuality(
            metrics=own,
            difference={m: _figure(p.difference if p else None, lost[m], both.get(m)) for m, p in pairs.items()},
            kept={m: _figure(pair.ratio, units=both[m]) for m, pair in pairs.items() if pair is not None},
            versus=versus,
            control=against_control(name),
        )

    def against_control(name: str) -> AgainstControl | None:
        if name not in controls:
            return None
        other = controls[name]
        pairs = {m: longer.get((name, m)) for m in names}
        both = {m: _users(array + values[other][m]) for m, array in values[name].items()}
        lost = {m: figure - covered[other][m] for m, figure in covered[name].items()}
        return AgainstControl(
            name=other,
            difference={m: _figure(p.difference if p else None, lost.get(m), both.get(m)) for m, p in pairs.items()},
            kept={m: _figure(pair.ratio, units=both[m]) for m, pair in pairs.items() if pair is not None},
        )

    return {name: figures(name) for name in rankings}


def trivial(rankings: Mapping[str, Ranking], data: PreparedData, evaluate: Evaluate) -> dict[str, str]:
    """The metrics of these rankings that tell nothing of a model, and why."""
    seen = [len(np.unique(np.asarray(history))) for history in data.histories(data.test)]
    left = len(data.catalogue) - np.array(seen if evaluate.filter_seen else [0] * len(seen), dtype=np.int64)
    values = [
        {
            f"{name}@{k}": measure(ranking.ranks, k, ranking.tied)
            for name, measure in MEASURES.items()
            for k in evaluate.k
        }
        | {"mrr": reciprocal_rank(ranking.ranks, ranking.tied)}
        for ranking in rankings.values()
    ]
    ks = sorted(set(evaluate.k))
    easy = trivial_cut_offs(left, ks, (*MEASURES, "coverage"))
    if evaluate.sampled_negatives:
        few = trivial_cut_offs(np.minimum(left, 1 + evaluate.sampled_negatives), ks, tuple(MEASURES))
        easy |= {f"{metric}{SAMPLED}": why for metric, why in few.items()}
    return constant_metrics(values, "users") | easy


def cold_start(rankings: Mapping[str, Ranking], data: PreparedData, evaluate: Evaluate, seed: int) -> ColdStart | None:
    """How every model ranks the test targets that no training sequence holds; None where there are none.

    Args:
        rankings: Of the test examples.
        data: Whose test examples.
        evaluate: Cut-offs, resamples and confidence.
        seed: Of the resamples, which all models and metrics share.
    """
    trained = np.zeros(len(data.catalogue), dtype=np.bool_)
    for sequence in data.training_sequences():
        trained[sequence] = True
    targets = data.targets(data.test)
    cold = ~trained[targets]
    if not cold.any():
        return None
    names = {f"{name}@{k}": (measure, k) for name, measure in MEASURES.items() for k in evaluate.k}
    values = {
        (model, name): measure(ranking.ranks[cold], k, ranking.tied[cold])
        for model, ranking in rankings.items()
        for name, (measure, k) in names.items()
    }
    how: dict[str, Any] = {"resamples": evaluate.bootstrap, "confidence": evaluate.confidence, "seed": seed}
    found = intervals(values, **how)
    return ColdStart(
        examples=int(cold.sum()),
        of=len(targets),
        items=len(np.unique(targets[cold])),
        models={
            model: {name: _figure(found[model, name], units=int(cold.sum())) for name in names} for model in rankings
        },
    )


def scores_of(
    board: ScoreBoard,
    components: Mapping[str, str],
    references: Mapping[str, str | None],
    confidence: float = 0.95,
    removed: Sequence[int] = (),
) -> tuple[ScorerResult, ...]:
    """The scores of every scorer, with what it states besides as `facts`.

    Args:
        board: The scores by the recipe's names.
        components: Name -> component that computed it.
        references: Name -> the paper that defines it.
        confidence: Of the interval of each layer's mean.
        removed: For how many removed layers each layer's probability of being among the lowest is told.
    """
    counts = sorted({k for k in removed if k > 0})
    return tuple(
        _scorer_result(name, scores, components[name], references.get(name), confidence, counts)
        for name, scores in board.scores.items()
    )


def _scorer_result(
    name: str,
    scores: LayerScores,
    component: str,
    reference: str | None,
    confidence: float,
    removed: Sequence[int],
) -> ScorerResult:
    interval, error, stability = scores.interval(confidence), scores.standard_error, scores.stability()
    combines = scores.facts.get("combines")
    chances = [(k, scores.bottom(k)) for k in removed]
    bottom = tuple(Bottom(removed=k, resamples=RESAMPLES, probability=_rounded(p)) for k, p in chances if p is not None)
    return ScorerResult(
        name=name,
        component=component,
        unit=scores.unit,
        reference=reference,
        combines=None if combines is None else tuple(combines),
        count=scores.count,
        mean=_rounded(scores.mean),
        standard_error=None if error is None else _rounded(error),
        low=None if interval is None else _ends(interval[0]),
        high=None if interval is None else _ends(interval[1]),
        stability=None if stability is None else ten_digits(stability),
        bottom=bottom or None,
        stability_curve=tuple((n, ten_digits(rho)) for n, rho in scores.stability_curve()),
        facts=_ready(scores.facts),
    )


def agreement_of(board: ScoreBoard, keeps: Sequence[int] = ()) -> Agreement:
    """How far the scorers agree on the order of the layers.

    Combined scores are left out, because they agree with what they are made of; baselines are left out of Kendall's W.

    Args:
        board: The scores by the recipe's names.
        keeps: For how many kept layers the overlap is told.
    """
    names = [name for name in board.names if name not in board.combined]
    means = board.means(names)
    pairs = correlations(means)
    ks = sorted({k for k in keeps if 0 < k < means.shape[1]}, reverse=True)
    return Agreement(
        names=tuple(names),
        kendall=tuple(_rounded(row) for row in pairs.tau),
        kendall_p=_off_diagonal(pairs.p),
        permutations=pairs.permutations,
        exact=pairs.exact,
        concordance=_concordance(board, [name for name in names if name not in board.baselines]),
        overlap=tuple(
            OverlapResult(
                k=top.k,
                chance=ten_digits(top.chance),
                shared=tuple(tuple(row) for row in top.shared.tolist()),
                p=_off_diagonal(top.p),
            )
            for top in (overlap(means, k) for k in ks)
        ),
    )


def _concordance(board: ScoreBoard, names: Sequence[str]) -> ConcordanceResult | None:
    found = concordance(board.means(names)) if len(names) > 1 else None
    if found is None:
        return None
    return ConcordanceResult(
        names=tuple(names),
        w=ten_digits(found.w),
        p=ten_digits(found.p),
        permutations=found.permutations,
        exact=found.exact,
    )


def _off_diagonal(table: Floats) -> tuple[tuple[float | None, ...], ...]:
    return tuple(tuple(None if i == j else p for j, p in enumerate(_rounded(row))) for i, row in enumerate(table))


def _users(values: Floats) -> int:
    """For how many users a metric is defined."""
    return int(np.count_nonzero(~np.isnan(values)))


def _figure(estimate: Estimate | None, alone: float | None = None, units: int | None = None) -> Figure | None:
    """An estimate over so many users, or a figure that has no interval, or None where there is neither."""
    if estimate is not None:
        return Figure.of(estimate, units)
    return None if alone is None else Figure(finite_digits(alone))


def _ready(told: Any) -> Any:
    """What a scorer states, with its numbers rounded as all others are."""
    if isinstance(told, Mapping):
        return {str(name): _ready(value) for name, value in told.items()}
    if isinstance(told, (list, tuple)):
        return [_ready(value) for value in told]
    return finite_digits(told) if isinstance(told, float) else told


def _rounded(values: Floats) -> tuple[float, ...]:
    return tuple(ten_digits(value) for value in values.tolist())


def _ends(values: Floats) -> tuple[float | None, ...]:
    return tuple(finite_digits(value) for value in values.tolist())
