"""Amazon reviews as published: one JSON object a line, plain or gzip."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import attrs

from lwa_core import DataError, Source, setting
from lwa_plugins.datasets._blocks import existing_file
from lwa_plugins.datasets._items import unique_items
from lwa_plugins.datasets._json_lines import first_record, read_json_events, read_json_lines

if TYPE_CHECKING:
    import polars

# Each canonical column with the names that the releases give it. Where a record has two, the first counts: since 2023
# `asin` is one variant of a product, and `parent_asin` the product.
REVIEW = {
    "user": ("user_id", "reviewerID"),
    "item": ("parent_asin", "asin"),
    "rating": ("rating", "overall"),
    "timestamp": ("timestamp", "unixReviewTime"),
}
METADATA = {"item": ("parent_asin", "asin"), "title": ("title",), "categories": ("categories", "category")}


@attrs.frozen
class Reviews:
    """Reads the reviews of 2014, 2018 and 2023, whose field names it finds in the first line.

    The timestamps of 2023 count milliseconds, and are recognised by their size. Files of 2014 that hold Python dicts
    (single quotes) must be converted to JSON first.
    """

    path: str = setting(help="the reviews, .json, .jsonl or either with .gz", path=True)
    metadata: str | None = setting(None, help="the items' metadata in the same form: titles and categories", path=True)

    def files(self) -> Sequence[Path]:
        return tuple(existing_file(path) for path in (self.path, self.metadata) if path is not None)

    def read(self) -> Source:
        reviews, *metadata = self.files()
        events = read_json_events(reviews, _fields(reviews, REVIEW, required=tuple(REVIEW)))
        items, dropped = _items(metadata[0]) if metadata else (None, {})
        return Source(events.lazy(), items, "timestamp", dropped)


def _items(path: Path) -> tuple[polars.DataFrame, dict[str, int]]:
    import polars as pl

    table, dropped = unique_items(read_json_lines(path, _fields(path, METADATA, required=("item",))))
    if "categories" in table.columns:
        distinct = pl.col("categories").list.unique(maintain_order=True)
        table = table.with_columns(distinct.list.eval(pl.element().filter(pl.element() != "")))
    return table, dropped


def _fields(path: Path, names: Mapping[str, Sequence[str]], required: Sequence[str]) -> dict[str, str]:
    """Canonical column -> field of this file, as its first line has them."""
    line, record = first_record(path)
    found = {column: next((name for name in known if name in record), None) for column, known in names.items()}
    missing = [" or ".join(map(repr, names[column])) for column in required if found[column] is None]
    if missing:
        message = f"has no field {' and no field '.join(missing)}, just {', '.join(record)}"
        raise DataError(message, file=path, line=line, hint="the dataset `table` reads JSON lines with other names")
    return {column: name for column, name in found.items() if name is not None}
