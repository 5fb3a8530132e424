"""Text files in blocks of whole lines: bounded memory, gzip by its magic number, every fault with file and line."""

from __future__ import annotations

import gzip
import io
import stat
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING

import attrs

from lwa_core import DataError
from lwa_plugins.datasets._plain_text import CARRIAGE_RETURN, LINE_ENDS, text_fault

if TYPE_CHECKING:
    import polars

BLOCK_BYTES = 1 << 22
LONGEST_RECORD = 1 << 26
"""A quoted field that runs on for more bytes than this was not closed."""


@attrs.frozen
class FileBlock:
    """Some whole lines of a file, as UTF-8; `line` is the number of the first."""

    path: Path
    line: int
    data: bytes

    def fault(self, line: int, message: str, hint: str | None = None) -> DataError:
        return DataError(message, file=self.path, line=line, hint=hint)


def existing_file(path: str | Path, *, hint: str | None = None) -> Path:
    """`path`, if it is a file. Raises DataError."""
    path = Path(path)
    try:
        mode = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        hint = hint or "a path counts from the folder of the recipe"
        raise DataError("there is no such file", file=path, hint=hint) from None
    except (OSError, ValueError) as error:  # no permission, links in a circle, a name that is too long, NUL
        raise DataError(f"cannot be opened: {getattr(error, 'strerror', None) or error}", file=path) from error
    if stat.S_ISDIR(mode):
        raise DataError("is a folder, and a file is needed", file=path, hint=hint)
    if not stat.S_ISREG(mode):
        raise DataError("is no file but a pipe, a device or a socket", file=path, hint=hint)
    return path


def blocks(
    path: Path, *, quoted: bool = False, encoding: str = "utf-8", returns: bool = False, separator: str = ""
) -> Iterator[FileBlock]:
    """A text file, plain or gzip, as blocks of whole lines. Raises DataError for all that cannot be read as text.

    Args:
        path: The file.
        quoted: Line ends may stand in double quotes.
        encoding: `utf-8` or `latin-1`.
        returns: Carriage returns may stand inside lines, as they always may where lines are `quoted`.
        separator: Of fields, where it may be a control character.
    """
    returns = returns or quoted
    line, rest = 1, b""
    with opened(path) as file:
        while chunk := _read(file, path, line):
            whole = rest + chunk
            cut = _last_line_end(whole, quoted)
            if cut == 0 and len(whole) > LONGEST_RECORD:
                if b"\n" not in whole and b"\r" in whole:
                    raise DataError(CARRIAGE_RETURN, file=path, line=line, hint=LINE_ENDS)
                raise DataError("a line or quoted field that never ends begins here", file=path, line=line)
            if cut:
                yield _block(path, line, whole[:cut], encoding, returns, separator)
                line += whole.count(b"\n", 0, cut)
            rest = whole[cut:]
    if rest:
        yield _block(path, line, rest, encoding, returns, separator)
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


def first_line(path: Path, *, returns: bool = False, separator: str = "") -> tuple[int, str]:
    """Number and text of the first line that is not blank. Raises DataError where there is none, as `blocks` does."""
    for block in blocks(path, returns=returns, separator=separator):
        for line, text in enumerate(block.data.decode().split("\n"), start=block.line):
            if text.strip():
                return line, text
    raise DataError("holds no data, only blank lines", file=path)


def read_column(block: FileBlock) -> polars.Series:
    """The lines of a block as one text column."""
    import polars as pl

    # Not by read_csv: every byte that could separate columns may stand in a line.
    return pl.Series("line", block.data.decode().removesuffix("\n").split("\n"), dtype=pl.String)


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


def _block(path: Path, line: int, data: bytes, encoding: str, returns: bool, separator: str) -> FileBlock:
    if line == 1 and data.startswith(b"\xef\xbb\xbf"):
        data = data[3:]
    if b"\r" in data:
        data = data.replace(b"\r\n", b"\n")
    fault = text_fault(data, encoding=encoding, first=line == 1, returns=returns, separator=separator)
    if fault is not None:
        place, message, hint = fault
        raise DataError(message, file=path, line=line + data.count(b"\n", 0, place), hint=hint)
    return FileBlock(path, line, data if encoding == "utf-8" else data.decode(encoding).encode())
