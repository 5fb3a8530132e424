"""Interactions from a polars or pandas frame."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from lwa_core.data.source import Source
from lwa_core.errors import DataError, NeedsError

if TYPE_CHECKING:
    import polars


def source_from_frame(
    frame: Any,
    user: str = "user",
    item: str = "item",
    timestamp: str | None = None,
    rating: str | None = None,
) -> Source:
    """A source of the events in a frame, one row each.

    Args:
        frame: A polars DataFrame or LazyFrame, or a pandas DataFrame.
        user: Name of the column with the user ids: text, whole numbers or categories.
        item: Name of the column with the item ids, likewise.
        timestamp: Name of the column that orders a user's events: seconds or milliseconds since 1970 (UTC), or date
            and time. Without it the rows are taken to be in order.
        rating: Name of the column with the ratings, for `filter.min_rating`.

    Raises:
        DataError: `frame` is no frame, or lacks a column, or a column holds something else.
    """
    columns = {"user": user, "item": item, "timestamp": timestamp, "rating": rating}
    named = {role: name for role, name in columns.items() if name is not None}
    lazy = _lazy(frame, named)
    schema = lazy.collect_schema()
    chosen = [_column(role, name, schema[name]).alias(role) for role, name in named.items()]
    return Source(lazy.select(chosen), order="file" if timestamp is None else "timestamp")


def _lazy(frame: Any, named: Mapping[str, str]) -> polars.LazyFrame:
    import polars as pl

    if isinstance(frame, (pl.DataFrame, pl.LazyFrame)):
        lazy = frame.lazy()
        _check_columns(lazy.collect_schema().names(), named)
        return lazy
    # Asking for the module's name does without importing pandas for those who do not use it.
    if type(frame).__module__.partition(".")[0] == "pandas" and hasattr(frame, "columns"):
        _check_columns(list(frame.columns), named)
        try:
            return pl.from_pandas(frame[list(dict.fromkeys(named.values()))]).lazy()
        except ImportError as error:
            raise NeedsError("pandas frames need pyarrow", "pip install 'lwa[pandas]'") from error
        except Exception as error:  # pyarrow has its own family of errors for columns of mixed types
            raise DataError(f"the pandas frame cannot be read: {error}") from error
    raise DataError(
        f"events must be a polars or pandas DataFrame, not {type(frame).__qualname__}",
        hint="polars.DataFrame({'user': [...], 'item': [...]}) makes one",
    )


def _check_columns(present: Sequence[Any], named: Mapping[str, str]) -> None:
    missing = [f"{name!r} ({role})" for role, name in named.items() if name not in present]
    if missing:
        hint = f"it has {', '.join(map(repr, present)) or 'none'}; say which is which with the arguments of that name"
        raise DataError(f"the frame has no column {' and no column '.join(missing)}", hint=hint)


def _column(role: str, name: str, dtype: polars.DataType) -> polars.Expr:
    import polars as pl

    column = pl.col(name)
    if role in ("user", "item"):
        if dtype.is_float():
            hint = f"pandas turns whole numbers with gaps into floats; frame[{name!r}].astype('Int64') mends it"
            raise DataError(f"column {name!r} ({role}) holds {dtype}; ids must be text or whole numbers", hint=hint)
        return column if dtype.is_integer() else column.cast(pl.String)
    if role == "timestamp" and isinstance(dtype, (pl.Date, pl.Datetime)):
        return column.dt.epoch("ms") / 1000
    if not dtype.is_numeric():
        raise DataError(f"column {name!r} ({role}) holds {dtype}, not numbers{' or dates' * (role == 'timestamp')}")
    return column
