"""What a reader must know before believing the figures of a run."""

from __future__ import annotations

from collections.abc import Iterator

from lwa_core.results.figures import (
    FEW,
    NOT_MEASURED,
    between,
    mean,
    metric_name,
    milliseconds,
    number,
    percent,
    signed,
    with_interval,
)
from lwa_core.results.reading import Results
from lwa_core.results.schema import Caution, Figure, ModelResult
from lwa_core.results.verdict import Verdict, compared, verdict

STABLE = 0.7
FEW_EXAMPLES = 500
FEW_CALIBRATION = 100


def warnings_for(results: Results) -> list[Caution]:
    """What is to be said about the figures of `metrics.json`."""
    return [
        *_healed_for_nothing(results),
        *_trivial(results),
        *_not_finite(results),
        *_below_baseline(results),
        *_few_examples(results),
        *_few_calibration(results),
        *_seen_targets(results),
        *_unstable(results),
        *_random_selection(results),
        *_no_better_choice(results),
        *_touches_zero(results),
    ]


def performance_warnings(results: Results) -> list[Caution]:
    """What is to be said about timed figures, which `metrics.json` does not hold."""
    return [*_unreliable(results), *_slower(results)]


def _healed_for_nothing(results: Results) -> Iterator[Caution]:
    """Of each step that healed the students of before, untrained, that it is not shown to be better than."""
    for student in results.of_kind("student"):
        if not student.healed or results.source(student).healed:
            continue
        found: dict[Verdict, list[str]] = {}
        for other in results.of_kind("student"):
            if other.tier != student.tier or other.healed:
                continue
            ahead = results.ahead(student, other)
            if ahead is not None:
                found.setdefault(verdict(ahead), []).append(f"{other.name} (advantage {_figure(results, ahead)})")
        for shown in (Verdict.WORSE, Verdict.EITHER, Verdict.UNKNOWN):
            if shown in found:
                said = f"{student.name} was trained, and {compared(shown, results.words.rank)}"
                yield Caution("healing-no-better", f"{said} {', '.join(found[shown])}, which was not")


def _below_baseline(results: Results) -> Iterator[Caution]:
    """Of each model the baselines that it is not shown to be better than, by what is shown instead."""
    for model in [results.teacher, *results.of_kind("student")]:
        found: dict[Verdict, list[str]] = {}
        for baseline in results.of_kind("baseline"):
            other = results.figure(baseline)
            if mean(results.figure(model)) == NOT_MEASURED or mean(other) == NOT_MEASURED:
                continue
            ahead = results.ahead(model, baseline)
            told = "" if ahead is None else f"; advantage {_figure(results, ahead)}"
            found.setdefault(verdict(ahead), []).append(f"{baseline.name} ({mean(other)}{told})")
        own = f"{model.name} ({metric_name(results.headline)} {mean(results.figure(model))})"
        for shown in (Verdict.WORSE, Verdict.EITHER, Verdict.UNKNOWN):
            if shown in found:
                said = f"{own} {compared(shown, results.words.rank)} {_listed('baseline', found[shown])}"
                yield Caution("below-baseline", said)


def _figure(results: Results, figure: Figure) -> str:
    return with_interval(figure, signed, results.words.examples)


def _listed(what: str, names: list[str]) -> str:
    return f"the {what}{'' if len(names) == 1 else 's'} {', '.join(names)}"


def _few_examples(results: Results) -> Iterator[Caution]:
    count, examples = results.test_examples, results.words.examples
    if count and count < FEW_EXAMPLES:  # of none there are no figures
        said = "the intervals are wide, and no figure is finer than they"
        if count < FEW:
            said = "so few show next to nothing, whatever the figures are"
        yield Caution(
            "few-test-users" if examples == "users" else "few-test-texts",
            f"only {count} test {examples if count > 1 else examples.removesuffix('s')}: {said}",
        )


def _few_calibration(results: Results) -> Iterator[Caution]:
    count = results.metrics.calibration.examples
    if count < FEW_CALIBRATION and (results.metrics.scores or results.metrics.plan is not None):
        yield Caution(
            "few-calibration-examples",
            f"only {count} calibration example{'s' if count != 1 else ''}: which layers seem to matter, and which set "
            "of them is chosen, rests on so few",
        )


