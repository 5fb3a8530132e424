"""`lwa report`: write the report of a run again, or print its figures."""

from __future__ import annotations

from pathlib import Path

import click

from lwa_core.cli._options import example, json_option, warn
from lwa_core.cli._paths import FilePath
from lwa_core.cli._terminal import print_json, say

EPILOG = """
  lwa report lwa-runs/runs/quickstart-1a2b3c4d
  lwa report lwa-runs/runs/quickstart-1a2b3c4d --json
"""


@click.command(epilog=example(EPILOG))
@click.argument("run", type=FilePath())
@json_option
def command(*, run: Path, as_json: bool) -> None:
    """Write the report of a run again, and print its table of results."""
    from lwa_core.results.as_json import to_json
    from lwa_core.results.reading import read_results

    results = read_results(run)
    if as_json:
        print_json({"folder": str(run), **to_json(results)})
        return
    from lwa_core.cli._results import show_results
    from lwa_core.errors import StoreError
    from lwa_core.report import write_report

    try:
        written = write_report(run, warn)
        show_results(results)
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        # Every value is of its type, and yet they do not fit each other: names that are nowhere, lists of two lengths.
        said = f"the parts of {run / 'metrics.json'} do not fit together: {type(error).__name__}: {error}"
        raise StoreError(said, "run the recipe again; if nobody changed the file, please report this") from error
    for path in written:
        say(f"report: {path}")
