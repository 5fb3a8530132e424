"""`lwa report`: write the report of a run again, or print its figures."""

from __future__ import annotations

from pathlib import Path

import click

from lwa_core.cli._options import example, json_option, print_json

EPILOG = """
  lwa report lwa-runs/runs/quickstart-1a2b3c4d
  lwa report lwa-runs/runs/quickstart-1a2b3c4d --json
"""


@click.command(epilog=example(EPILOG))
@click.argument("run", type=click.Path(path_type=Path))
@json_option
def command(*, run: Path, as_json: bool) -> None:
    """Write the report of a run again, and print its table of results."""
    from lwa_core.errors import StoreError
    from lwa_core.store.files import read_json

    if not (run / "metrics.json").is_file():
        raise StoreError(f"{run} is not the folder of a finished run", "`lwa run` prints the folder of its run")
    metrics = read_json(run / "metrics.json")
    measured = run / "performance.json"
    performance = read_json(measured) if measured.is_file() else None
    if as_json:
        print_json({"folder": str(run), "metrics": metrics, "performance": performance})
        return
    from rich.console import Console

    from lwa_core.report import write_report
    from lwa_core.report.terminal import result_tables

    for table in result_tables(metrics, performance):
        Console().print(table)
    for path in write_report(run):
        click.echo(f"report: {path}")
