"""The one printer of tables: drawn by rich on a terminal, plain aligned columns elsewhere, so that nothing is cut."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from lwa_core.cli._terminal import echo
from lwa_core.printable import one_line

if TYPE_CHECKING:
    import rich.table

    from lwa_core.report.tables import Table


def print_table(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print rows of text under their headers, on stdout."""
    _print(headers, rows, figures=False, groups=())


def show_table(table: Table) -> None:
    """Print a table of the report with its title and its note; models of different kinds stand apart."""
    if table.title:
        echo(f"{table.title}\n")
    _print(table.columns, table.rows, figures=not table.text, groups=table.kinds)
    if table.note:
        echo(f"\n{table.note}")


def _print(headers: Sequence[str], rows: Sequence[Sequence[str]], *, figures: bool, groups: Sequence[str]) -> None:
    headers, rows = [one_line(head) for head in headers], [[one_line(cell) for cell in row] for row in rows]
    if not sys.stdout.isatty():
        for line in plain_lines(headers, rows, figures=figures, groups=groups):
            echo(line)
        return
    from rich.console import Console

    Console().print(rich_table(headers, rows, figures=figures, groups=groups))


def plain_lines(
    headers: Sequence[str], rows: Sequence[Sequence[str]], *, figures: bool = False, groups: Sequence[str] = ()
) -> Iterator[str]:
    """Aligned columns; figures to the right."""
    widths = [max(len(row[place]) for row in [headers, *rows]) for place in range(len(headers))]
    for number, row in enumerate([headers, *rows]):
        if number > 1 and groups and groups[number - 1] != groups[number - 2]:
            yield ""
        cells = [
            cell.rjust(width) if figures and place else cell.ljust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        yield "  ".join(cells).rstrip()


def rich_table(
    headers: Sequence[str], rows: Sequence[Sequence[str]], *, figures: bool = False, groups: Sequence[str] = ()
) -> rich.table.Table:
    """The same for a terminal: text is folded where it is too narrow, figures are not."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    lines = box.SIMPLE_HEAD if groups else None
    table = Table(box=lines, pad_edge=False, padding=(0, 1, 0, 0), header_style="bold")
    for place, header in enumerate(headers):
        right = figures and place > 0
        table.add_column(Text(header), overflow="fold", justify="right" if right else "left", no_wrap=right)
    for number, row in enumerate(rows, start=1):
        last = bool(groups) and groups[number - 1 : number] != groups[number : number + 1]
        table.add_row(*(Text(cell) for cell in row), end_section=last)  # Text, not markup: names may hold brackets
    return table
