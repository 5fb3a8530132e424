"""Tables of events in any format that people keep them in, told apart by the suffix."""

from __future__ import annotations

import csv
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from lwa_core import DataError, Source
from lwa_core.data import check_calendar, narrow, polars_faults, source_from_frame, usual_name
from lwa_plugins.datasets._blocks import existing_file, first_line
from lwa_plugins.datasets._items import read_typed_header
from lwa_plugins.datasets._json_lines import first_record, is_json_lines, read_json_events, read_json_whole
from lwa_plugins.datasets._plain_text import CARRIAGE_RETURN, LINE_ENDS
from lwa_plugins.datasets._reading import Layout, read_events
from lwa_plugins.datasets._times import placed

if TYPE_CHECKING:
    import polars

KINDS = {
    ".csv": "delimited",
    ".tsv": "delimited",
    ".txt": "delimited",
    ".inter": "atomic",
    ".parquet": "columns",
    ".arrow": "columns",
    ".feather": "columns",
    ".ipc": "columns",
    ".json": "json",
    ".jsonl": "json",
    ".ndjson": "json",
}

KIND_NAMES = {".parquet": "Parquet", ".arrow": "Arrow", ".feather": "Feather", ".ipc": "Arrow"}

SEPARATORS = (",", "\t", ";", "|", " ")
"""What is tried where no separator is named, in this order."""

PATTERN = "*?["
"""Signs that make a path a pattern, where no file is called so."""

PARTS_OF = (".parquet",)
"""What a folder of parts of one table may hold."""


@attrs.frozen
class Columns:
    """Which columns hold what, and how times are written."""

    user: str
    item: str
    timestamp: str | None = None
    rating: str | None = None
    hour: str | None = None
    time_unit: str = "auto"
    time_format: str | None = None
    separator: str | None = None

    @property
    def keep(self) -> dict[str, str]:
        """Canonical column -> the file's, of those that are named."""
        every = {"user": self.user, "item": self.item, "timestamp": self.timestamp, "rating": self.rating}
        return {role: name for role, name in (every | {"hour": self.hour}).items() if name is not None}


def table_files(path: str | Path) -> tuple[Path, ...]:
    """The files of one table: the one that is named, all of a folder of Parquet, or all that a pattern matches.

    Raises:
        DataError: There is none.
    """
    folder = Path(path)
    if any(sign in str(path) for sign in PATTERN) and not os.path.lexists(path):
        return _matching(folder)
    if not os.path.isdir(path):
        return (existing_file(path),)
    found = sorted(file for file in folder.rglob("*") if file.suffix in PARTS_OF and file.is_file())
    if not found:
        hint = "give the path of a file, or a pattern such as events/*.csv"
        raise DataError(f"is a folder without any file that ends in {' or '.join(PARTS_OF)}", file=folder, hint=hint)
    return tuple(found)


def _matching(pattern: Path) -> tuple[Path, ...]:
    steady = next(folder for folder in pattern.parents if not any(sign in str(folder) for sign in PATTERN))
    found = sorted(file for file in steady.glob(str(pattern.relative_to(steady))) if file.is_file())
    if not found:
        raise DataError("no file is matched by this pattern", file=pattern)
    return tuple(existing_file(file) for file in found)


def read_table(files: Sequence[Path], columns: Columns) -> Source:
    """The events of one table, which may lie in several files of one format, one after another.

    Raises:
        DataError: With file and line: a column is missing, or something cannot be read.
    """
    kinds = {_kind(file) for file in files}
    if len(kinds) > 1:
        raise DataError(f"the table is of files of {len(kinds)} formats", file=files[0].parent)
    (kind,) = kinds
    if kind == "columns":
        return _columnar(files, columns)
    read = {"delimited": _delimited, "atomic": _atomic, "json": _json}[kind]
    frames, notes = [], []
    for file in files:
        frame, said = read(file, columns)
        frames.append(frame)
        notes += said
    events = frames[0] if len(frames) == 1 else _concatenated(frames)
    order = "timestamp" if "timestamp" in events.columns else "file"
    return Source(events.lazy(), order=order, notes=tuple(dict.fromkeys(notes)), time_unit=columns.time_unit)


def _kind(path: Path) -> str:
    suffix = path.with_suffix("").suffix if path.suffix == ".gz" else path.suffix
    if suffix not in KINDS:
        raise DataError("is no table by its suffix", file=path, hint=f"known are {', '.join(KINDS)}")
    return KINDS[suffix]


def _concatenated(frames: Sequence[polars.DataFrame]) -> polars.DataFrame:
    from lwa_core.data import gather_blocks

    return gather_blocks(frames)


