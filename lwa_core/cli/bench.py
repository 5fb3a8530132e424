"""`lwa bench`: compare scorers and selectors on many models."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lwa_core.cli._options import block_option, example, json_option, local_option, store_option, tell_local
from lwa_core.cli._paths import FilePath
from lwa_core.cli._table import show_table
from lwa_core.cli._terminal import echo, print_json, say

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lwa_core.plugins.trust import Allowing

EPILOG = """
  lwa bench bench.toml --jobs 2
  lwa bench bench.toml --scorer gini
"""


@click.command(epilog=example(EPILOG))
@click.argument("bench", type=FilePath())
@click.option("--scorer", "scorers", multiple=True, metavar="NAME", help="Compare this scorer too; may be repeated.")
@click.option("--jobs", type=click.IntRange(1), default=1, show_default=True, help="Cells measured at a time.")
@click.option(
    "--results",
    type=FilePath(),
    default=None,
    help="Folder for the results, never overwritten.  [default: results beside the file]",
)
@local_option
@block_option
@store_option
@json_option
def command(
    *,
    bench: Path,
    scorers: tuple[str, ...],
    jobs: int,
    results: Path | None,
    allow_local: Allowing,
    block: tuple[str, ...],
    store: Path,
    as_json: bool,
) -> None:
    """Compare scorers and selectors over models, data sets and seeds.

    Trains each cell of the file, measures every subset of its layers on test examples, and says how far each scorer's
    and selector's choices are from the best and from chance. What the store has is not measured again.
    """
    from lwa_core.bench.document import load_bench

    opened = load_bench(bench, scorers, block=block, allow_local=allow_local)
    tell_local(opened.registry)

    from lwa_core.bench.running import run_bench, save
    from lwa_core.report.leaderboard import markdown
    from lwa_core.store.places import assert_writable
    from lwa_core.store.results import Store

    folder = results or bench.parent / "results"
    assert_writable(folder)
    result = run_bench(
        opened,
        Store(store),
        jobs=jobs,
        scorers=scorers,
        block=block,
        say=lambda line: say(line, err=True),
    )
    file = save(result, markdown(result), folder)
    if as_json:
        print_json(result)
    else:
        _print(result)
    say(f"results: {file}", err=as_json)


def _print(result: Mapping[str, Any]) -> None:
    from lwa_core.report.leaderboard import boards

    for board in boards(result):
        show_table(board)
        echo()