def _not_finite(results: Results) -> Iterator[Caution]:
    for model in results.models:
        figure = results.figure(model)
        if figure is not None and figure.mean is None:
            yield Caution(
                "not-finite", f"{model.name} has no finite {metric_name(results.headline)}: its answers are broken"
            )


def _trivial(results: Results) -> Iterator[Caution]:
    """Metrics that tell nothing, those of one reason together; in the order of the reasons."""
    reasons: dict[str, list[str]] = {}
    for metric, why in results.metrics.trivial.items():
        reasons.setdefault(why, []).append(metric_name(metric))
    for why, names in reasons.items():
        tell = "tells" if len(names) == 1 else "tell"
        yield Caution("trivial-metric", f"{', '.join(names)} {tell} little or nothing of a model: {why}")


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
        if scores.stability is None and scores.count > 1 and not scores.combines:
            yield Caution(
                "unstable-ranking",
                f"whether the order of the layers by {scores.name} depends on which examples were looked at cannot be "
                f"told from its {scores.count} samples",
            )
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


def _no_better_choice(results: Results) -> Iterator[Caution]:
    """Of each tier the sets that nobody looked for and that its choice is not shown to be better than."""
    for choice in results.metrics.choices:
        layers = ", ".join(map(str, choice.chosen.layers))
        said = f"the choice of layers {layers}, as cut,"
        found: dict[Verdict, list[str]] = {}
        for other in choice.others:
            if other.ahead is not None and other.layers != choice.chosen.layers:
                told = f"{other.how} ones ({', '.join(map(str, other.layers))}; advantage "
                found.setdefault(verdict(other.ahead), []).append(f"{told}{_figure(results, other.ahead)})")
        for shown in (Verdict.WORSE, Verdict.EITHER, Verdict.UNKNOWN):
            if shown in found:
                how = compared(shown, results.words.rank)
                yield Caution("choice-no-better", f"{said} {how} {', '.join(found[shown])}")


def _touches_zero(results: Results) -> Iterator[Caution]:
    for student in results.of_kind("student"):
        lost = results.figure(student, "difference")
        if lost is None or lost.mean is None:
            continue
        shown, name = verdict(lost), metric_name(results.headline)
        nothing = (
            f"no difference between {student.name} and the teacher is shown, which does not show that there is none"
        )
        if shown is Verdict.UNKNOWN:
            yield Caution("no-interval", f"{nothing}: the {name} difference is {_figure(results, lost)}")
        elif shown is Verdict.EITHER and lost.low != lost.high:
            yield Caution(
                "interval-touches-zero",
                f"{nothing}: the {results.confidence} interval of the {name} difference is "
                f"{between(lost, signed)}{_worst(results, student)}",
            )


def _worst(results: Results, student: ModelResult) -> str:
    """The largest loss that the interval of the share holds."""
    kept = results.figure(student, "kept")
    if kept is None or kept.low is None or kept.high is None:
        return ""
    worst = percent(kept.high - 1 if results.less_is_better else 1 - kept.low)
    return "" if worst == percent(0) else f", which is a loss of up to {worst}"


def _unreliable(results: Results) -> Iterator[Caution]:
    if results.unreliable:
        yield Caution(
            "timing-unreliable",
            f"the timing is unreliable, and no model is called faster or slower: {'; '.join(results.unreliable)}",
        )


def _slower(results: Results) -> Iterator[Caution]:
    for student in results.of_kind("student"):
        source = results.source(student)
        own, before = results.time_ratio(student), results.time_ratio(source)
        limit = 1.0 if source.kind == "teacher" else None if before is None else before.high
        if limit is None or verdict(own, same=limit, less_is_better=True) is not Verdict.WORSE:
            continue  # the intervals meet, or there is none: this may be noise
        times = [
            milliseconds(measured.p50)
            for name in (student.name, source.name)
            if (measured := results.latency(name)) and measured.p50
        ]
        yield Caution(
            "slower-than-source",
            f"{student.name} is shown to be slower than {source.name}, which it was made from: "
            f"{' against '.join(times)} at batch 1 on this machine",
        )
