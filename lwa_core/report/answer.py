"""The outcome of a run in a few sentences, each computed from the figures."""

from __future__ import annotations

from lwa_core.results import convergence
from lwa_core.results.figures import (
    NOT_MEASURED,
    between,
    mean,
    megabytes,
    metric_name,
    milliseconds,
    percent,
    ratio,
    signed,
    with_interval,
    without_interval,
)
from lwa_core.results.reading import Results
from lwa_core.results.schema import Figure, ModelResult
from lwa_core.results.verdict import Verdict, compared, verdict
from lwa_core.results.words import CONTROL, UNCONTROLLED

DIFFERENCES = {
    Verdict.BETTER: "a gain",
    Verdict.WORSE: "a loss",
    Verdict.EITHER: "so these {examples} show neither a loss nor that there is none",
    Verdict.UNKNOWN: "so these {examples} show neither a loss nor that there is none",
}
"""What the interval of the difference to the teacher shows."""


def answer(results: Results) -> list[str]:
    """Whether the teacher is shown better than what needs no training, then what each final student keeps and costs."""
    measured = results.figure(results.teacher) is not None
    said = [
        _quality(results, student) + _control(results, student) + _aside(results, student)
        for student in results.finals
        if measured
    ]
    if measured and not said:
        said = [_teacher(results)]
    said += _request(results)
    said += [sentence for student in results.finals if (sentence := _cost(results, student))]
    first: list[str] = []
    if results.headline in results.metrics.trivial:
        why = results.metrics.trivial[results.headline]
        first.append(f"{metric_name(results.headline)} tells little or nothing of a model here: {why}.")
    first += baseline(results)
    first += [f"{_capital(each.message)}." for each in results.metrics.warnings if each.code == convergence.CODE]
    return first + said


def _capital(message: str) -> str:
    return message[:1].upper() + message[1:]


def _tested_on(results: Results) -> str:
    examples = results.words.examples
    return f"on {results.test_examples:,} test {examples}" if results.test_examples else f"on the test {examples}"


def _teacher(results: Results) -> str:
    """What is left to say where no student was made."""
    teacher, name = results.teacher, metric_name(results.headline)
    shown = with_interval(results.figure(teacher), of=results.words.examples)
    return f"{teacher.name} ({teacher.depth} layers) reaches {name} {shown} {_tested_on(results)}."


def _quality(results: Results, student: ModelResult) -> str:
    teacher, name = results.teacher, metric_name(results.headline)
    layers = f"{student.name} ({student.depth} of {teacher.depth} layers)"
    own, full = results.figure(student), results.figure(teacher)
    lost, kept = results.figure(student, "difference"), results.figure(student, "kept")
    said = f"{layers} reaches {name} {mean(own)} {_tested_on(results)} and the teacher {mean(full)}"
    if kept is not None:
        share = _share(results, kept)
        said += f": {share} of the teacher's, where less is better" if results.less_is_better else f": it keeps {share}"
    if lost is None or lost.mean is None:
        return f"{said}."
    told = f"the difference is {with_interval(lost, signed, results.words.examples)}"
    return f"{said}; {told}, {DIFFERENCES[verdict(results.gain(student))].format(examples=results.words.examples)}."


def _control(results: Results, student: ModelResult) -> str:
    """The share of a teacher that had as much training, or that there is none."""
    if not student.healed:
        return ""
    found = results.control(student)
    if found is None:
        return f" It was trained after the cut, and is {UNCONTROLLED}."
    model, ahead, kept = found
    shown = DIFFERENCES[verdict(ahead)].format(examples=results.words.examples)
    share = NOT_MEASURED if kept is None else _share(results, kept)
    does = f"that is {share}, where less is better" if results.less_is_better else f"it keeps {share}"
    return f" Of the figure of {CONTROL} ({model.name}, {mean(results.figure(model))}) {does}, {shown}."


def _share(results: Results, kept: Figure) -> str:
    """`97.5 % (95 % interval 93.5 % to 101.5 %)`."""
    inside = between(kept, percent)
    told = f"{results.confidence} interval {inside}" if inside else without_interval(kept, results.words.examples)
    return f"{mean(kept, percent)} ({told})" if told else mean(kept, percent)


def _aside(results: Results, student: ModelResult) -> str:
    """The same metric measured elsewhere, which healing cannot have brought back by learning these examples."""
    aside = results.aside
    kept = None if aside is None else results.figure(student, "kept", aside)
    if aside is None or kept is None:
        return ""
    return f" Its {metric_name(aside)} is {with_interval(kept, percent, results.words.examples)} of the teacher's."


def _request(results: Results) -> list[str]:
    """How long a request takes, and how much of that is not the network; nothing where it is not known reliably."""
    measured = results.latency(results.teacher.name)
    if measured is None or measured.p50 is None:
        return []
    if results.unreliable:
        return [
            f"How long a request takes is not stated, for the timing is unreliable: {'; '.join(results.unreliable)}."
        ]
    if measured.network is None or measured.added is None:
        return []
    return [
        f"A whole answer of the teacher takes {milliseconds(measured.p50)} (median) and its network alone "
        f"{milliseconds(measured.network)}: what lwa adds to a request is "
        f"{with_interval(measured.added, milliseconds)}."
    ]


def _cost(results: Results, student: ModelResult) -> str | None:
    parts = []
    times, layers = results.time_ratio(student), results.layer_ratio(student)
    if times is not None:
        part = f"a request takes it {with_interval(times, ratio)} times as long as the teacher"
        parts.append(part + (f" (the layer count alone would give {ratio(layers)})" if layers is not None else ""))
    own, full = student.bytes_memory, results.teacher.bytes_memory
    if own and full:
        parts.append(f"its weights take {megabytes(own)} of memory instead of {megabytes(full)}")
    return f"For {student.name}, {', and '.join(parts)}." if parts else None


def baseline(results: Results) -> list[str]:
    """Whether the teacher is shown better than the best baseline; nothing where there is none.

    It comes first: which layers users need means little where no layer is needed.
    """
    means = {
        each.name: figure.mean
        for each in results.of_kind("baseline")
        if (figure := results.figure(each)) is not None and figure.mean is not None
    }
    teacher = results.teacher
    if not means or results.figure(teacher) is None:
        return []
    chosen = (min if results.less_is_better else max)(means, key=lambda name: means[name])
    best = next(each for each in results.of_kind("baseline") if each.name == chosen)
    versus, shown, of = results.versus(teacher, best), verdict(results.ahead(teacher, best)), results.words.examples
    figures = f"{metric_name(results.headline)} {mean(results.figure(teacher))} against {mean(results.figure(best))}"
    by = f", {with_interval(versus, signed, of)}" if versus is not None else ""
    said = f"The teacher {compared(shown, results.words.rank)} {best.name}, the best untrained baseline: {figures}{by}"
    if shown is Verdict.BETTER or not teacher.depth:
        return [f"{said}."]
    return [f"{said}; so its layers are not shown to be worth anything here, whichever of them are kept."]
