"""Any table of events: CSV, Parquet, Arrow or JSON, with the columns named by settings."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import attrs

from lwa_core import Source, setting
from lwa_core.data import UNITS
from lwa_plugins.datasets._tables import Columns, read_table, table_files


@attrs.frozen
class Table:
    """Reads a table by its suffix: CSV, TSV, Parquet, Arrow, Feather, JSON lines, a JSON list, or `{"user": [items]}`.

    Fields of a CSV may stand in double quotes; CSV and JSON may be gzipped (`.csv.gz`). Times are numbers since 1970,
    or dates and times. Without `timestamp` the rows are taken to be in order. A column of items may hold lists, oldest
    first. A folder stands for all Parquet files in it, and a pattern (`events/*.csv`) for all files that it matches, in
    the order of their names.
    """

    path: str = setting(
        help="the file: .csv, .tsv, .txt, .inter, .parquet, .arrow, .feather, .json, .jsonl or .ndjson; a folder of "
        ".parquet; or a pattern",
        path=True,
    )
    user: str = setting("user", help="column of the user ids")
    item: str = setting("item", help="column of the item ids")
    timestamp: str | None = setting(None, help="column of the timestamps; without it the order of the rows counts")
    rating: str | None = setting(None, help="column of the ratings")
    hour: str | None = setting(None, help="column of the time of day, where `timestamp` holds just the date")
    time_unit: str = setting(
        "auto",
        help="what numbers that are times count; auto: the largest of them says",
        choices=("auto", *UNITS),
    )
    time_format: str | None = setting(
        None, help='of times that are text, as strptime has it ("%d.%m.%Y"); found where left out'
    )
    separator: str | None = setting(
        None, help="what separates the fields of a CSV, one character; found in the header where left out"
    )

    def files(self) -> Sequence[Path]:
        return table_files(self.path)

    def read(self) -> Source:
        return read_table(self.files(), self.columns())

    def columns(self) -> Columns:
        """Which columns hold what."""
        return Columns(
            self.user,
            self.item,
            self.timestamp,
            self.rating,
            self.hour,
            self.time_unit,
            self.time_format,
            self.separator,
        )
