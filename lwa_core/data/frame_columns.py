"""One column of a pandas frame, an Arrow table or a dict, as polars holds it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lwa_core.data.clock import in_milliseconds
from lwa_core.data.ids import is_gap, is_text, spell_id
from lwa_core.errors import DataError, NeedsError

if TYPE_CHECKING:
    import polars

SIXTY_FOUR = range(-(2**63), 2**63)


def read_column(name: str, values: Any, *, ids: bool, lists: bool) -> polars.Series:
    """A column; ids of mixed kinds become the texts of their values.

    Args:
        name: Of the column.
        values: Of any library, or plain ones (rows,).
        ids: Whether it holds ids.
        lists: Whether it may hold lists of ids.

    Raises:
        DataError: A value is no id, or a time is out of reach.
        NeedsError: pyarrow is needed and not installed.
    """
    typed = _typed(name, values, ids)
    if typed is not None:
        return typed
    if isinstance(values, np.ma.MaskedArray):
        return read_column(name, values.data, ids=ids, lists=lists).set(_mask(values), None)
    listed = values.tolist() if hasattr(values, "tolist") else list(values)
    return _of_values(name, [None if is_gap(value) else value for value in listed], ids, lists)


def _typed(name: str, values: Any, ids: bool) -> polars.Series | None:
    """A column of a library that says its type; None where its values have to be looked at one by one."""
    import polars as pl

    library = type(values).__module__.partition(".")[0]
    if isinstance(values, pl.Series):
        return values.alias(name)
    if library == "pyarrow":
        return _from_arrow(name, values)
    if library == "pandas" and hasattr(values, "dtype"):
        if getattr(values.dtype, "categories", None) is not None:
            return _from_categories(name, values) if ids else None
        return _from_pandas(name, values) if values.dtype != object else None
    if isinstance(values, np.ndarray) and values.dtype != object and not isinstance(values, np.ma.MaskedArray):
        return pl.Series(name, _of_known_unit(name, values) if values.dtype.kind == "M" else values)
    return None


def _mask(values: Any) -> polars.Series:
    import polars as pl

    return pl.Series(np.ma.getmaskarray(values))


def _of_values(name: str, values: Sequence[Any], ids: bool, lists: bool) -> polars.Series:
    """A column of plain values, of which a missing one is None."""
    import polars as pl

    if not ids:
        return pl.Series(name, values, strict=False)
    present = [value for value in values if value is not None]
    if {*map(type, present)} == {int} and min(present) in SIXTY_FOUR and max(present) in SIXTY_FOUR:
        return pl.Series(name, values, dtype=pl.Int64)
    if {*map(type, present)} == {str} and all(map(is_text, present)):  # their blanks are left out, and counted, later
        return pl.Series(name, values, dtype=pl.String)
    if lists and present and all(isinstance(value, (list, tuple, np.ndarray)) for value in present):
        spelt = [None if own is None else [_spelt(name, row, one) for one in own] for row, own in enumerate(values)]
        return pl.Series(name, spelt, dtype=pl.List(pl.String))
    return pl.Series(name, [_spelt(name, row, value) for row, value in enumerate(values)], dtype=pl.String)


def _spelt(name: str, row: int, value: Any) -> str | None:
    if is_gap(value):
        return None
    try:
        return spell_id(value)
    except DataError as error:
        raise DataError(f"column {name!r}, row {row}: {error.message}", hint=error.hint) from error


def _of_known_unit(name: str, values: NDArray[np.datetime64]) -> NDArray[np.datetime64]:
    """Times in a unit that polars has: it has neither seconds nor years."""
    if np.datetime_data(values.dtype)[0] in ("D", "ms", "us", "ns"):
        return values
    times = in_milliseconds(values)
    if times is None:
        raise DataError(f"column {name!r} holds times that lie too far from 1970", hint="is its unit the right one?")
    return times


def _from_arrow(name: str, values: Any) -> polars.Series:
    import polars as pl
    import pyarrow as pa

    if getattr(values.type, "extension_name", "") == "arrow.uuid":
        return pl.Series(name, [_spelt(name, row, value) for row, value in enumerate(values.to_pylist())], pl.String)
    if pa.types.is_dictionary(values.type) and not pa.types.is_string(values.type.value_type):
        values = values.cast(values.type.value_type)  # polars would write its numbers as text
    return pl.Series(name, values)


def _from_categories(name: str, values: Any) -> polars.Series:
    """Categories of pandas, spelt by the rule of ids: not as polars writes numbers."""
    import polars as pl

    said = getattr(values, "cat", values)
    codes = np.asarray(said.codes)
    places, rows = np.unique(codes, return_index=True)
    spelt: list[str | None] = [None] * len(said.categories)
    for place, row in zip(places, rows, strict=True):
        if place >= 0:  # -1 is for what is missing; categories that no row has may be anything
            own = said.categories[place]
            spelt[place] = own if isinstance(own, str) and is_text(own) else _spelt(name, int(row), own)
    known = pl.Series(name, spelt, dtype=pl.String).cast(pl.Categorical)
    return known.gather(pl.Series(codes).cast(pl.Int64).replace(-1, None))


def _from_pandas(name: str, values: Any) -> polars.Series:
    import pandas as pd
    import polars as pl

    try:
        return pl.Series(name, pl.from_pandas(pd.Series(values)))
    except ImportError as error:
        raise NeedsError("pandas frames need pyarrow", "pip install 'lwa[pandas]'") from error
