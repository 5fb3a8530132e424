"""Interactions from frames: polars, pandas, Arrow, or a dict of columns."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from lwa_core.data.clock import check_form, check_unit, parse_times
from lwa_core.data.coding import IDS
from lwa_core.data.columns import usual_name
from lwa_core.data.engine import polars_faults
from lwa_core.data.frame_columns import read_column
from lwa_core.data.ids import KINDS, is_text, shown, takes_ids
from lwa_core.data.moments import AUTO
from lwa_core.data.source import Source
from lwa_core.errors import DataError, LwaError

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
    from polars import selectors  # `pl.col` would take a column called `*` or `^a.*$` for all of some pattern

    columns = {"user": user, "item": item, "timestamp": timestamp, "rating": rating}
    _check_names(columns)
    named = {role: name for role, name in columns.items() if name is not None}
    check_unit(time_unit)
    check_form(time_format)
    events = _lazy(frame, named)
    events = _unrolled(events.select(selectors.by_name(name).alias(role) for role, name in named.items()))
    schema = events.collect_schema()
    for role, name in named.items():
        _check_kind(role, name, schema[role])
    if schema.get("rating") == pl.Null:  # ratings that are all missing say no type
        events = events.with_columns(pl.col("rating").cast(pl.Float64))
    if timestamp is not None and schema["timestamp"] == pl.String:
        with polars_faults("the frame cannot be read"):
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
    empty = [pl.col(name).list.len() == 0 for name in lists if isinstance(schema[name], pl.List)]
    if empty:  # some versions of polars make a row of an empty list, others none
        events = events.filter(~pl.all_horizontal(empty).fill_null(False))
    return events.explode(lists)  # a list that is missing, or an item in it, is a row without an item: it is counted


def _check_names(named: Mapping[str, Any]) -> None:
    """A column's name is text: a number would be looked up as a place by some frames and as a name by others."""
    for role, name in named.items():
        if name is None and role not in IDS:
            continue
        if not isinstance(name, str):
            hint = "rename the column: frame.columns = [str(name) for name in frame.columns]"
            raise DataError(f"the name of the column of the {role} is to be text, not {shown(name)}", hint=hint)
        if not is_text(name):
            raise DataError(f"the name of the column of the {role}, {name!r}, holds half of a surrogate pair")


def _lazy(frame: Any, named: Mapping[str, str]) -> polars.LazyFrame:
    import polars as pl

    if isinstance(frame, Mapping):
        frame = _of_columns(frame, named)
    elif type(frame).__module__.partition(".")[0] == "pyarrow" and hasattr(frame, "column_names"):
        _check_columns(frame.column_names, named)
        frame = _of_each({name: frame.column(name) for name in named.values()}, named, "Arrow table")
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
    _check_columns(list(columns), named)
    return _of_each({name: columns[name] for name in named.values()}, named, "dict of columns")


def _of_pandas(frame: Any, named: Mapping[str, str]) -> polars.DataFrame:
    _check_columns(list(frame.columns), named)
    return _of_each({name: frame[name] for name in named.values()}, named, "pandas frame")


def _of_each(columns: Mapping[str, Any], named: Mapping[str, str], what: str) -> polars.DataFrame:
    import polars as pl

    ids = {named["user"], named["item"]}
    made = []
    for name, values in columns.items():
        column = _made(
            partial(read_column, name, values, ids=name in ids, lists=name == named["item"]), f"column {name!r}"
        )
        made.append(column)
    frame: polars.DataFrame = _made(lambda: pl.DataFrame(made), what)
    frame.columns = list(columns)  # which polars changes where one is empty
    return frame


def _made(make: Callable[[], Any], what: str) -> Any:
    """A polars frame or column. Libraries have families of errors of their own for columns of mixed types."""
    try:
        return make()
    except LwaError:
        raise
    except Exception as error:
        raise DataError(f"the {what} cannot be read: {' '.join(str(error).split())[:300]}") from error


def _check_columns(present: Sequence[Any], named: Mapping[str, str]) -> None:
    """Raise DataError where a column is missing, or two are of the same name."""
    twice = next((name for name in named.values() if list(present).count(name) > 1), None)
    if twice is not None:
        hint = f"it has {', '.join(map(repr, present))}"
        raise DataError(f"the frame has two columns of one name, {twice!r}", hint=hint)
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
    if role == "rating" and dtype == pl.Null:
        return
    if role == "timestamp" and (isinstance(dtype, (pl.Date, pl.Datetime)) or dtype == pl.String):
        return
    if not dtype.is_numeric():
        raise DataError(f"column {name!r} ({role}) holds {dtype}, not numbers{' or dates' * (role == 'timestamp')}")
