"""Times as people write them -> milliseconds since 1970 UTC: one unit for a whole column or request, and said.

A number alone does not say what it counts. Where no unit is named, the largest number of all decides, so that a clock
that passes a round number does not change its unit on the way; numbers of two units in one column are refused.
"""

from __future__ import annotations

import difflib
import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lwa_core.data.arrays import Int64
from lwa_core.data.grouping import slices
from lwa_core.data.ids import is_text, shown
from lwa_core.data.moments import AUTO, UNITS, of_date
from lwa_core.errors import DataError

if TYPE_CHECKING:
    import polars

LARGEST = {"s": 1e11, "ms": 1e14, "us": 1e17}
"""Numbers up to here are taken to be of this unit: each would lie in the year 5138, which no data has reached."""

TWO_UNITS = 500
"""A column whose largest number is this many times another one..."""
SINCE_1973 = 1e-3
"""... which is above this share of what the smaller unit may hold, holds numbers of two units."""

MILLISECONDS = {"s": 1e3, "ms": 1.0, "us": 1e-3, "ns": 1e-6}
"""How many of them each unit is."""

FIRST_YEAR, LAST_YEAR = -62_135_596_800_000, 253_402_300_799_999
"""The years 1 to 9999, in milliseconds since 1970."""

DATES = {
    "%Y-%m-%d": "year first",
    "%Y/%m/%d": "year first",
    "%d.%m.%Y": "day first",
    "%d/%m/%Y": "day first",
    "%d-%m-%Y": "day first",
    "%m/%d/%Y": "month first",
    "%m-%d-%Y": "month first",
}
HOURS = ("", " %H:%M:%S%.f", "T%H:%M:%S%.f", " %H:%M", "T%H:%M", " %I:%M:%S %p", " %I:%M %p")
ZONES = ("", "Z", "%z", " %z", " UTC")

NO_TIME = "times are numbers since 1970, ISO 8601, or as time_format says"

MOST = 1e30
"""No unit counts a time of the calendar by a larger number."""

Numbers = NDArray[np.float64] | Int64


class NoTimeError(DataError):
    """A text or number is no time; `value` is what it is, so that a reader of files can say where it stands."""

    def __init__(self, message: str, hint: str, value: str | float) -> None:
        super().__init__(message, hint=hint)
        self.value = value


def check_unit(unit: Any) -> None:
    """Raise DataError where `unit` is neither one of `UNITS` nor `"auto"`."""
    known = [AUTO, *UNITS]
    if unit not in known:
        near = difflib.get_close_matches(unit if isinstance(unit, str) else "", [*known, *UNITS.values()], 1)
        wanted = next((short for short, name in UNITS.items() if near == [name]), near[0] if near else None)
        hint = f"did you mean {wanted!r}?" if wanted else f"there are: {', '.join(map(repr, known))}"
        raise DataError(f"there is no unit of time {shown(unit)}", hint=hint)


def check_form(form: Any) -> None:
    """Raise DataError where `form` is neither None nor a text, as `strptime` takes it."""
    if form is not None and not (isinstance(form, str) and form and is_text(form)):
        raise DataError(f"time_format is text, not {shown(form)}", hint='for example "%d.%m.%Y"')


def unit_of(values: Numbers) -> str:
    """The unit that numbers since 1970 are in, by the largest of them.

    Args:
        values: Of a whole column (rows,), finite.

    Raises:
        DataError: They are of two units.
    """
    if not len(values):
        return "s"
    largest = max(float(values.max()), -float(values.min()))
    unit, names = _unit_by(largest), list(UNITS)
    if unit == "s":
        return unit
    smaller = names[names.index(unit) - 1]
    for rows in slices(len(values)):
        part = values[rows]
        low = (np.abs(part) <= largest / TWO_UNITS) & (np.abs(part) > LARGEST[smaller] * SINCE_1973)
        if low.any():
            raise DataError(
                f"times of two units: {largest:.15g} counts {UNITS[unit]}, and {part[int(low.argmax())]:.15g} looks "
                f"like {UNITS[smaller]}",
                hint=f'write all in one, or say time_unit = "{unit}" if they are',
            )
    return unit


def _unit_by(largest: float) -> str:
    return next(unit for unit in UNITS if largest <= LARGEST.get(unit, math.inf))


