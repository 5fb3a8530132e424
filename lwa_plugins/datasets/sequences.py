"""Text files that hold just the order: `user item` a line, or `user item item …`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import attrs

from lwa_core import DataError, Source, setting
from lwa_core.data import gather_blocks, narrow
from lwa_plugins.datasets._blocks import FileBlock, blocks, existing_file, read_column
from lwa_plugins.datasets._items import (
    read_atomic_items,
    read_json_items,
    read_json_object,
    read_movies,
    unique_items,
)

if TYPE_CHECKING:
    import polars


@attrs.frozen
class Sequences:
    """Reads the text forms that SASRec and BERT4Rec (pairs) and S3-Rec (lists) use; the order of the file counts.

    Fields are separated by spaces or tabs. In the pair form every line is one event; in the list form every line is one
    user with all their items. `form = "auto"` takes a file for pairs where every line has two fields.
    """

    path: str = setting(help="the file with the events", path=True)
    form: str = setting("auto", help="what a line is: one event, or a user's items", choices=("auto", "pairs", "lists"))
    titles: str | None = setting(
        None, help="item file: .json ({id: {title: …}}), .item (RecBole), movies.dat, u.item or movies.csv", path=True
    )
    item_map: str | None = setting(
        None, help="`id other-id` a line, where the item file calls items by other ids", path=True
    )
    attributes: str | None = setting(None, help="JSON {id: [attribute, …]} that serves as categories", path=True)

    def files(self) -> Sequence[Path]:
        named = (self.path, self.titles, self.item_map, self.attributes)
        return tuple(existing_file(path) for path in named if path is not None)

    def read(self) -> Source:
        self.files()
        items, dropped = self._items()
        return Source(self._events().lazy(), items, "file", dropped)

    def _events(self) -> polars.DataFrame:
        owners, events, pairs = [], [], True
        for block in blocks(Path(self.path)):
            fields = _fields(block)
            pairs &= bool((fields["fields"].list.len() == 2).all())
            if self.form == "pairs" and not pairs:
                raise _unlike_pairs(block, fields)
            lines = _lines_to_users(block, fields)
            owners.append(narrow(lines.select("line", "user")))
            events.append(narrow(lines.select("user", item="items").explode("item")))
        if not any(frame.height for frame in events):
            raise DataError("holds no data, only blank lines", file=self.path)
        if self.form == "lists" or not pairs:
            self._check_lists(gather_blocks(owners))
        return gather_blocks(events)

    def _check_lists(self, lines: polars.DataFrame) -> None:
        import polars as pl

        again = lines.filter(~pl.col("user").is_first_distinct())
        if again.height:
            user, line = again.select("user", "line").row(0)
            hint = 'form = "pairs" reads `user item` lines, and names the line that is none'
            message = f"user {user!r} has a second line, where each line should hold all items of a user"
            raise DataError(message, file=self.path, line=line, hint=hint)

    def _items(self) -> tuple[polars.DataFrame | None, dict[str, int]]:
        import polars as pl

        table: polars.DataFrame | None = None
        dropped: dict[str, int] = {}
        if self.titles is not None:
            table, dropped = unique_items(_read_titles(Path(self.titles)))
            if self.item_map is not None:
                ids = _read_map(Path(self.item_map))
                table = ids.join(table.rename({"item": "other"}), on="other", how="inner", maintain_order="left")
                table = table.drop("other")
        elif self.item_map is not None:
            raise DataError("item_map is of no use without titles", hint="name the item file with titles")
        if self.attributes is not None:
            attributes = _read_attributes(Path(self.attributes))
            if table is None:
                table = attributes
            else:
                table = table.drop("categories", strict=False).join(attributes, on="item", how="full", coalesce=True)
        return table if table is None else table.with_columns(pl.col("item").cast(pl.String)), dropped


def _fields(block: FileBlock) -> polars.DataFrame:
    """Line number and fields of every line that is not blank."""
    import polars as pl

    data = block.data.replace(b"\t", b" ")
    while b"  " in data:
        data = data.replace(b"  ", b" ")
    column = read_column(attrs.evolve(block, data=data)).str.strip_chars(" ")
    frame = pl.DataFrame({"line": pl.int_range(block.line, block.line + len(column), eager=True), "text": column})
    return frame.filter(pl.col("text").is_not_null() & (pl.col("text") != "")).select(
        "line", fields=pl.col("text").str.split(" ")
    )


def _lines_to_users(block: FileBlock, fields: polars.DataFrame) -> polars.DataFrame:
    import polars as pl

    short = fields.filter(pl.col("fields").list.len() < 2)
    if short.height:
        line, (user,) = short.row(0)
        raise block.fault(line, f"just one field, {user!r}", hint="a line holds a user and at least one item")
    return fields.select("line", user=pl.col("fields").list.first(), items=pl.col("fields").list.slice(1))


def _unlike_pairs(block: FileBlock, fields: polars.DataFrame) -> DataError:
    import polars as pl

    line, found = fields.filter(pl.col("fields").list.len() != 2).row(0)
    return block.fault(line, f"{len(found)} fields, where `user item` are expected", hint='form = "lists" takes more')


def _read_titles(path: Path) -> polars.DataFrame:
    if path.suffix == ".json":
        return read_json_items(path)
    if path.suffix == ".item" and path.name != "u.item":
        return read_atomic_items(path)
    if path.name in ("u.item", "movies.dat", "movies.csv"):
        return read_movies(path)
    hint = "titles come from a .json file, a RecBole .item file, movies.dat, u.item or movies.csv"
    raise DataError("is not a file of titles by its name", file=path, hint=hint)


def _read_map(path: Path) -> polars.DataFrame:
    """Columns `item` and `other`."""
    import polars as pl

    frames = []
    for block in blocks(path):
        fields = _fields(block)
        if not bool((fields["fields"].list.len() == 2).all()):
            raise _unlike_pairs(block, fields)
        frames.append(fields.select("line", item=pl.col("fields").list.first(), other=pl.col("fields").list.last()))
    ids = pl.concat(frames)
    again = ids.filter(~pl.col("item").is_first_distinct())
    if again.height:
        raise DataError(f"item {again['item'][0]!r} is mapped twice", file=path, line=again["line"][0])
    return ids.drop("line")


def _read_attributes(path: Path) -> polars.DataFrame:
    import polars as pl

    rows = []
    for item, values in read_json_object(path).items():
        if not isinstance(values, list):
            raise DataError(f"item {item!r} does not hold a list", file=path, hint='the form is {"id": [1, 2]}')
        rows.append((item, [str(value) for value in values]))
    return pl.DataFrame(rows, schema={"item": pl.String, "categories": pl.List(pl.String)}, orient="row")
