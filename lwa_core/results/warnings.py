"""What a reader must know before believing the figures of a run."""

from __future__ import annotations

from collections.abc import Iterator

from lwa_core.results.figures import between, mean, metric_name, number, percent, signed, with_interval
from lwa_core.results.reading import Results
from lwa_core.results.schema import Caution, ModelResult

STABLE = 0.7
FEW_EXAMPLES = 500


def warnings_for(results: Results) -> list[Caution]:
    """What is to be said about the figures of `metrics.json`."""
    return [
        *_below_baseline(results),
        *_few_examples(results),
        *_seen_targets(results),
        *_unstable(results),
        *_random_selection(results),
        *_touches_zero(results),
    ]


def performance_warnings(results: Results) -> list[Caution]:
    """What is to be said about timed figures, which `metrics.json` does not hold."""
    return list(_slower(results))


def _below_baseline(results: Results) -> Iterator[Caution]:
    for model in [results.teacher, *results.of_kind("student")]:
        worse, unsure = [], []
        for baseline in results.of_kind("baseline"):
            own, other = results.figure(model), results.figure(baseline)
            if own is None or other is None or own.mean is None or other.mean is None:
                continue
            ahead = results.ahead(model, baseline)
            if own.mean > other.mean if results.less_is_better else own.mean < other.mean:
                worse.append(f"{baseline.name} ({mean(other)})")
            elif ahead is not None and ahead.low is not None and ahead.low <= 0:
                unsure.append(f"{baseline.name} ({mean(other)}; advantage {with_interval(ahead, signed)})")
        yield from _not_better(results, model, worse, unsure)


def _not_better(results: Results, model: ModelResult, worse: list[str], unsure: list[str]) -> Iterator[Caution]:
    own = f"{model.name} ({metric_name(results.headline)} {mean(results.figure(model))})"
    if worse:
        yield Caution("below-baseline", f"{own} {results.words.ranks} worse than {_listed('baseline', worse)}")
    if unsure:
        yield Caution(
            "below-baseline",
            f"{own} is not shown to {results.words.rank} better than {_listed('baseline', unsure)}",
        )


def _listed(what: str, names: list[str]) -> str:
    return f"the {what}{'' if len(names) == 1 else 's'} {', '.join(names)}"


def _few_examples(results: Results) -> Iterator[Caution]:
    count, examples = results.test_examples, results.words.examples
    if count and count < FEW_EXAMPLES:  # of none there are no figures
        yield Caution(
            "few-test-users" if examples == "users" else "few-test-texts",
            f"only {count} test {examples}: the intervals are wide, and no figure is finer than they",
        )


def _seen_targets(results: Results) -> Iterator[Caution]:
    repeated, count = results.metrics.data.facts.get("repeated_test_targets") or 0, results.test_examples
    if repeated and results.metrics.asked["evaluate"].get("filter_seen"):
        share = f" ({percent(repeated / count)} of all)" if count else ""
        yield Caution(
            "seen-targets",
            f"{repeated} test targets{share} are already in the history: with seen items filtered they count as misses "
            "of every model",
        )


def _unstable(results: Results) -> Iterator[Caution]:
    for scores in results.metrics.scores:
        if scores.stability is not None and scores.stability < STABLE:
            yield Caution(
                "unstable-ranking",
                f"the order of the layers by {scores.name} depends on which "
                f"{'scorers are combined' if scores.combines else 'examples were looked at'}: between halves of its "
                f"{scores.count} {'scorers' if scores.combines else 'samples'} the rank correlation is "
                f"{number(scores.stability, 2)}",
            )


def _random_selection(results: Results) -> Iterator[Caution]:
    select = results.metrics.asked.get("select") or {}
    components = {scores.name: scores.component for scores in results.metrics.scores}
    if select.get("use") == "random" or components.get(select.get("by", "")) == "random":
        yield Caution("random-selection", "the layers were drawn at random: a baseline for selectors, not a selection")


def _touches_zero(results: Results) -> Iterator[Caution]:
    for student in results.of_kind("student"):
        lost = results.figure(student, "difference")
        if lost is None or lost.low is None or lost.high is None or not lost.low <= 0 <= lost.high:
            continue
        if lost.low == lost.high:
            continue
        yield Caution(
            "interval-touches-zero",
            f"no difference between {student.name} and the teacher is shown, which does not show that there is "
            f"none: the {results.confidence} interval of the {metric_name(results.headline)} difference is "
            f"{between(lost, signed)}{_worst(results, student)}",
        )


def _worst(results: Results, student: ModelResult) -> str:
    """The largest loss that the interval of the share holds."""
    kept = results.figure(student, "kept")
    if kept is None or kept.low is None or kept.high is None:
        return ""
    worst = percent(kept.high - 1 if results.less_is_better else 1 - kept.low)
    return "" if worst == percent(0) else f", which is a loss of up to {worst}"


def _slower(results: Results) -> Iterator[Caution]:
    for student in results.of_kind("student"):
        source = results.source(student)
        own, before = results.latency(student.name), results.latency(source.name)
        if own is None or before is None or own.p50 is None or before.p50 is None or own.p50 <= before.p50:
            continue
        limit = 1.0 if before.ratio is None or before.ratio.high is None else before.ratio.high
        if own.ratio is not None and own.ratio.low is not None and own.ratio.low <= limit:
            continue  # the intervals meet: this may be noise
        yield Caution(
            "slower-than-source",
            f"{student.name} is slower than {source.name}, which it was made from: {own.p50:.3g} ms against "
            f"{before.p50:.3g} ms at batch 1 on this machine",
        )
