"""`lwa recommend`: use a model of a run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lwa_core.cli._lines import answer_lines, say_fallen, told
from lwa_core.cli._options import example, json_option
from lwa_core.cli._paths import FilePath
from lwa_core.cli._terminal import print_json, say
from lwa_core.types import Recommendations

if TYPE_CHECKING:
    from lwa_core.recommendation.answering import Answering

EPILOG = """
  lwa recommend lwa-runs/runs/ml-100k-1a2b3c4d --history 50,181,174 -k 5
  lwa recommend lwa-runs/runs/ml-100k-1a2b3c4d --model teacher --input histories.jsonl > answers.jsonl

  lwa recommend lwa-runs/runs/ml-100k-1a2b3c4d --user 196

A line of the input is a JSON list of item ids, or an object with such a list under "history" or with the id of a user
of the data under "user"; all else in the object is given back with the answer. A model that looks at the times of
events needs a list of them too, under "times". "filter_seen", "exclude" and "allow" in a line stand above the options
of the same name. A line that cannot be answered is given back with its "error", and the others are answered.
"""


@click.command(epilog=example(EPILOG))
@click.argument("run", type=FilePath())
@click.option("--history", metavar="IDS", help="Item ids, oldest first, separated by commas (or as a JSON list).")
@click.option("--user", metavar="ID", help="A user of the run's data in place of a history: all that they did.")
@click.option(
    "--times", metavar="TIMES", help="When each item was, of a model that looks at times: numbers since 1970, or dates."
)
@click.option("--time-unit", help="Of --times that are numbers: s, ms, us, ns or auto; that of the data if left out.")
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
@click.option("--seen/--no-seen", "seen", default=None, help="Recommend items of the history, too, or do not.")
@click.option("--exclude", metavar="IDS", help="Items that must not be recommended.")
@click.option("--allow", metavar="IDS", help="The only items that may be recommended.")
@click.option("--score", "scored", metavar="IDS", help="Score just these items after --history, seen or not.")
@click.option("--trace", is_flag=True, help="Tell in the JSON how each answer came about: model, layers, milliseconds.")
@json_option
def command(
    *,
    run: Path,
    history: str | None,
    user: str | None,
    times: str | None,
    time_unit: str | None,
    source: Path | None,
    model: str | None,
    plugins: tuple[Path, ...],
    k: int,
    seen: bool | None,
    exclude: str | None,
    allow: str | None,
    scored: str | None,
    trace: bool,
    as_json: bool,
) -> None:
    """Recommend items for histories or users, with a model of a run or a bundle.

    Ids that the model never saw are left out and reported.
    """
    if [history, user, source].count(None) != 2:
        raise click.UsageError("give one of --history, --user and --input")
    if times is not None and history is None:
        raise click.UsageError("--times go with --history; lines of --input hold their own")
    if scored is not None and source is not None:
        raise click.UsageError("--score goes with --history or --user")
    listed = {
        name: _ids(text, f"--{name}") for name, text in (("exclude", exclude), ("allow", allow)) if text is not None
    }
    asked: dict[str, Any] = {"filter_seen": None if seen is None else not seen, "time_unit": time_unit, **listed}
    ranker = _opened(run, model, plugins)
    if source is not None:
        answer_lines(ranker, source, k, asked, trace)
        return
    ids = None if history is None else _ids(history, "--history")
    when = None if times is None else _times(times)
    if scored is not None:
        scores = ranker.score(ids, _ids(scored, "--score"), when, user=user, time_unit=time_unit)
        best = sorted(scores, key=lambda item: -scores[item])
        answer = Recommendations(tuple(best), tuple(scores[item] for item in best), known=1)
    else:
        answer = ranker.recommend(ids, k, when, user=user, **asked)
    say_fallen(answer)
    if as_json or trace:
        print_json(told(answer, trace), indent=None)
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
    if not answer.known:
        say("nothing of the history is known: this is what the model ranks highest after nothing", err=True)


def _opened(folder: Path, model: str | None, plugins: tuple[Path, ...]) -> Answering:
    """A bundle, which needs no torch, or a model of a run."""
    from lwa_core.runtime.description import DESCRIPTION

    if (folder / DESCRIPTION).is_file():
        from lwa_core.runtime.served import open_bundle

        if model is not None or plugins:
            raise click.UsageError("a bundle holds one model and needs no plugins: leave --model and --plugin out")
        return open_bundle(folder)
    from lwa_core.api import load

    return load(folder, model, plugins=plugins)


def _ids(text: str, option: str) -> list[Any]:
    """Ids as a JSON list, or as text between commas."""
    if not text.lstrip().startswith("["):
        return [item.strip() for item in text.split(",") if item.strip()]
    return _list(text, option)


def _times(text: str) -> list[Any]:
    """Numbers, or dates and times, as a JSON list or between commas."""
    if text.lstrip().startswith("["):
        return _list(text, "--times")
    return [part.strip() for part in text.split(",") if part.strip()]


def _list(text: str, option: str) -> list[Any]:
    from lwa_core.errors import DataError
    from lwa_core.json_text import BadJsonError, parse_json

    hint = "write a JSON list, or what it would hold between commas"
    try:
        value = parse_json(text)
    except BadJsonError as error:
        raise DataError(f"{option} {error.message}", hint=hint) from error
    if not isinstance(value, list):
        raise DataError(f"{option} is no JSON list: {text[:40]}", hint=hint)
    return value


def _titles(ranker: Answering) -> dict[str, str]:
    return dict(zip(ranker.ids, ranker.titles, strict=True)) if ranker.titles else {}
