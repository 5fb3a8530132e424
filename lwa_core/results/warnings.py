"""What a reader must know before believing the figures of a run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from lwa_core.results.figures import between, mean, metric_name, number, percent, signed, with_interval
from lwa_core.results.reading import Results

Warned = dict[str, str]

STABLE = 0.7
FEW_USERS = 500


def warnings_for(metrics: Mapping[str, Any]) -> list[Warned]:
    """What is to be said about the figures of `metrics.json`, as `{"code", "message"}`."""
    results = Results(metrics)
    return [
        *_below_baseline(results),
        *_few_users(results),
        *_seen_targets(results),
        *_unstable(results),
        *_random_selection(results),
        *_touches_zero(results),
    ]


def performance_warnings(metrics: Mapping[str, Any], performance: Mapping[str, Any] | None) -> list[Warned]:
    """What is to be said about timed figures, which `metrics.json` does not hold."""
    results = Results(metrics, performance)
    return list(_slower(results))


def _below_baseline(results: Results) -> Iterator[Warned]:
    name = metric_name(results.headline)
    for model in [results.teacher, *results.of_kind("student")]:
        worse, unsure = [], []
        for baseline in results.of_kind("baseline"):
            own, other = results.figure(model), results.figure(baseline)
            if own is None or other is None or own["mean"] is None or other["mean"] is None:
                continue
            ahead = results.versus(model, baseline)
            if own["mean"] < other["mean"]:
                worse.append(f"{baseline['name']} ({mean(other)})")
            elif ahead is not None and ahead["low"] is not None and ahead["low"] <= 0:
                unsure.append(f"{baseline['name']} ({mean(other)}; advantage {with_interval(ahead, signed)})")
        own_told = f"{name} {mean(results.figure(model))}"
        if worse:
            said = f"{model['name']} ({own_told}) ranks worse than {_listed('baseline', worse)}"
            yield _warning("below-baseline", said)
        if unsure:
            said = f"{model['name']} ({own_told}) is not shown to rank better than {_listed('baseline', unsure)}"
            yield _warning("below-baseline", said)


def _listed(what: str, names: list[str]) -> str:
    return f"the {what}{'' if len(names) == 1 else 's'} {', '.join(names)}"


def _few_users(results: Results) -> Iterator[Warned]:
    users = results.test_users
    if users is not None and users < FEW_USERS:
        yield _warning(
            "few-test-users", f"only {users} test users: the intervals are wide, and no figure is finer than they"
        )


def _seen_targets(results: Results) -> Iterator[Warned]:
    repeated = results.metrics["data"]["facts"].get("repeated_test_targets") or 0
    if repeated and results.metrics["asked"]["evaluate"].get("filter_seen"):
        share = f" ({percent(repeated / results.test_users)} of all)" if results.test_users else ""
        yield _warning(
            "seen-targets",
            f"{repeated} test targets{share} are already in the history: with seen items filtered they count as misses "
            "of every model",
        )


def _unstable(results: Results) -> Iterator[Warned]:
    for scores in results.metrics["scores"]:
        if scores["stability"] is not None and scores["stability"] < STABLE:
            combines = scores.get("combines")
            yield _warning(
                "unstable-ranking",
                f"the order of the layers by {scores['name']} depends on which "
                f"{'scorers are combined' if combines else 'examples were looked at'}: between halves of its "
                f"{scores['count']} {'scorers' if combines else 'samples'} the rank correlation is "
                f"{number(scores['stability'], 2)}",
            )


def _random_selection(results: Results) -> Iterator[Warned]:
    select = results.metrics["asked"]["select"]
    components = {scores["name"]: scores["component"] for scores in results.metrics["scores"]}
    if select["use"] == "random" or components.get(select.get("by", "")) == "random":
        yield _warning("random-selection", "the layers were drawn at random: a baseline for selectors, not a selection")


def _touches_zero(results: Results) -> Iterator[Warned]:
    for student in results.of_kind("student"):
        lost, kept = results.figure(student, "difference"), results.figure(student, "kept")
        if lost is None or lost["low"] is None or lost["high"] is None or not lost["low"] <= 0 <= lost["high"]:
            continue
        if lost["low"] == lost["high"]:
            continue
        least = f", which is a loss of up to {percent(1 - kept['low'])}" if kept and kept["low"] is not None else ""
        yield _warning(
            "interval-touches-zero",
            f"no difference between {student['name']} and the teacher is shown, which does not show that there is "
            f"none: the {results.confidence} interval of the {metric_name(results.headline)} difference is "
            f"{between(lost, signed)}{least}",
        )


def _slower(results: Results) -> Iterator[Warned]:
    for student in results.of_kind("student"):
        source = results.source(student)
        own, before = results.latency(student["name"]), results.latency(source["name"])
        if own is None or before is None or "p50" not in own or "p50" not in before or own["p50"] <= before["p50"]:
            continue
        slow, first = own.get("ratio"), before.get("ratio")
        if slow and slow["low"] <= (first["high"] if first else 1.0):
            continue  # the intervals meet: this may be noise
        yield _warning(
            "slower-than-source",
            f"{student['name']} is slower than {source['name']}, which it was made from: {own['p50']:.3g} ms against "
            f"{before['p50']:.3g} ms at batch 1 on this machine",
        )


def _warning(code: str, message: str) -> Warned:
    return {"code": code, "message": message}
