"""Tables: drawn by rich on a terminal, plain aligned columns elsewhere, so that nothing is cut in a pipe."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import click


def print_table(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print rows of text under their headers, on stdout."""
    if not sys.stdout.isatty():
        widths = [max(len(row[place]) for row in [headers, *rows]) for place in range(len(headers))]
        for row in [headers, *rows]:
            click.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    for header in headers:
        table.add_column(header, overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    Console().print(table)
