"""Data that others have split: one file for each part, used as it is."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import attrs

from lwa_core import DataError, Source, setting
from lwa_core.data import UNITS, gather_blocks
from lwa_plugins.datasets._items import read_typed_header
from lwa_plugins.datasets._reading import Layout, read_delimited
from lwa_plugins.datasets._tables import Columns, read_table, table_files

if TYPE_CHECKING:
    import polars

LISTS = "item_id_list"
"""What RecBole calls the column of the items before the target, in files that it has made for sequences."""


@attrs.frozen
class ReadyMadeSplit:
    """Reads events from a file for each part, of any format that `table` reads; no part is split anew.

    What a user has in a part comes after all of the part before. A user's example in a part is their first event
    there. RecBole's files for sequences (`item_id_list`) are read as the sequences that they were cut from.
    """

    train: str = setting(help="the events that are trained on, in any form that `table` reads", path=True)
    validation: str = setting(help="the events that stop training and choose layers", path=True)
    test: str = setting(help="the events that are looked at once, in the end", path=True)
    user: str = setting("user", help="column of the user ids; `user_id` in .inter files")
    item: str = setting("item", help="column of the item ids; `item_id` in .inter files")
    timestamp: str | None = setting(None, help="column of the timestamps; without it the order of the rows counts")
    rating: str | None = setting(None, help="column of the ratings")
    time_unit: str = setting("auto", help="what numbers that are times count", choices=("auto", *UNITS))
    time_format: str | None = setting(None, help="of times that are text, as strptime has it; found where left out")

    def files(self) -> Sequence[Path]:
        return [file for path in (self.train, self.validation, self.test) for file in table_files(path)]

    def read(self) -> Source:
        import polars as pl

        sources = {part: self._part(part) for part in ("train", "validation", "test")}
        frames = [
            source.events.with_columns(pl.lit(part).cast(pl.Categorical).alias("part")).collect()
            for part, source in sources.items()
        ]
        if len({frozenset(frame.columns) for frame in frames}) > 1:
            raise DataError("the parts have different columns", file=self.train)
        columns = frames[0].columns
        events = gather_blocks(frame.select(columns) for frame in frames)
        notes = tuple(dict.fromkeys(note for source in sources.values() for note in source.notes))
        order = "timestamp" if "timestamp" in columns else "file"
        return Source(events.lazy(), order=order, notes=notes, time_unit=self.time_unit)

    def _part(self, part: str) -> Source:
        files = table_files(getattr(self, part))
        atomic = files[0].suffix == ".inter"
        user, item = (f"{name}_id" if atomic and name in ("user", "item") else name for name in (self.user, self.item))
        if atomic and LISTS in read_typed_header(files[0])[1]:
            return Source(_sequences(files[0], part == "train", user, item).lazy(), order="file")
        times = {"time_unit": self.time_unit, "time_format": self.time_format}
        return read_table(files, Columns(user, item, self.timestamp, self.rating, **times))  # type: ignore[arg-type]


def _sequences(path: Path, train: bool, user: str, item: str) -> polars.DataFrame:
    """Events of a file of histories and targets: of `train` each user's longest sequence, else just the targets."""
    import polars as pl

    line, fields = read_typed_header(path)
    missing = [name for name in (user, item) if name not in fields]
    if missing:
        raise DataError(f"has no column {missing[0]!r}, just {', '.join(fields)}", file=path, line=line)
    keep = {"user": user, "item": item, "before": LISTS}
    rows = read_delimited(path, Layout(fields, keep, "\t", skip=line))
    if not train:
        return rows.select("user", "item")
    whole = rows.with_columns(pl.concat_list(pl.col("before").fill_null("").str.split(" "), "item").alias("items"))
    longest = whole.sort(pl.col("items").list.len(), descending=True, maintain_order=True).unique(
        "user", keep="first", maintain_order=True
    )
    return longest.select("user", item="items").explode("item").filter(pl.col("item") != "")