def check_calendar(times: polars.Series, unit: str = AUTO) -> None:
    """Raise NoTimeError for the first time of a column that lies outside the years 1 to 9999.

    Args:
        times: Numbers, of which those that are not finite count for nothing, or dates and times (rows,).
        unit: Of the numbers; `"auto"`: by the largest of all.
    """
    import polars as pl

    times = times.cast(pl.Datetime("ms")) if times.dtype == pl.Date else times
    dated = isinstance(times.dtype, pl.Datetime)
    numbers = times.to_physical()
    if numbers.dtype.is_float():
        numbers = numbers.set(~numbers.is_finite(), None)
    low, high = numbers.min(), numbers.max()
    if low is None or high is None:
        return
    largest = max(abs(float(low)), abs(float(high)))  # type: ignore[arg-type]
    unit = times.dtype.time_unit if dated else _unit_by(largest) if unit == AUTO else unit  # type: ignore[attr-defined]
    first, last = (limit / MILLISECONDS[unit] for limit in (FIRST_YEAR, LAST_YEAR))
    if float(low) < first or float(high) > last:  # type: ignore[arg-type]
        row = int(((numbers < first) | (numbers > last)).fill_null(False).arg_true()[0])
        raise _out_of_calendar(numbers[row], unit)


def to_milliseconds(values: Numbers, unit: str) -> tuple[Int64, bool]:
    """Numbers since 1970 in `unit` as milliseconds (rows,), and whether that rounds any.

    Raises:
        DataError: One lies outside the years 1 to 9999.
    """
    whole = values.dtype.kind in "iu"
    if unit == "s":
        _check_years(values, 1000.0, unit)
        if whole:
            return values.astype(np.int64) * 1000, False
        found = np.rint(values * 1000).astype(np.int64)
        return found, bool((np.abs(values * 1000 - found) > 1e-3).any())
    parts = {"ms": 1, "us": 1000, "ns": 1_000_000}[unit]
    _check_years(values, 1 / parts, unit)
    if not whole:
        found = np.rint(values / parts).astype(np.int64)
        return found, bool((found * float(parts) != values).any())
    values = values.astype(np.int64)
    found = values // parts
    rest = values - found * parts
    return found + (2 * rest >= parts) * (parts > 1), bool(rest.any())


def parse_times(texts: polars.Series, form: str | None = None) -> polars.Series:
    """Text that says times -> numbers, or dates and times, of the same name (rows,); empty text is null.

    Args:
        texts: All of one form: numbers, ISO 8601, or a date of day, month and year with or without an hour.
        form: As `strptime` has it; found where left out.

    Raises:
        NoTimeError: A text is no time.
        DataError: The day cannot be told from the month.
    """
    import polars as pl

    bare = texts.str.strip_chars()
    bare = bare.set(bare == "", None)
    first = bare.drop_nulls().head(1)
    if not len(first):
        return bare.cast(pl.Int64)
    if form is not None:
        return _of_form(bare, form, [form])
    for kind in (pl.Int64, pl.Float64):
        numbers = bare.cast(kind, strict=False)
        if numbers.null_count() == bare.null_count():
            return numbers
    forms = ["".join(parts) for parts in itertools.product(DATES, HOURS, ZONES)]
    likely = [form for form in forms if _parsed(first, form).null_count() == 0]
    found = [form for form in likely if _parsed(bare, form).null_count() == bare.null_count()]
    # By their numbers: Python has no date before the year 1, and such a time is refused later, in words.
    if len({tuple(_parsed(bare, form).to_physical().unique().sort()) for form in found}) > 1:
        orders = " or ".join(f"{form} ({DATES[_date_of(form)]})" for form in found)
        raise DataError(
            f"the day cannot be told from the month in times like {first[0]!r}: {orders}",
            hint="say which with time_format",
        )
    return _of_form(bare, found[0] if found else None, likely)


def _of_form(texts: polars.Series, form: str | None, likely: Sequence[str]) -> polars.Series:
    if form is not None and (parsed := _parsed(texts, form)).null_count() == texts.null_count():
        try:
            check_calendar(parsed)
        except NoTimeError as error:
            text = str(texts.filter(parsed.to_physical() == error.value)[0])
            raise NoTimeError(f"the time {text[:40]!r} lies outside the years 1 to 9999", NO_TIME, text) from error
        return parsed
    tried = likely[0] if likely else None
    wrong = texts.drop_nulls() if tried is None else texts.filter(texts.is_not_null() & _parsed(texts, tried).is_null())
    said = "is no time" if tried is None else f"is no time of the form {tried}"
    raise NoTimeError(f"{wrong[0][:40]!r} {said}", NO_TIME, str(wrong[0]))


