"""Any table of events: CSV, Parquet or JSON lines, with the columns named by settings."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from lwa_core import DataError, Source, setting
from lwa_core.data import narrow, polars_faults, source_from_frame
from lwa_plugins.datasets._json_lines import first_record, read_json_events
from lwa_plugins.datasets._reading import (
    CARRIAGE_RETURN,
    LINE_ENDS,
    Layout,
    existing_file,
    first_line,
    read_events,
)

if TYPE_CHECKING:
    import polars

KINDS = {
    ".csv": "delimited",
    ".tsv": "delimited",
    ".txt": "delimited",
    ".parquet": "parquet",
    ".json": "json-lines",
    ".jsonl": "json-lines",
    ".ndjson": "json-lines",
}


@attrs.frozen
class Table:
    """Reads CSV (with a header, fields in double quotes where they need it), Parquet, or JSON lines, by the suffix.

    CSV and JSON lines may be gzipped (`.csv.gz`). Timestamps are seconds or milliseconds since 1970; Parquet may hold
    dates and times. Without `timestamp` the rows are taken to be in order.
    """

    path: str = setting(help="the file: .csv, .tsv, .txt, .parquet, .json, .jsonl or .ndjson", path=True)
    user: str = setting("user", help="column of the user ids")
    item: str = setting("item", help="column of the item ids")
    timestamp: str | None = setting(None, help="column of the timestamps; without it the order of the rows counts")
    rating: str | None = setting(None, help="column of the ratings")
    separator: str = setting(",", help="what separates the fields of a CSV; one character")

    def files(self) -> Sequence[Path]:
        return (existing_file(self.path),)

    def read(self) -> Source:
        (path,) = self.files()
        kind = self._kind(path)
        keep = {role: name for role, name in self._columns().items() if name is not None}
        if kind == "parquet":
            return self._parquet(path)
        events = self._delimited(path, keep) if kind == "delimited" else _json_lines(path, keep)
        return Source(events.lazy(), order="timestamp" if "timestamp" in keep else "file")

    def _columns(self) -> dict[str, str | None]:
        return {"user": self.user, "item": self.item, "timestamp": self.timestamp, "rating": self.rating}

    def _kind(self, path: Path) -> str:
        suffix = path.with_suffix("").suffix if path.suffix == ".gz" else path.suffix
        if suffix not in KINDS:
            raise DataError("is no table by its suffix", file=path, hint=f"known are {', '.join(KINDS)}")
        return KINDS[suffix]

    def _delimited(self, path: Path, keep: Mapping[str, str]) -> polars.DataFrame:
        if len(self.separator) != 1:
            raise DataError(f"the separator must be one character, not {self.separator!r}", hint='a tab is "\\t"')
        line, text = first_line(path)
        header = _header(path, line, text, self.separator)
        _check_fields(path, line, keep, header, f"is the separator {self.separator!r}? ")
        if len(set(header)) != len(header):
            twice = next(name for name in header if header.count(name) > 1)
            raise DataError(f"the header names {twice!r} twice", file=path, line=line)
        return read_events(path, Layout(header, keep, self.separator, quoted=True, skip=line))

    def _parquet(self, path: Path) -> Source:
        import polars as pl

        with polars_faults("is no Parquet file, or a damaged one", file=path):
            try:
                source = source_from_frame(pl.scan_parquet(path, glob=False), **self._columns())  # type: ignore[arg-type]
            except DataError as error:
                raise DataError(error.message, file=path, hint=error.hint) from error
            # Column by column, each made small before the next one is read.
            names = source.events.collect_schema().names()
            columns = [narrow(source.events.select(name).collect(engine="streaming")) for name in names]
            events = pl.concat(columns, how="horizontal")
        return attrs.evolve(source, events=events.lazy())


def _header(path: Path, line: int, text: str, separator: str) -> list[str]:
    """The names of the columns. Raises DataError."""
    if "\r" in text.rstrip("\r"):
        raise DataError(CARRIAGE_RETURN, file=path, line=line, hint=LINE_ENDS)
    try:
        return next(csv.reader([text.rstrip("\r")], delimiter=separator))
    except (csv.Error, ValueError, TypeError) as error:
        raise DataError(f"the header cannot be read: {error}", file=path, line=line) from error


def _json_lines(path: Path, keep: Mapping[str, str]) -> polars.DataFrame:
    line, record = first_record(path)
    _check_fields(path, line, keep, record, "")
    return read_json_events(path, keep)


def _check_fields(path: Path, line: int, keep: Mapping[str, str], present: Any, doubt: str) -> None:
    missing = [f"{name!r} ({role})" for role, name in keep.items() if name not in present]
    if missing:
        message = f"has no column {' and no column '.join(missing)}, just {', '.join(map(repr, present))}"
        hint = f"{doubt}the settings user, item, timestamp and rating name the columns"
        raise DataError(message, file=path, line=line, hint=hint)
