"""Delimited text files, of any size: every fault with file and line.

polars parses a block fast. Only where it objects, or finds a field missing, is the block read again line by line, to
say which line is at fault.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np

from lwa_core import DataError
from lwa_core.data import gather_blocks
from lwa_plugins.datasets._blocks import FileBlock, blocks
from lwa_plugins.datasets._plain_text import CARRIAGE_RETURN, LINE_ENDS
from lwa_plugins.datasets._times import placed, with_times

if TYPE_CHECKING:
    import polars

SINGLE = "\x1f"
"""Stands for a separator of several characters, of which polars takes one: no text holds it."""

NUMBERS = frozenset({"rating", "timestamp"})
"""The columns that hold numbers; all others hold text."""


@attrs.frozen
class Layout:
    """How a delimited file is laid out.

    Args:
        fields: Name of every field of a line, in order.
        keep: Canonical column name (`user`, `item`, `rating`, `timestamp`, `title`, …) -> name of the field.
        separator: Between fields; more than one character is allowed where `quoted` is off.
        quoted: Fields may stand in double quotes, and then hold separators and line ends.
        encoding: `utf-8` or `latin-1`.
        skip: Lines up to and with the header.
        texts: Columns of `NUMBERS` that are read as text.
    """

    fields: Sequence[str]
    keep: Mapping[str, str]
    separator: str
    quoted: bool = False
    encoding: str = "utf-8"
    skip: int = 0
    texts: frozenset[str] = frozenset()

    @property
    def numbers(self) -> frozenset[str]:
        """The kept columns that hold numbers."""
        return (NUMBERS & set(self.keep)) - self.texts

    def blocks(self, path: Path) -> Iterator[FileBlock]:
        """A file of this layout as `blocks`."""
        return blocks(path, quoted=self.quoted, encoding=self.encoding, separator=self.separator)


def read_delimited(path: Path, layout: Layout) -> polars.DataFrame:
    """The kept columns of a delimited file, numbers as floats; blank lines are skipped, empty fields are null.

    Raises DataError, with the line, for a line with another count of fields, an open quote, or a number that is none.
    """
    import polars as pl

    return pl.concat(_parsed(path, layout, set()))


def read_events(
    path: Path, layout: Layout, time_format: str | None = None, time_unit: str = "auto"
) -> polars.DataFrame:
    """`read_delimited` for events, of any number: ids as whole numbers or categories, in few bytes a row.

    Times may be text that says dates and times; a kept column `hour` is put behind that of the date.

    Args:
        path: The file.
        layout: How it is laid out.
        time_format: Of times that are text, as `strptime` has it; found where left out.
        time_unit: What times that are numbers count.
    """
    if "hour" in layout.keep or _says_dates(path, layout):
        layout = attrs.evolve(layout, texts=frozenset({"timestamp"}))
    events = gather_blocks(_parsed(path, layout, {layout.keep[name] for name in ("user", "item")}))
    with placed(path, partial(_line_of, path, layout)):
        return with_times(events, time_format, time_unit)


def _line_of(path: Path, layout: Layout, is_it: Callable[[str], bool]) -> int | None:
    """The first line whose time is it."""
    place = list(layout.fields).index(layout.keep["timestamp"])
    for block in layout.blocks(path):
        for line, fields in _split(block, layout):
            if line > layout.skip and len(fields) > place and is_it(fields[place]):
                return line
    return None


def _says_dates(path: Path, layout: Layout) -> bool:
    """Whether the first time of the file is no number."""
    if "timestamp" not in layout.keep:
        return False
    place = list(layout.fields).index(layout.keep["timestamp"])
    for block in layout.blocks(path):
        for line, fields in _split(block, layout):
            if line <= layout.skip or len(fields) <= place or not fields[place].strip():
                continue
            try:
                float(fields[place])
            except ValueError:
                return True
            return False
    return False


def _parsed(path: Path, layout: Layout, whole: set[str]) -> Iterator[polars.DataFrame]:
    """The kept columns of every block; fields in `whole` are read as whole numbers as long as all are."""
    rows = 0
    for block in layout.blocks(path):
        if block.line == 1 and layout.skip:
            lines = block.data.split(b"\n", layout.skip)
            if any(b"\r" in line for line in lines[: layout.skip]):
                raise block.fault(1, CARRIAGE_RETURN, LINE_ENDS)
            block = FileBlock(path, 1 + layout.skip, lines[layout.skip] if len(lines) > layout.skip else b"")  # noqa: PLW2901
        if block.data:
            frame = _parse(block, layout, whole)
            rows += frame.height
            yield frame
    if not rows:
        raise DataError("holds no rows, only " + ("a header" if layout.skip else "blank lines"), file=path)


def _parse(block: FileBlock, layout: Layout, whole: set[str]) -> polars.DataFrame:
    import polars as pl

    data, separator = block.data, layout.separator
    if len(separator) > 1:
        data, separator = data.replace(separator.encode(), SINGLE.encode()), SINGLE
    options = {"has_header": False, "separator": separator, "quote_char": '"' if layout.quoted else None}
    frame = None
    if not whole or _spelled_in_one_way(data, separator):
        with suppress(pl.exceptions.PolarsError, pl.exceptions.PanicException):
            frame = pl.read_csv(data, schema=_schema(layout, whole), **options)  # type: ignore[arg-type]
    if frame is None:
        frame = _parse_texts(block, data, layout, options)
    frame = frame.filter(~pl.all_horizontal(pl.all().is_null()))
    if frame.select(pl.any_horizontal(pl.all().is_null().any())).item():
        _check_lengths(block, data, layout, separator, frame.height)
    frame = frame.select(pl.col(field).alias(name) for name, field in layout.keep.items())
    for name, field in layout.keep.items():
        if field in whole and frame.schema[name] == pl.String:
            frame = _whole_numbers(frame, name)
            if frame.schema[name] == pl.String:
                whole.remove(field)
    return _numbers(block, layout, frame)


def _schema(layout: Layout, whole: set[str]) -> dict[str, Any]:
    import polars as pl

    kinds = {layout.keep[name]: pl.Float64 for name in layout.numbers}
    return {field: pl.Int64 if field in whole else kinds.get(field, pl.String) for field in layout.fields}


def _parse_texts(block: FileBlock, data: bytes, layout: Layout, options: Mapping[str, Any]) -> polars.DataFrame:
    import polars as pl

    schema = dict.fromkeys(layout.fields, pl.String)
    try:
        return pl.read_csv(data, schema=schema, **options)
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException):
        # Either a line is at fault, which is said here, or polars is too strict, for example with a blank first line.
        return _texts(block, layout)


def _texts(block: FileBlock, layout: Layout) -> polars.DataFrame:
    """Every field of every record as text, empty ones as null, read in Python."""
    import polars as pl

    rows = [[field or None for field in fields] for _, fields in _records(block, layout)]
    return pl.DataFrame(rows, schema=dict.fromkeys(layout.fields, pl.String), orient="row")


def _spelled_in_one_way(data: bytes, separator: str) -> bool:
    """True where each whole number has one spelling, so that a number tells the text: no signs, spaces, leading 0."""
    if any(sign in data for sign in (b'"', b"+", b"-", b" ", b"\r", b"\f")) or (separator != "\t" and b"\t" in data):
        return False
    signs = np.frombuffer(b"\n" + data, dtype=np.uint8)
    before, sign, after = signs[:-2], signs[1:-1], signs[2:]
    leading = (sign == ord("0")) & ((before == ord("\n")) | (before == ord(separator)))
    return not bool((leading & (after - ord("0") < 10)).any())  # a digit: what lies below "0" wraps round


def _whole_numbers(frame: polars.DataFrame, name: str) -> polars.DataFrame:
    """The column as whole numbers, if they tell the texts."""
    import polars as pl

    text = frame[name]
    numbers = text.cast(pl.Int64, strict=False)
    told = numbers.null_count() == text.null_count() and bool((numbers.cast(pl.String) == text).all())
    return frame.with_columns(numbers) if told else frame


def _check_lengths(block: FileBlock, data: bytes, layout: Layout, separator: str, rows: int) -> None:
    """Raise DataError for a line that is too short: it looks just like one with empty fields at its end."""
    if b'"' not in data and data.count(separator.encode()) == rows * (len(layout.fields) - 1):
        return  # polars has objected to lines that are too long, so that none is too short either
    for _ in _records(block, layout):
        pass


def _numbers(block: FileBlock, layout: Layout, frame: polars.DataFrame) -> polars.DataFrame:
    import polars as pl

    for name in layout.numbers:
        if frame.schema[name] != pl.String:
            continue
        text = frame[name].str.strip_chars()
        number = text.replace("", None).cast(pl.Float64, strict=False)
        wrong = (number.is_null() & text.is_not_null() & (text != "")).arg_true()
        if len(wrong):
            line, fields = list(_records(block, layout))[wrong[0]]
            value = fields[list(layout.fields).index(layout.keep[name])]
            raise block.fault(line, f"{value!r} is no number, and {layout.keep[name]!r} holds the {name}")
        frame = frame.with_columns(number.alias(name))
    return frame


def _records(block: FileBlock, layout: Layout) -> Iterator[tuple[int, Sequence[str]]]:
    """Line number and fields of every record that is not blank. Raises DataError for one of another length."""
    for line, fields in _split(block, layout):
        if len(fields) != len(layout.fields):
            raise block.fault(
                line,
                f"{len(fields)} fields, where {len(layout.fields)} are expected ({', '.join(layout.fields)})",
                hint=f"fields are separated by {layout.separator!r}",
            )
        yield line, fields


def _split(block: FileBlock, layout: Layout) -> Iterable[tuple[int, Sequence[str]]]:
    text = block.data.decode()
    if not layout.quoted:
        lines = enumerate(text.split("\n"), start=block.line)
        return ((line, row.split(layout.separator)) for line, row in lines if row)
    return _split_quoted(block, text, layout.separator)


def _split_quoted(block: FileBlock, text: str, separator: str) -> Iterator[tuple[int, Sequence[str]]]:
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    begin = 0
    try:
        for fields in reader:
            if fields:
                yield block.line + begin, fields
            begin = reader.line_num
    except csv.Error as error:
        if "new-line character" in str(error):
            raise block.fault(block.line + begin, CARRIAGE_RETURN, LINE_ENDS) from error
        raise block.fault(block.line + begin, f"the quotes of this line do not match ({error})") from error
