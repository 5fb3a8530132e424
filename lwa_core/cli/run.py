"""`lwa run`: carry a recipe out, or go on with it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from lwa_core.cli._options import (
    example,
    json_option,
    open_recipe,
    recipe_argument,
    recipe_options,
    smoke_test_option,
    store_option,
    warn,
)
from lwa_core.cli._terminal import print_json, say

if TYPE_CHECKING:
    from lwa_core.plugins.trust import Allowing

EPILOG = """
  lwa run recipe.toml
  lwa run recipe.toml --set data.path=/data/ml-100k --set select.keep=2
  torchrun --nproc-per-node 2 -m lwa_core.cli run recipe.toml
"""


@click.command(epilog=example(EPILOG))
@recipe_argument
@recipe_options
@store_option
@smoke_test_option
@json_option
def command(
    *,
    recipe: Path,
    overrides: tuple[str, ...],
    block: tuple[str, ...],
    allow_local: Allowing,
    store: Path,
    smoke_test: bool,
    as_json: bool,
) -> None:
    """Run a recipe, or go on with it.

    First every component is tried on a few rows of the data. What the store has is not computed again. A run that was
    stopped, in whatever way, goes on when the same command is given again, and ends with the same metrics. Prints the
    table of results, and where the report lies.
    """
    opened = open_recipe(recipe, overrides, block, allow_local)

    from lwa_core.cli._progress import Progress
    from lwa_core.pipeline.run import run_recipe
    from lwa_core.report import write_report
    from lwa_core.results.as_json import to_json
    from lwa_core.results.reading import read_results
    from lwa_core.store.results import Store
    from lwa_core.training import processes

    with Progress() as progress:
        folder = run_recipe(opened, Store(store), [progress], smoke_test=smoke_test)
    if not processes.is_first():
        return
    written = write_report(folder, warn)
    results = read_results(folder)
    if as_json:
        print_json({"folder": str(folder), **to_json(results)})
    else:
        from lwa_core.cli._results import show_results

        show_results(results)
    for path in written:
        say(f"report: {path}", err=as_json)