def _parsed(texts: polars.Series, form: str) -> polars.Series:
    import polars as pl

    kind = pl.Date if form in DATES else pl.Datetime("us", "UTC" if "%z" in form else None)
    try:
        return texts.str.strptime(kind, form, strict=False).cast(pl.Datetime("us"))
    except pl.exceptions.PolarsError as error:
        raise DataError(f"time_format {form!r} cannot be used: {error}".splitlines()[0]) from error


def _date_of(form: str) -> str:
    return next(date for date in DATES if form.startswith(date))


def history_milliseconds(times: Sequence[Any], unit: str = AUTO) -> Int64:
    """Times of a history, oldest first -> milliseconds since 1970 UTC (events,).

    Args:
        times: Numbers since 1970, or dates and times (of UTC where they name no zone), or text that says either.
        unit: Of the numbers, one of `UNITS`; `"auto"`: by the largest of them.

    Raises:
        DataError: One is neither, or lies before the one before it, or outside the years 1 to 9999.
    """
    check_unit(unit)
    if isinstance(times, (str, bytes, Mapping, set, frozenset)) or not isinstance(times, Iterable):
        raise DataError(f"the times of a history are a list, oldest first, not {type(times).__qualname__}")
    values = list(times)
    if values and all(isinstance(value, str) for value in values):
        values = _read(values)
    dates = [isinstance(value, (date, np.datetime64)) for value in values]
    if any(dates):
        if not all(dates):
            raise DataError("the times of a history are numbers and dates mixed")
        found = np.array([_dated(value) for value in values], dtype=np.int64)
        _check_years(found, 1.0, "ms")
    else:
        whole = all(isinstance(value, (int, np.integer)) and abs(int(value)) < 2**63 for value in values)
        read = [_number(value) for value in values]
        numbers: Numbers = np.array(read, dtype=np.int64) if whole else np.array(read, dtype=np.float64)
        found, _ = to_milliseconds(numbers, unit_of(numbers) if unit == AUTO else unit)
    if (np.diff(found) < 0).any():
        raise DataError("the times of a history fall", hint="give the oldest event first")
    return found


def _read(texts: list[str]) -> list[Any]:
    """Times of a history that are text, read as a column of them is."""
    import polars as pl

    try:
        found = parse_times(pl.Series("times", texts))
    except DataError as error:
        hint = "write the times of a request as numbers since 1970, or as in 2014-07-01T12:00:00"
        raise DataError(error.message, hint=hint) from error
    if found.null_count():
        raise DataError("a time of the history is empty text")
    return found.to_list()


def _number(value: Any) -> float:
    number = isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool)
    if not number or not abs(value) <= MOST:  # neither NaN nor an integer that no float holds passes the comparison
        raise DataError(f"a time is a number since 1970 or a date, not {shown(value)}")
    return value  # type: ignore[no-any-return]


def _dated(value: date | np.datetime64) -> int:
    if not isinstance(value, np.datetime64):
        return of_date(value)
    found = in_milliseconds(np.array([value]))
    if found is None or np.isnat(value):
        raise DataError(f"{value} is no time of the years 1 to 9999")
    return int(found[0].astype(np.int64))


def in_milliseconds(times: NDArray[np.datetime64]) -> NDArray[np.datetime64] | None:
    """Times of numpy in milliseconds; None where one lies further from 1970 than these reach."""
    try:
        found = times.astype("datetime64[ms]")
    except OverflowError:
        return None
    finer = np.datetime_data(times.dtype)[0] in ("us", "ns", "ps", "fs", "as")  # which are cut off, and fit
    whole = finer or bool(((found.astype(times.dtype) == times) | np.isnat(times)).all())  # older numpy wraps round
    return found if whole else None


def _check_years(values: Numbers, milliseconds: float, unit: str) -> None:
    for value in (values.min(), values.max()) if len(values) else ():
        if not FIRST_YEAR <= float(value) * milliseconds <= LAST_YEAR:
            raise _out_of_calendar(value, unit)


def _out_of_calendar(value: float, unit: str) -> NoTimeError:
    others = ", ".join(f'"{name}"' for name in UNITS if name != unit)
    return NoTimeError(
        f"the time {value:.15g} is no {UNITS[unit][:-1]} of the years 1 to 9999",
        f"times count from 1970 (UTC); the unit may be another one: time_unit is one of {others}",
        value,
    )
