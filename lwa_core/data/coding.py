"""Ids as numbers: few bytes a row, whatever the ids are."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np

from lwa_core.data.arrays import Int32
from lwa_core.data.grouping import slices

if TYPE_CHECKING:
    import polars

IDS = ("user", "item")
WIDEST = 1 << 24
"""Whole-number ids that span less than this (or four times the rows) are numbered by a table of that length."""


def gather_blocks(blocks: Iterable[polars.DataFrame]) -> polars.DataFrame:
    """Blocks of events as one frame of few bytes a row: so a file that is larger than memory can be read.

    Ids of `user` and `item` that are text become categories, each text being held once; numbers take the smallest type
    that changes no value.

    Args:
        blocks: Frames of the same columns, in the order of the file; at least one.
    """
    import polars as pl

    frames = [narrow(block) for block in blocks]
    # A block of blank lines says nothing about the types.
    frames = [frame for frame in frames if frame.height] or frames[:1]
    for name in {*IDS} & {*frames[0].columns}:
        if any(frame.schema[name] == pl.Categorical for frame in frames):
            frames = [frame.with_columns(as_categories(frame[name])) for frame in frames]
    return pl.concat(frames, how="vertical_relaxed")


def narrow(frame: polars.DataFrame) -> polars.DataFrame:
    """Text ids as categories, and numbers in the smallest type that changes no value."""
    import polars as pl

    return frame.with_columns(
        as_categories(column) if column.name in IDS and column.dtype == pl.String else _narrow_number(column)
        for column in frame.iter_columns()
    )


def as_categories(ids: polars.Series) -> polars.Series:
    """Text or whole numbers as categories, some rows at a time: never the texts of all rows at once."""
    import polars as pl

    if ids.dtype == pl.Categorical or not len(ids):
        return ids.cast(pl.Categorical)
    parts = (ids[rows] for rows in slices(len(ids)))
    return pl.concat([part.cast(pl.String).cast(pl.Categorical) for part in parts])


def number_ids(ids: polars.Series) -> tuple[Int32, polars.Series]:
    """Number the ids of all rows.

    Args:
        ids: Whole numbers, categories, or text (rows,).

    Returns:
        The place of each row's id among the distinct ones, -1 for null (rows,), and those as text, in no set order.
    """
    import polars as pl

    if not _numerable(ids):
        ids = as_categories(ids)
    elif ids.dtype in (pl.Int128, pl.UInt128):  # numpy has none, and their values fit here
        ids = ids.cast(pl.Int64)
    numbers = ids.to_physical()
    codes = np.full(len(ids), -1, dtype=np.int32)
    if ids.null_count() == len(ids):
        return codes, pl.Series(dtype=pl.String)
    low, high = int(numbers.min()), int(numbers.max())  # type: ignore[arg-type]
    seen = np.zeros(high - low + 1, dtype=np.bool_)
    for rows in slices(len(ids)):
        part = numbers[rows]
        known = part.is_not_null().to_numpy()
        codes[rows][known] = part.drop_nulls().to_numpy().astype(np.int64) - low
        seen[codes[rows][known]] = True
    places = np.append(np.cumsum(seen, dtype=np.int32) - 1, -1)  # the last one is for null, which is -1
    for rows in slices(len(ids)):
        codes[rows] = places[codes[rows]]
    if ids.dtype.is_integer():
        return codes, pl.Series(np.flatnonzero(seen) + low).cast(pl.String)
    distinct = ids.unique().drop_nulls()
    return codes, distinct.cast(pl.String)[np.argsort(distinct.to_physical().to_numpy())]


def _numerable(ids: polars.Series) -> bool:
    import polars as pl

    if isinstance(ids.dtype, (pl.Categorical, pl.Enum)) or ids.null_count() == len(ids):
        return True
    if not ids.dtype.is_integer():
        return False
    low, high = int(ids.min()), int(ids.max())  # type: ignore[arg-type]
    return low >= -(2**63) and high < 2**63 and high - low < max(WIDEST, 4 * len(ids))


def _narrow_number(column: polars.Series) -> polars.Series:
    import polars as pl

    smaller: tuple[type[pl.DataType], ...] = ()
    if column.dtype in (pl.Int64, pl.Float64):
        # Ids stay in 64 bits where they are no integers of 32: what a float tells apart depends on its size.
        smaller = (pl.Int32,) if column.dtype == pl.Int64 or column.name in IDS else (pl.Int32, pl.Float32)
    for dtype in smaller:
        cast = column.cast(dtype, strict=False)
        if cast.null_count() == column.null_count() and bool((cast.cast(column.dtype) == column).all()):
            return cast
    return column
