"""Times of events as numbers, or as dates and times, each fault with the line where the time stands."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lwa_core import DataError
from lwa_core.data import NoTimeError, check_calendar, parse_times

if TYPE_CHECKING:
    import polars


def with_times(events: polars.DataFrame, time_format: str | None, time_unit: str) -> polars.DataFrame:
    """Events whose times may be text, and maybe an `hour` beside it, with times of the calendar.

    Raises:
        NoTimeError: One is no time, or lies outside the years 1 to 9999.
        DataError: Their form cannot be told.
    """
    import polars as pl

    if "timestamp" not in events.columns:
        return events
    if "hour" in events.columns:
        both = pl.concat_str("timestamp", "hour", separator=" ")
        events = events.with_columns(both.alias("timestamp")).drop("hour")
    if events.schema["timestamp"] == pl.String:
        events = events.with_columns(parse_times(events["timestamp"], time_format))
    check_calendar(events["timestamp"], time_unit)
    return events


@contextmanager
def placed(path: Path, line_of: Callable[[Callable[[Any], bool]], int | None]) -> Iterator[None]:
    """Name the file, and the line of the time at fault, in what `with_times` raises.

    Args:
        path: The file.
        line_of: The first line whose time is the one that a function says it is.
    """
    try:
        yield
    except NoTimeError as error:
        value = error.value
        raise DataError(
            error.message, file=path, line=line_of(lambda found: _is(found, value)), hint=error.hint
        ) from error
    except DataError as error:
        raise DataError(error.message, file=path, hint=error.hint) from error


def _is(found: Any, value: str | float) -> bool:
    """Whether a field holds this time, which may be followed by an hour of another field."""
    if isinstance(value, str):
        return isinstance(found, str) and bool(found.strip()) and value.startswith(found.strip())
    try:
        return float(found) == value
    except (TypeError, ValueError, OverflowError):
        return False