def _delimited(path: Path, columns: Columns) -> tuple[polars.DataFrame, list[str]]:
    if columns.separator is not None and len(columns.separator) != 1:
        raise DataError(f"the separator must be one character, not {columns.separator!r}", hint='a tab is "\\t"')
    line, text = first_line(path, returns=True, separator=columns.separator or "")
    separator = columns.separator or _separator(path, text, columns.keep)
    header = _header(path, line, text, separator)
    _check_fields(path, line, columns.keep, header, f"is the separator {separator!r}? ")
    if len(set(header)) != len(header):
        twice = next(name for name in header if header.count(name) > 1)
        raise DataError(f"the header names {twice!r} twice", file=path, line=line)
    layout = Layout(header, columns.keep, separator, quoted=True, skip=line)
    notes = [] if columns.separator or separator == "," else [f"fields are separated by {separator!r}"]
    return read_events(path, layout, columns.time_format, columns.time_unit), notes


def _separator(path: Path, header: str, keep: Mapping[str, str]) -> str:
    """A tab in a .tsv; else the first sign by which the header names the columns; a comma where none does."""
    if path.name.removesuffix(".gz").endswith(".tsv"):
        return "\t"
    named = [sign for sign in SEPARATORS if {*keep.values()} <= {field.strip('"') for field in header.split(sign)}]
    return named[0] if named else ","


def _header(path: Path, line: int, text: str, separator: str) -> list[str]:
    """The names of the columns. Raises DataError."""
    if "\r" in text.rstrip("\r"):
        raise DataError(CARRIAGE_RETURN, file=path, line=line, hint=LINE_ENDS)
    try:
        return next(csv.reader([text.rstrip("\r")], delimiter=separator))
    except (csv.Error, ValueError, TypeError) as error:
        raise DataError(f"the header cannot be read: {error}", file=path, line=line) from error


def _atomic(path: Path, columns: Columns) -> tuple[polars.DataFrame, list[str]]:
    line, fields = read_typed_header(path)
    _check_fields(path, line, columns.keep, fields, "")
    layout = Layout(fields, columns.keep, "\t", skip=line)
    return read_events(path, layout, columns.time_format, columns.time_unit), []


def _json(path: Path, columns: Columns) -> tuple[polars.DataFrame, list[str]]:
    if path.name.removesuffix(".gz").endswith(".json") and not is_json_lines(path):
        return read_json_whole(path, columns.keep, columns.time_format, columns.time_unit), []
    line, record = first_record(path)
    _check_fields(path, line, columns.keep, record, "")
    return read_json_events(path, columns.keep, columns.time_format, columns.time_unit), []


def _columnar(files: Sequence[Path], columns: Columns) -> Source:
    """Parquet, Arrow or Feather: column by column, each made small before the next one is read."""
    import polars as pl

    if columns.hour is not None:
        raise DataError("a column of hours is read from text files", file=files[0], hint="leave `hour` out")
    with polars_faults(f"is no {KIND_NAMES[files[0].suffix]} file, or a damaged one", file=_said(files)):
        try:
            scanned = _scanned(files)
            source = source_from_frame(
                scanned,
                columns.user,
                columns.item,
                columns.timestamp,
                columns.rating,
                columns.time_unit,
                columns.time_format,
            )
        except DataError as error:
            raise DataError(error.message, file=_said(files), hint=error.hint) from error
        present = source.events.collect_schema()
        if any(isinstance(kind, pl.List) for kind in scanned.collect_schema().values()):
            return source  # columns of lists are unrolled together
        parts = [narrow(source.events.select(name).collect(engine="streaming")) for name in present.names()]
        if "timestamp" in present:
            with placed(_said(files), lambda _: None):  # its rows have no lines
                check_calendar(parts[present.names().index("timestamp")]["timestamp"], columns.time_unit)
        return attrs.evolve(source, events=pl.concat(parts, how="horizontal").lazy())


def _said(files: Sequence[Path]) -> Path:
    return files[0] if len(files) == 1 else files[0].parent


def _scanned(files: Sequence[Path]) -> polars.LazyFrame:
    import polars as pl

    scan: Callable[..., polars.LazyFrame] = pl.scan_parquet if files[0].suffix == ".parquet" else pl.scan_ipc
    return scan(list(files), glob=False) if scan is pl.scan_parquet else scan(list(files))


def _check_fields(path: Path, line: int, keep: Mapping[str, str], present: Any, doubt: str) -> None:
    missing = [(role, name) for role, name in keep.items() if name not in present]
    if not missing:
        return
    listed = " and no column ".join(f"{name!r} ({role})" for role, name in missing)
    near = [f"{role} = {name!r}" for role, _ in missing if (name := usual_name(role, list(present))) is not None]
    hint = (
        f"try {', '.join(near)}" if near else f"{doubt}the settings user, item, timestamp and rating name the columns"
    )
    raise DataError(f"has no column {listed}, just {', '.join(map(repr, present))}", file=path, line=line, hint=hint)
