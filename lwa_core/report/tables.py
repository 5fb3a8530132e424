"""A table of text, whoever shows it: the page, Markdown, the terminal."""

from __future__ import annotations

import re
from collections.abc import Sequence

import attrs

from lwa_core.printable import printable

MARKDOWN_SPECIAL = re.compile(r"([\\`*_|<>&\[\]#~])")


@attrs.frozen
class Table:
    """Column titles and rows of cells. The first column is text, the others are figures unless `text` says so.

    Args:
        columns: Their titles.
        rows: Their cells.
        text: Whether no column holds figures.
        kinds: Of what kind the model of each row is, where rows are models.
        title: Above it.
        note: Below it.
    """

    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    text: bool = False
    kinds: Sequence[str] = ()
    title: str = ""
    note: str = ""


def escaped(text: str) -> str:
    """Text on one line in which nothing is read as Markdown or HTML."""
    return MARKDOWN_SPECIAL.sub(r"\\\1", " ".join(printable(text).split()))


def markdown_table(table: Table) -> str:
    """The columns and rows as Markdown; the title and the note are left to what is around."""
    aligned = "---" if table.text else "---:"
    lines = [[escaped(column) for column in table.columns], ["---", *[aligned] * (len(table.columns) - 1)]]
    rows = [[escaped(cell) for cell in row] for row in table.rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in [*lines, *rows])
