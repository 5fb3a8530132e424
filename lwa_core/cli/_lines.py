"""Requests as JSON lines: each is answered, or given back with what is wrong with it."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import attrs

from lwa_core.cli._terminal import print_json, say

if TYPE_CHECKING:
    from lwa_core.recommendation.answering import Answering
    from lwa_core.types import Recommendations

BATCH = 256
OPTIONS = ("filter_seen", "exclude", "allow")
ANSWER = ("items", "scores", "unknown", "known", "error")
HINT = 'write a JSON list of item ids, or {"history": [...]}, or {"user": ...}'


@attrs.frozen
class Line:
    """One request, and what else its line says; or what is wrong with it."""

    number: int
    history: Any = None
    user: Any = None
    times: Any = None
    options: Mapping[str, Any] = attrs.field(factory=dict)
    rest: Mapping[str, Any] = attrs.field(factory=dict)
    fault: str | None = None


def told(answer: Recommendations, trace: bool = False) -> dict[str, Any]:
    """An answer as JSON has it; its trace, which no second answer repeats, where it is asked for."""
    made = {
        "items": list(answer.items),
        "scores": list(answer.scores),
        "unknown": list(answer.unknown),
        "known": answer.known,
    }
    return {**made, "trace": answer.trace and attrs.asdict(answer.trace)} if trace else made


def say_fallen(answer: Recommendations, where: str = "") -> None:
    """Say on stderr where an answer is not the model's."""
    if answer.trace is not None and answer.trace.fell_back is not None:
        say(f"{where}answered by popularity: {answer.trace.fell_back}", err=True)


def answer_lines(ranker: Answering, source: Path, k: int, options: Mapping[str, Any], trace: bool = False) -> None:
    """Answer every line of a file, or of stdin for `-`, on stdout.

    Raises:
        DataError: The file cannot be read; or, after all others were answered, some lines could not be.
    """
    from lwa_core.errors import DataError

    if str(source) == "-":
        _answer_all(ranker, sys.stdin.buffer, "stdin", k, options, trace)
        return
    try:
        file = source.open("rb")
    except (OSError, ValueError) as error:
        raise DataError(f"cannot be read: {getattr(error, 'strerror', error)}", file=source) from error
    with file:
        _answer_all(ranker, file, str(source), k, options, trace)


def _answer_all(ranker: Answering, file: BinaryIO, name: str, k: int, options: Mapping[str, Any], trace: bool) -> None:
    from lwa_core.errors import DataError

    lines, count, faults = read_lines(file, ranker.uses_times), 0, 0
    while batch := list(islice(lines, BATCH)):
        count += len(batch)
        for line, answer in zip(batch, _answers(ranker, batch, k, options), strict=True):
            if isinstance(answer, str):
                faults += 1
                say(f"error[data]: {name}:{line.number}: {answer}", err=True)
                print_json({**line.rest, "error": answer}, indent=None)
                continue
            say_fallen(answer, f"{name}:{line.number}: ")
            print_json({**line.rest, **told(answer, trace)}, indent=None)
    if faults:
        raise DataError(
            f"{faults} of {count} requests were not answered", file=name, hint="what is wrong is said above"
        )


def _answers(
    ranker: Answering, batch: Sequence[Line], k: int, options: Mapping[str, Any]
) -> list[Recommendations | str]:
    """The answer to each line, or what is wrong with it. Lines of the same options are answered together."""
    groups: dict[str, list[int]] = {}
    answers: list[Recommendations | str] = [line.fault or "" for line in batch]
    for place, line in enumerate(batch):
        if line.fault is None:
            kind = json.dumps([line.user is None, line.options], sort_keys=True)
            groups.setdefault(kind, []).append(place)
    for places in groups.values():
        lines = [batch[place] for place in places]
        for place, answer in zip(places, _together(ranker, lines, k, {**options, **lines[0].options}), strict=True):
            answers[place] = answer
    return answers


def _together(
    ranker: Answering, lines: Sequence[Line], k: int, options: Mapping[str, Any]
) -> list[Recommendations | str]:
    """Answers to lines of one kind in one batch; where that fails, one by one: a line at fault costs just itself."""
    from lwa_core.errors import LwaError

    asked: dict[str, Any] = {"users": [line.user for line in lines]}
    if lines[0].user is None:
        asked = {"histories": [line.history for line in lines]}
        asked["times"] = [line.times for line in lines] if ranker.uses_times else None
    try:
        return [*ranker.recommend_many(k=k, **asked, **options)]
    except LwaError as error:
        if len(lines) == 1:
            return [f"{error.message} ({error.hint})" if error.hint else error.message]
        return [answer for line in lines for answer in _together(ranker, [line], k, options)]


def read_lines(file: BinaryIO, timed: bool) -> Iterator[Line]:
    """Every line that is not blank, as a request."""
    for number, text in enumerate(file, 1):
        if text.strip():
            yield _line(number, text, timed)


def _line(number: int, text: bytes, timed: bool) -> Line:
    from lwa_core.json_text import BadJsonError, parse_json

    try:
        value = parse_json(text, unique=True)
    except BadJsonError as error:
        wrong = f"{error.message} ({error.hint or HINT})"
        if b"\r" in text.rstrip(b"\r\n"):  # several requests, which a single carriage return separates
            wrong = "a carriage return stands inside this line (lines end in \\n or \\r\\n)"
        return Line(number, fault=wrong)
    if isinstance(value, list):
        value = {"history": value}
    user = value.get("user") if isinstance(value, dict) and "history" not in value else None
    if not isinstance(value, dict) or (user is None and not isinstance(value.get("history"), list)):
        return Line(number, fault=f"no history ({HINT})")
    rest = {key: v for key, v in value.items() if key != "history"}
    if fault := _fault(value, timed and user is None):
        return Line(number, rest={key: v for key, v in rest.items() if key not in ANSWER}, fault=fault)
    options = {key: value[key] for key in OPTIONS if key in value}
    if user is not None:
        return Line(number, user=user, options=options, rest=rest)
    return Line(number, value["history"], None, value.get("times") if timed else None, options, rest)


def _fault(value: Mapping[str, Any], timed: bool) -> str | None:
    """What is wrong with the fields of a line that has a history or a user."""
    own = [key for key in ANSWER if key in value]
    if own:
        return f"the field {own[0]!r} is the answer's own; give it another name"
    if timed and not isinstance(value.get("times"), list):
        return 'no times of the history (write {"history": [...], "times": [...]})'
    if not isinstance(value.get("filter_seen", True), bool):
        return "filter_seen is true or false"
    return None
