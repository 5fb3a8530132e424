"""Interactions from frames: polars, pandas, Arrow, or a dict of columns."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from lwa_core.data.clock import check_unit, parse_times
from lwa_core.data.columns import usual_name
from lwa_core.data.ids import KINDS, spell_id, takes_ids
from lwa_core.data.moments import AUTO
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
    time_unit: str = AUTO,
    time_format: str | None = None,
) -> Source:
    """A source of the events in a frame, one row each.

    Args:
        frame: A polars DataFrame or LazyFrame, a pandas DataFrame, an Arrow table, or columns by their names.
        user: Name of the column with the user ids: text, whole numbers or categories.
        item: Name of the column with the item ids, likewise.
        timestamp: Name of the column that orders a user's events: numbers since 1970 (UTC), dates and times, or text
            that says one of these. Without it the rows are taken to be in order.
        rating: Name of the column with the ratings, for `filter.min_rating`.
        time_unit: What the numbers count: `"s"`, `"ms"`, `"us"`, `"ns"`; `"auto"`: the largest of all says.
        time_format: Of times that are text, as `strptime` has it, for example `"%d.%m.%Y"`; found where left out.

    Raises:
        DataError: `frame` is no frame, or lacks a column, or a column holds something else.
    """
    import polars as pl

    columns = {"user": user, "item": item, "timestamp": timestamp, "rating": rating}
    named = {role: name for role, name in columns.items() if name is not None}
    _check_names(named)
    check_unit(time_unit)
    events = _unrolled(_lazy(frame, named).select(pl.col(name).alias(role) for role, name in named.items()))
    schema = events.collect_schema()
    for role, name in named.items():
        _check_kind(role, name, schema[role])
    if timestamp is not None and schema["timestamp"] == pl.String:
        held = events.collect()
        events = held.with_columns(parse_times(held["timestamp"], time_format)).lazy()
    return Source(events, order="file" if timestamp is None else "timestamp", time_unit=time_unit)


def _unrolled(events: polars.LazyFrame) -> polars.LazyFrame:
    """One row for each item where a row holds a list of them, and maybe of times and ratings, oldest first."""
    import polars as pl

    schema = events.collect_schema()
    if not isinstance(schema["item"], (pl.List, pl.Array)):
        return events
    lists = [name for name, kind in schema.items() if isinstance(kind, (pl.List, pl.Array)) and name != "user"]
    return events.explode(lists).filter(pl.col("item").is_not_null())


def _check_names(named: Mapping[str, Any]) -> None:
    """A column's name is text: a number would be looked up as a place by some frames and as a name by others."""
    for role, name in named.items():
        if not isinstance(name, str):
            hint = "rename the column: frame.columns = [str(name) for name in frame.columns]"
            raise DataError(f"the name of the column of the {role} is to be text, not {name!r}", hint=hint)


def _lazy(frame: Any, named: Mapping[str, str]) -> polars.LazyFrame:
    import polars as pl

    if isinstance(frame, Mapping):
        frame = _of_columns(frame, named)
    elif type(frame).__module__.partition(".")[0] == "pyarrow" and hasattr(frame, "column_names"):
        _check_columns(frame.column_names, named)
        frame = _made(lambda: pl.from_arrow(frame.select(list(dict.fromkeys(named.values())))), "Arrow table")
    if isinstance(frame, (pl.DataFrame, pl.LazyFrame)):
        lazy = frame.lazy()
        _check_columns(lazy.collect_schema().names(), named)
        return lazy
    # Asking for the module's name does without importing pandas for those who do not use it.
    if type(frame).__module__.partition(".")[0] == "pandas" and hasattr(frame, "columns"):
        return _of_pandas(frame, named).lazy()
    raise DataError(
        f"events must be a polars or pandas DataFrame, an Arrow table or a dict of columns, not "
        f"{type(frame).__qualname__}",
        hint="polars.DataFrame({'user': [...], 'item': [...]}) makes one",
    )


