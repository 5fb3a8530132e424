"""`lwa study`: one recipe with many settings and seeds, and what that shows."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lwa_core.cli._options import F, example, json_option, recipe_options, store_option, tell_local
from lwa_core.cli._paths import FilePath
from lwa_core.cli._table import print_table, show_table
from lwa_core.cli._terminal import echo, print_json, say

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from lwa_core.plugins.trust import Allowing
    from lwa_core.study.document import Study
    from lwa_core.study.table import StudyTable

EPILOG = """
  lwa study study.toml --jobs 2
  lwa study show study.toml
  lwa study compare study.toml layers=4 layers=8
  lwa study power study.toml --margin 0.01
"""


class StudyGroup(click.Group):
    """`lwa study FILE` runs the study; other words are what to do with its results."""

    default = "run"

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if args and args[0] not in self.commands and args[0] not in ("--help", "-h"):
            args = [self.default, *args]
        return super().parse_args(ctx, args)


study_argument = click.argument("study", type=FilePath())
"""`study: Path`."""


def results_options(command: F) -> F:
    """How the study is read, and where its results and runs lie: the same for all that is done with them."""
    results = click.option(
        "--results", type=FilePath(), default=None, help="Folder of the results.  [default: results beside the file]"
    )
    for option in (json_option, store_option, recipe_options, results):
        command = option(command)
    return command


@click.group(cls=StudyGroup, epilog=example(EPILOG))
def command() -> None:
    """Run one recipe with many settings and seeds, and say what that shows.

    `lwa study FILE` runs what is lacking, `lwa plan FILE` says what that is.
    """


@command.command("run")
@study_argument
@click.option("--jobs", type=click.IntRange(1), default=1, show_default=True, help="Runs at a time.")
@results_options
def run(
    *,
    study: Path,
    jobs: int,
    results: Path | None,
    overrides: tuple[str, ...],
    allow_local: Allowing,
    block: tuple[str, ...],
    store: Path,
    as_json: bool,
) -> None:
    """Run every cell with every seed that the results lack.

    Runs share what they have in common through the store. A run that fails is told, and the others go on; the same
    command goes on where a study was stopped.
    """
    opened = _opened(study, overrides, block, allow_local)

    from lwa_core.errors import LwaError
    from lwa_core.store.places import assert_writable
    from lwa_core.store.results import Store
    from lwa_core.study.report import write_study
    from lwa_core.study.running import run_study
    from lwa_core.study.summary import summarise

    table = _table(opened, results)
    assert_writable(table.folder)
    carried = run_study(
        opened, Store(store), table, jobs=jobs, overrides=overrides, block=block, say=lambda line: say(line, err=True)
    )
    summary = summarise(opened, carried, Store(store))
    written = write_study(summary, table.folder)
    _show(summary, as_json)
    for path in [*written[:1], table.file]:
        say(f"results: {path}", err=as_json)
    if carried.failures:
        titles = list(carried.failures)
        said = "; ".join(titles[:3]) + (f" and {len(titles) - 3} more" if len(titles) > 3 else "")
        hint = "what went wrong is above and in the report; the same command tries these again"
        raise LwaError(f"{len(titles)} of {len(opened.runs)} runs failed: {said}", hint)


@command.command("show")
@study_argument
@results_options
def show(
    *,
    study: Path,
    results: Path | None,
    overrides: tuple[str, ...],
    allow_local: Allowing,
    block: tuple[str, ...],
    store: Path,
    as_json: bool,
) -> None:
    """Show what the results say so far, and run nothing."""
    opened = _opened(study, overrides, block, allow_local)

    from lwa_core.store.results import Store
    from lwa_core.study.report import write_study
    from lwa_core.study.running import Carried, known_so_far
    from lwa_core.study.summary import summarise

    table = _table(opened, results)
    summary = summarise(opened, Carried(known_so_far(opened, table)), Store(store))
    write_study(summary, table.folder)
    _show(summary, as_json)


@command.command("compare")
@study_argument
@click.argument("first")
@click.argument("second")
@results_options
def compare(
    *,
    study: Path,
    first: str,
    second: str,
    results: Path | None,
    overrides: tuple[str, ...],
    allow_local: Allowing,
    block: tuple[str, ...],
    store: Path,
    as_json: bool,
) -> None:
    """Hold two cells against each other, model by model, paired by seed and test example."""
    opened = _opened(study, overrides, block, allow_local)

    from lwa_core.store.results import Store
    from lwa_core.study.running import known_so_far
    from lwa_core.study.summary import compared

    frame = known_so_far(opened, _table(opened, results))
    there = frame["cell"].unique(maintain_order=True).to_list()
    for cell in (first, second):
        if cell not in there:
            raise click.BadParameter(f"no run of the results has the cell {cell!r}; there are: {', '.join(there)}")
    told = compared(frame, Store(store), first, second)
    if as_json:
        print_json(told)
        return
    from lwa_core.study.report import estimate

    rows = [
        [
            each["model"],
            f"{each['first']:.4f}",
            f"{each['second']:.4f}",
            estimate(each["difference"]),
            str(each["difference"]["seeds"]),
            each["shown"] or "nothing is shown",
        ]
        for each in told
    ]
    metric = told[0]["metric"] if told else ""
    print_table([metric, first, second, "difference", "seeds", "the first is"], rows)


@command.command("power")
@study_argument
@click.option("--margin", type=click.FloatRange(0, 1, min_open=True), default=0.01, show_default=True)
@click.option("--power", type=click.FloatRange(0.5, 0.99), default=0.8, show_default=True)
@click.option("--model", default="teacher", show_default=True, help="Of which model of the runs.")
@results_options
def power(
    *,
    study: Path,
    margin: float,
    power: float,
    model: str,
    results: Path | None,
    overrides: tuple[str, ...],
    allow_local: Allowing,
    block: tuple[str, ...],
    store: Path,
    as_json: bool,
) -> None:
    """Say how many seeds it takes to see a difference of a share of the reference's figure, by the seeds so far."""
    opened = _opened(study, overrides, block, allow_local)

    from lwa_core.store.results import Store
    from lwa_core.study.running import known_so_far
    from lwa_core.study.summary import seeds_by_cell

    frame = known_so_far(opened, _table(opened, results))
    told = seeds_by_cell(opened, frame, Store(store), model, margin, power)
    if as_json:
        print_json(told)
        return
    rows = [[cell, "not with any number of seeds" if count is None else str(count)] for cell, count in told.items()]
    print_table([f"against {opened.reference}", f"seeds to see {100 * margin:g} %"], rows)


