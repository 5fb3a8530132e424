"""Text files in blocks of whole lines: bounded memory, gzip by its magic number, every fault with file and line.

polars parses a block fast. Only where it objects, or finds a field missing, is the block read again line by line, to
say which line is at fault.
"""

from __future__ import annotations

import csv
import gzip
import io
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING

import attrs

from lwa_core.errors import DataError

if TYPE_CHECKING:
    import polars

BLOCK_BYTES = 1 << 23
LONGEST_RECORD = 1 << 26
"""A quoted field that runs on for more bytes than this was not closed."""

NUMBERS = frozenset({"rating", "timestamp"})
"""The columns that hold numbers; all others hold text."""


@attrs.frozen
class Block:
    """Some whole lines of a file, as UTF-8; `line` is the number of the first."""

    path: Path
    line: int
    data: bytes

    def fault(self, line: int, message: str, hint: str | None = None) -> DataError:
        return DataError(message, file=self.path, line=line, hint=hint)


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
    """

    fields: Sequence[str]
    keep: Mapping[str, str]
    separator: str
    quoted: bool = False
    encoding: str = "utf-8"
    skip: int = 0


def existing_file(path: str | Path, *, hint: str | None = None) -> Path:
    """`path`, if it is a file. Raises DataError."""
    path = Path(path)
    if path.is_dir():
        raise DataError("is a folder, and a file is needed", file=path, hint=hint)
    if not path.is_file():
        raise DataError("there is no such file", file=path, hint=hint or "a path counts from the folder of the recipe")
    return path


def blocks(path: Path, *, quoted: bool = False, encoding: str = "utf-8") -> Iterator[Block]:
    """A text file, plain or gzip, as blocks of whole lines. Raises DataError for all that cannot be read as text."""
    line, rest = 1, b""
    with opened(path) as file:
        while chunk := _read(file, path, line):
            whole = rest + chunk
            cut = _last_line_end(whole, quoted)
            if cut == 0 and len(whole) > LONGEST_RECORD:
                raise DataError("a line or quoted field that never ends begins here", file=path, line=line)
            if cut:
                yield _block(path, line, whole[:cut], encoding)
                line += whole.count(b"\n", 0, cut)
            rest = whole[cut:]
    if rest:
        yield _block(path, line, rest, encoding)
    elif line == 1:
        raise DataError("is empty", file=path)


def opened(path: Path) -> IO[bytes]:
    """Open a file to read bytes, gunzipped where it begins as gzip does."""
    try:
        raw = existing_file(path).open("rb")
        magic = raw.read(2)
        raw.seek(0)
    except OSError as error:
        raise DataError(f"cannot be opened: {error.strerror}", file=path) from error
    return io.BufferedReader(gzip.GzipFile(fileobj=raw, mode="rb")) if magic == b"\x1f\x8b" else raw


def first_line(path: Path) -> tuple[int, str]:
    """Number and text of the first line that is not blank. Raises DataError where there is none."""
    for block in blocks(path):
        for line, text in enumerate(block.data.decode().split("\n"), start=block.line):
            if text.strip():
                return line, text
    raise DataError("holds no data, only blank lines", file=path)


def read_delimited(path: Path, layout: Layout) -> polars.DataFrame:
    """The kept columns of a delimited file, numbers as floats; blank lines are skipped, empty fields are null.

    Raises DataError, with the line, for a line with another count of fields, an open quote, or a number that is none.
    """
    import polars as pl

    frames = []
    for block in blocks(path, quoted=layout.quoted, encoding=layout.encoding):
        if block.line == 1 and layout.skip:
            lines = block.data.split(b"\n", layout.skip)
            block = Block(path, 1 + layout.skip, lines[layout.skip] if len(lines) > layout.skip else b"")  # noqa: PLW2901
        if block.data:
            frames.append(_parse(block, layout))
    if not any(frame.height for frame in frames):
        raise DataError("holds no rows, only " + ("a header" if layout.skip else "blank lines"), file=path)
    return pl.concat(frames)


def read_column(block: Block) -> polars.Series:
    """The lines of a block as one text column; blank ones are null."""
    import polars as pl

    options = {"separator": "\x1f", "quote_char": None, "has_header": False}
    return pl.read_csv(block.data, schema={"line": pl.String}, **options)["line"]  # type: ignore[arg-type]


def _read(file: IO[bytes], path: Path, line: int) -> bytes:
    try:
        return file.read(BLOCK_BYTES)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        hint = "the file was cut or damaged on its way: fetch it again"
        message = f"the gzip data breaks off or is damaged after this line ({error})"
        raise DataError(message, file=path, line=line, hint=hint) from error
    except OSError as error:
        raise DataError(f"cannot be read: {error}", file=path, line=line) from error


def _last_line_end(data: bytes, quoted: bool) -> int:
    """Where the last whole record ends, or 0. A line end inside quotes has an odd count of quotes before it."""
    cut = data.rfind(b"\n") + 1
    if not quoted:
        return cut
    quotes = data.count(b'"', 0, cut)
    while cut and quotes % 2:
        earlier = data.rfind(b"\n", 0, cut - 1) + 1
        quotes -= data.count(b'"', earlier, cut)
        cut = earlier
    return cut


def _block(path: Path, line: int, data: bytes, encoding: str) -> Block:
    if line == 1 and data.startswith(b"\xef\xbb\xbf"):
        data = data[3:]
    if b"\r" in data:
        data = data.replace(b"\r\n", b"\n")
    if encoding != "utf-8":
        return Block(path, line, data.decode(encoding).encode())
    try:
        data.decode()
    except UnicodeDecodeError as error:
        line += data.count(b"\n", 0, error.start)
        hint = "convert it, for example with `iconv -f latin1 -t utf-8`"
        raise DataError(
            f"is not UTF-8 text (byte {data[error.start]:#04x})", file=path, line=line, hint=hint
        ) from error
    return Block(path, line, data)


def _parse(block: Block, layout: Layout) -> polars.DataFrame:
    import polars as pl

    data, separator = block.data, layout.separator
    schema = dict.fromkeys(layout.fields, pl.String)
    if len(separator) > 1:
        data, separator = data.replace(separator.encode(), b"\x1f"), "\x1f"
    try:
        frame = pl.read_csv(
            data,
            has_header=False,
            schema=schema,
            separator=separator,
            quote_char='"' if layout.quoted else None,
        )
    except pl.exceptions.PolarsError:
        # Either a line is at fault, which is said here, or polars is too strict, for example with a blank first line.
        rows = [fields for _, fields in _records(block, layout)]
        frame = pl.DataFrame(rows, schema=schema, orient="row")
    frame = frame.filter(~pl.all_horizontal(pl.all().is_null()))
    if frame.select(pl.any_horizontal(pl.all().is_null().any())).item():
        # A line that is too short looks just like one with empty fields at its end.
        for _ in _records(block, layout):
            pass
    return _numbers(block, layout, frame.select(pl.col(field).alias(name) for name, field in layout.keep.items()))


def _numbers(block: Block, layout: Layout, frame: polars.DataFrame) -> polars.DataFrame:
    import polars as pl

    for name in NUMBERS & set(frame.columns):
        text = frame[name].str.strip_chars()
        number = text.replace("", None).cast(pl.Float64, strict=False)
        wrong = (number.is_null() & text.is_not_null() & (text != "")).arg_true()
        if len(wrong):
            line, fields = list(_records(block, layout))[wrong[0]]
            value = fields[list(layout.fields).index(layout.keep[name])]
            raise block.fault(line, f"{value!r} is no number, and {layout.keep[name]!r} holds the {name}")
        frame = frame.with_columns(number.alias(name))
    return frame


def _records(block: Block, layout: Layout) -> Iterator[tuple[int, Sequence[str]]]:
    """Line number and fields of every record that is not blank. Raises DataError for one of another length."""
    for line, fields in _split(block, layout):
        if len(fields) != len(layout.fields):
            raise block.fault(
                line,
                f"{len(fields)} fields, where {len(layout.fields)} are expected ({', '.join(layout.fields)})",
                hint=f"fields are separated by {layout.separator!r}",
            )
        yield line, fields


def _split(block: Block, layout: Layout) -> Iterable[tuple[int, Sequence[str]]]:
    text = block.data.decode()
    if not layout.quoted:
        lines = enumerate(text.split("\n"), start=block.line)
        return ((line, row.split(layout.separator)) for line, row in lines if row)
    return _split_quoted(block, text, layout.separator)


def _split_quoted(block: Block, text: str, separator: str) -> Iterator[tuple[int, Sequence[str]]]:
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    begin = 0
    try:
        for fields in reader:
            if fields:
                yield block.line + begin, fields
            begin = reader.line_num
    except csv.Error as error:
        raise block.fault(block.line + begin, f"the quotes of this line do not match ({error})") from error