def _of_columns(columns: Mapping[Any, Any], named: Mapping[str, str]) -> polars.DataFrame:
    import polars as pl

    _check_columns(list(columns), named)
    chosen = {name: columns[name] for name in dict.fromkeys(named.values())}
    ids = {named["user"], named["item"]}
    return _made(lambda: pl.DataFrame([_series(name, v, name in ids) for name, v in chosen.items()]), "dict of columns")


def _of_pandas(frame: Any, named: Mapping[str, str]) -> polars.DataFrame:
    import polars as pl

    _check_columns(list(frame.columns), named)
    chosen = frame[list(dict.fromkeys(named.values()))]
    if len(chosen.columns) != len(set(named.values())):
        raise DataError("the frame has two columns of one name", hint=f"it has {', '.join(map(repr, frame.columns))}")
    for role in ("user", "item"):
        if chosen[named[role]].dtype == object:  # of values of any kind: each is spelt by the rule of ids
            spelt = _series(named[role], chosen[named[role]].tolist(), ids=True)
            chosen = chosen.assign(**{named[role]: spelt.to_numpy()})
    try:
        return _made(lambda: pl.from_pandas(chosen), "pandas frame")
    except ImportError as error:
        raise NeedsError("pandas frames need pyarrow", "pip install 'lwa[pandas]'") from error


def _series(name: str, values: Any, ids: bool) -> polars.Series:
    """A column; ids of mixed kinds become the texts of their values."""
    import polars as pl

    if isinstance(values, pl.Series):
        return values.alias(name)
    if isinstance(values, np.ndarray) and values.dtype != object:
        return pl.Series(name, values)
    values = values.tolist() if hasattr(values, "tolist") else list(values)
    if not ids:
        return pl.Series(name, values, strict=False)
    kinds = {type(value) for value in values if value is not None}
    if len(kinds) == 1 and kinds <= {str, int}:
        return pl.Series(name, values)
    missing = [_is_gap(value) for value in values]
    spelt = [None if gap else spell_id(value) for value, gap in zip(values, missing, strict=True)]
    return pl.Series(name, spelt, dtype=pl.String)


def _is_gap(value: Any) -> bool:
    """None, NaN, or what pandas writes for a missing value."""
    gap = value is None or type(value).__name__ in ("NAType", "NaTType")
    return gap or (isinstance(value, (float, np.floating)) and bool(np.isnan(value)))


def _made(make: Callable[[], Any], what: str) -> polars.DataFrame:
    """A polars frame. Libraries have families of errors of their own for columns of mixed types."""
    try:
        return cast("polars.DataFrame", make())
    except (ImportError, DataError):
        raise
    except Exception as error:
        raise DataError(f"the {what} cannot be read: {error}") from error


def _check_columns(present: Sequence[Any], named: Mapping[str, str]) -> None:
    missing = [(role, name) for role, name in named.items() if name not in present]
    if not missing:
        return
    listed = " and no column ".join(f"{name!r} ({role})" for role, name in missing)
    said = [f"{role}={near!r}" for role, _ in missing if (near := usual_name(role, present)) is not None]
    hint = f"it has {', '.join(map(repr, present)) or 'none'}; "
    hint += f"try {', '.join(said)}" if said else "say which is which with the arguments of that name"
    raise DataError(f"the frame has no column {listed}", hint=hint)


def _check_kind(role: str, name: str, dtype: polars.DataType) -> None:
    """Raise DataError where a column is of a type that its role cannot have."""
    import polars as pl

    if role in ("user", "item"):
        if not takes_ids(dtype):
            raise DataError(f"column {name!r} ({role}) holds {dtype}; {KINDS}")
        return
    if role == "timestamp" and (isinstance(dtype, (pl.Date, pl.Datetime)) or dtype == pl.String):
        return
    if not dtype.is_numeric():
        raise DataError(f"column {name!r} ({role}) holds {dtype}, not numbers{' or dates' * (role == 'timestamp')}")