def _opened(study: Path, overrides: tuple[str, ...], block: tuple[str, ...], allow_local: Allowing) -> Study:
    from lwa_core.study.document import load_study

    opened = load_study(study, overrides, block=block, allow_local=allow_local)
    tell_local(opened.registry)
    return opened


def _table(opened: Study, results: Path | None) -> StudyTable:
    from lwa_core.study.table import StudyTable

    return StudyTable(results or opened.file.parent / "results", opened.name)


def _show(summary: Mapping[str, Any], as_json: bool) -> None:
    if as_json:
        print_json(summary)
        return
    from lwa_core.study.report import answer, tables

    for table in tables(summary):
        show_table(table)
        echo()
    for sentence in answer(summary):
        echo(sentence)


def print_plan(opened: Study, store: Path, as_json: bool) -> None:
    """What `lwa study` would run: cells, what is there, how long the rest takes by the runs so far."""
    from lwa_core.store.results import Store
    from lwa_core.study.running import planned

    told = planned(opened, Store(store), _table(opened, None))
    if as_json:
        print_json(told)
        return
    rows: Sequence[Sequence[str]] = [
        [each["cell"], str(each["seed"]), each["state"], f"{each['stored']} of {each['stages']}"]
        for each in told["runs"]
    ]
    print_table(["cell", "seed", "state", "stages stored"], rows)
    echo(told["said"], err=True)
