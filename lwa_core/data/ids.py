"""One spelling for each id: what files, frames and requests give becomes the text by which an item or user is known.

* text is taken as it is, less the blanks around it;
* whole numbers are their digits, of whatever type they come (an integer, a float or decimal without a fraction);
* a UUID is its 36 characters;
* anything else (fractions, booleans, bytes, dates, lists, null) is no id, and is refused by name.

A float is whole up to 2^53, one of 32 bits up to 2^24: beyond, neighbours share a float, and two ids would become one.
"""

from __future__ import annotations

import math
import uuid
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import numpy as np

from lwa_core.errors import DataError

if TYPE_CHECKING:
    import polars

BLANKS = " \t\r\n\f\v\ufeff\u00a0"
"""What is left out around an id, the mark of byte order and the blank that does not break among it."""

LARGEST_FLOAT = {16: 2**11, 32: 2**24, 64: 2**53}
"""Bits -> up to where a float tells whole numbers apart."""

KINDS = "ids are text or whole numbers"


def spell_id(value: Any) -> str:
    """The text of one id.

    Raises:
        DataError: It is no id; the message names its type and value.
    """
    if isinstance(value, str):
        return _text(str(value))
    if isinstance(value, (bool, np.bool_)):
        raise DataError(f"{value} is a truth value, and {KINDS}")
    if isinstance(value, (int, np.integer)):
        return _digits(int(value))
    if isinstance(value, (float, np.floating, Decimal)):
        return _whole(value)
    if isinstance(value, uuid.UUID):
        return str(value)
    if getattr(value, "shape", None) == () and hasattr(value, "item"):
        return spell_id(value.item())  # one number of an array or tensor
    what = "null" if value is None else f"{type(value).__qualname__} {shown(value)}"
    raise DataError(f"{what} is no id: {KINDS}")


def spell_ids(ids: polars.Series) -> polars.Series:
    """A column of ids as text, whole numbers or categories: those whose kind is read as it is are left alone.

    Args:
        ids: Of any type (rows,).

    Raises:
        DataError: Its type is none of ids, or a value is not whole.
    """
    import polars as pl

    kind = ids.dtype
    if kind in (pl.String, pl.Null) or kind.is_integer() or isinstance(kind, (pl.Categorical, pl.Enum)):
        return ids
    if kind == pl.Object:
        return _each(ids)
    if kind.is_float() or kind.is_decimal():
        return _whole_numbers(ids)
    raise DataError(f"column {ids.name!r} holds {kind}; {KINDS}")


def takes_ids(kind: polars.DataType) -> bool:
    """Whether columns of this type may hold ids."""
    import polars as pl

    if kind.is_numeric() or isinstance(kind, (pl.Categorical, pl.Enum)):
        return True
    return bool(kind in (pl.String, pl.Null, pl.Object))


def is_text(value: str) -> bool:
    """Whether a string can be written in UTF-8: it holds no half of a surrogate pair."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _text(value: str) -> str:
    if not is_text(value):
        raise DataError(f"{shown(value)} is not text: it holds half of a surrogate pair")
    return value.strip(BLANKS)


def _digits(value: int) -> str:
    if abs(value) >= 1 << 128:
        raise DataError("a whole number of more than 128 bits is no id; give it as text")
    return str(value)


def _whole(value: Any) -> str:
    number = value if isinstance(value, Decimal) else float(value)
    if not math.isfinite(number):
        raise DataError(f"{value} is no id: {KINDS}")
    if number != int(number):
        raise DataError(f"{shown(number)} has a fraction, and {KINDS}", hint="give ids with fractions as text")
    if not isinstance(number, Decimal) and abs(number) > LARGEST_FLOAT[_bits(value)]:
        raise DataError(
            f"{number:g} is too large for a float to tell whole numbers apart", hint="give it as an integer"
        )
    return _digits(int(number))


def _whole_numbers(ids: polars.Series) -> polars.Series:
    import polars as pl

    if ids.dtype.is_float():
        ids = ids.set(ids.is_nan(), None)  # what frames make of a gap
    whole = ids.cast(pl.Int64, strict=False)
    if ids.dtype.is_decimal() and whole.null_count() > ids.null_count():  # one holds more digits than 64 bits
        return _each(ids)
    same = whole.cast(ids.dtype, strict=False) == ids
    if ids.dtype.is_float():
        same &= ids.cast(pl.Float64).abs() <= LARGEST_FLOAT[int(str(ids.dtype).removeprefix("Float"))]
    wrong = ids.filter(ids.is_not_null() & ~same.fill_null(False))
    if len(wrong):
        raise DataError(f"column {ids.name!r}: {_said(wrong)}", hint="give such ids as text")
    return whole


def is_gap(value: Any) -> bool:
    """None, NaN, or what pandas writes for a missing value."""
    gap = value is None or type(value).__name__ in ("NAType", "NaTType")
    return gap or (isinstance(value, (float, np.floating)) and bool(np.isnan(value)))


def _each(ids: polars.Series) -> polars.Series:
    """A column of ids as text, by the rule of single ones."""
    import polars as pl

    spelt = []
    for row, value in enumerate(ids):
        try:
            spelt.append(None if is_gap(value) else spell_id(value))
        except DataError as error:
            raise DataError(f"column {ids.name!r}, row {row}: {error.message}", hint=error.hint) from error
    return pl.Series(ids.name, spelt, dtype=pl.String)


def _bits(value: Any) -> int:
    """Of a float; Python's has 64, and longer ones were made such."""
    return min(8 * value.dtype.itemsize, 64) if isinstance(value, np.floating) else 64


def _said(wrong: polars.Series) -> str:
    """What is wrong with the first of these values."""
    value = wrong[0]
    try:
        return f"{spell_id(value)} is too large a number for {wrong.dtype}"
    except DataError as error:
        return error.message


def shown(value: Any) -> str:
    """A value as a message quotes it, in few characters. Python writes no integer of more than 4,300 digits."""
    if value is None:
        return "null"
    if isinstance(value, int) and value.bit_length() > 128:
        return "an integer of very many digits"
    try:
        text = repr(value)
    except ValueError:  # a list that holds such an integer
        return f"a {type(value).__qualname__}"
    return text if len(text) <= 40 else f"{text[:37]}..."
