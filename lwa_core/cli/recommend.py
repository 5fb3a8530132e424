"""`lwa recommend`: use a model of a run."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import click

from lwa_core.cli._options import example, json_option
from lwa_core.cli._paths import FilePath
from lwa_core.cli._terminal import print_json, say

if TYPE_CHECKING:
    from lwa_core.recommendation.ranker import Ranker
    from lwa_core.types import Recommendations

EPILOG = """
  lwa recommend lwa-runs/runs/ml-100k-1a2b3c4d --history 50,181,174 -k 5
  lwa recommend lwa-runs/runs/ml-100k-1a2b3c4d --model teacher --input histories.jsonl > answers.jsonl

A line of the input is a JSON list of item ids, or an object with such a list under "history"; all else in the object
is given back with the answer. A model that looks at the times of events needs a list of them too, under "times".
"""

BATCH = 256

HISTORY = 'write a JSON list of item ids, or {"history": [...]}'


@click.command(epilog=example(EPILOG))
@click.argument("run", type=FilePath())
@click.option("--history", metavar="IDS", help="Item ids, oldest first, separated by commas (or as a JSON list).")
@click.option(
    "--times", metavar="TIMES", help="When each item was, of a model that looks at times: seconds since 1970."
)
@click.option("--input", "source", type=FilePath(), help="JSON lines of histories; `-` for stdin.")
@click.option("--model", help="Which model of the run; the last student where left out.")
@click.option(
    "--plugin",
    "plugins",
    multiple=True,
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="A Python file whose recommender or compressor the model needs; its code is run. May be repeated.",
)
@click.option("-k", "k", type=click.IntRange(min=1), default=10, show_default=True, help="How many items.")
@json_option
def command(
    *,
    run: Path,
    history: str | None,
    times: str | None,
    source: Path | None,
    model: str | None,
    plugins: tuple[Path, ...],
    k: int,
    as_json: bool,
) -> None:
    """Recommend items for histories, with a model of a run.

    Ids that the model never saw are left out and reported.
    """
    if (history is None) == (source is None):
        raise click.UsageError("give one of --history and --input")
    if times is not None and history is None:
        raise click.UsageError("--times goes with --history; lines of --input hold their own")
    from lwa_core.api import load

    ranker = load(run, model, plugins=plugins)
    if source is not None:
        _answer_lines(ranker, source, k)
        return
    answer = ranker.recommend(_ids(history or ""), k, None if times is None else _times(times))
    if as_json:
        print_json(_told(answer), indent=None)
        return
    from lwa_core.cli._table import print_table

    titles = _titles(ranker)
    rows = [
        [str(place), item, f"{score:.4f}", titles.get(item, "")]
        for place, (item, score) in enumerate(zip(answer.items, answer.scores, strict=True), 1)
    ]
    print_table(["rank", "item", "score", "title"], rows)
    if answer.unknown:
        say(f"unknown to the model, left out: {', '.join(answer.unknown)}", err=True)


def _ids(text: str) -> list[str]:
    if text.lstrip().startswith("["):
        from lwa_core.errors import DataError
        from lwa_core.json_text import BadJsonError, parse_json

        try:
            return _history(parse_json(text))
        except BadJsonError as error:
            raise DataError(f"--history {error.message}", hint=HISTORY) from error
        except ValueError as error:
            raise DataError(f"--history {error}", hint=HISTORY) from error
    return [item.strip() for item in text.split(",") if item.strip()]


def _history(value: Any) -> list[str]:
    """Item ids of a JSON list. Raises ValueError."""
    if not isinstance(value, list) or not all(type(item) in (str, int) for item in value):
        raise ValueError("is no list of item ids")
    return [str(item) for item in value]


def _times(text: str) -> list[float]:
    from lwa_core.errors import DataError

    try:
        return [float(part) for part in text.strip("[] ").split(",") if part.strip()]
    except ValueError as error:
        raise DataError(f"--times is no list of numbers: {error}") from error


def _titles(ranker: Ranker) -> dict[str, str]:
    titles = ranker.catalogue.titles
    return dict(zip(ranker.catalogue.ids, titles, strict=True)) if titles else {}


def _told(answer: Recommendations) -> dict[str, Any]:
    return {"items": list(answer.items), "scores": list(answer.scores), "unknown": list(answer.unknown)}


def _answer_lines(ranker: Ranker, source: Path, k: int) -> None:
    from lwa_core.errors import DataError

    if str(source) == "-":
        _answer_all(ranker, sys.stdin.buffer, "stdin", k)
        return
    try:
        file = source.open("rb")
    except OSError as error:
        raise DataError(f"cannot be read: {error.strerror}", file=source) from error
    with file:
        _answer_all(ranker, file, str(source), k)


def _answer_all(ranker: Ranker, file: BinaryIO, name: str, k: int) -> None:
    lines = _parsed(file, name, ranker.uses_times)
    while batch := list(islice(lines, BATCH)):
        times = [times for _, times, _ in batch] if ranker.uses_times else None
        answers = ranker.recommend_many([history for history, _, _ in batch], k, times)
        for (_, _, rest), answer in zip(batch, answers, strict=True):
            print_json({**rest, **_told(answer)}, indent=None)


def _parsed(file: BinaryIO, name: str, timed: bool) -> Iterator[tuple[list[str], list[float], dict[str, Any]]]:
    """Every line's history, the times of its items if they are needed, and what else it says."""
    from lwa_core.data.timed import milliseconds
    from lwa_core.errors import DataError, LwaError
    from lwa_core.json_text import BadJsonError, parse_json

    for number, line in enumerate(file, 1):
        if not line.strip():
            continue
        try:
            value = parse_json(line)
        except BadJsonError as error:
            raise DataError(error.message, file=name, line=number, hint=HISTORY) from error
        rest = {key: v for key, v in value.items() if key != "history"} if isinstance(value, dict) else {}
        try:
            history = _history(value.get("history") if isinstance(value, dict) else value)
        except ValueError as error:
            raise DataError(f"the history {error}", file=name, line=number, hint=HISTORY) from error
        times = rest.get("times") if timed else []
        if timed and (not isinstance(times, list) or len(times) != len(history)):
            hint = 'write {"history": [...], "times": [...]}, one for each item: the model looks at times'
            raise DataError("no times of the history", file=name, line=number, hint=hint)
        try:
            milliseconds(times or [])
        except LwaError as error:
            raise DataError(error.message, file=name, line=number, hint=error.hint) from error
        yield history, times or [], rest
