"""Texts to score a language model on, with or without labels: JSON lines, CSV or TSV."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import attrs

from lwa_core.errors import DataError
from lwa_core.json_text import BadJsonError, parse_json

TABLES = {".csv": ",", ".tsv": "\t"}
"""Endings of tables -> what stands between their columns."""

LINES = (".jsonl", ".ndjson", ".json")


@attrs.frozen
class Text:
    """One text, what was given with it, and the line of the file where it begins.

    Args:
        text: The text.
        label: What it is, for a classifier.
        line: Where it begins.
        pair: The text that belongs to it.
        score: How alike the two are.
    """

    text: str
    label: str | int | None
    line: int
    pair: str | None = None
    score: float | None = None


def read_texts(
    file: Path, text: str = "text", label: str | None = None, pair: str | None = None, score: str | None = None
) -> list[Text]:
    """Every text of a file.

    Args:
        file: JSON lines (`.jsonl`, `.ndjson`, `.json`), or a table with a header (`.csv`, `.tsv`), in UTF-8.
        text: Key or column of the texts.
        label: Key or column of the labels; None where none are needed.
        pair: Key or column of the text that belongs to each; None where none is needed.
        score: Key or column of how alike the two are; None where it is not needed.

    Raises:
        DataError: With file and line: a row is malformed, lacks a text or a label, or there is no row at all.
    """
    ending = file.suffix.lower()
    if ending not in (*TABLES, *LINES):
        raise DataError(f"its ending is none of {', '.join((*LINES, *TABLES))}", file=file)
    try:
        with file.open("rb") as opened:
            rows = _table(opened, file, TABLES[ending]) if ending in TABLES else _lines(opened, file)
            found = [_text(row, file, line, text, label, pair, score) for line, row in rows]
    except OSError as error:
        raise DataError(f"cannot be read: {error.strerror}", file=file) from error
    if not found:
        raise DataError("there is no text in it", file=file)
    return found


def _text(
    row: dict[str, Any], file: Path, line: int, text: str, label: str | None, pair: str | None, score: str | None
) -> Text:
    for name in (text, label, pair, score):
        if name is not None and name not in row:
            raise DataError(f"no '{name}'", file=file, line=line, hint=f"there are: {', '.join(map(str, row))}")
    for name in (text, pair):
        if name is not None and (not isinstance(row[name], str) or not row[name].strip()):
            raise DataError(f"'{name}' is no text", file=file, line=line)
    given = None if label is None else row[label]
    if label is not None and (type(given) not in (str, int) or given == ""):
        raise DataError(f"'{label}' is neither a name nor a number", file=file, line=line)
    alike = None if score is None else _number(row[score])
    if score is not None and alike is None:
        raise DataError(f"'{score}' is no number", file=file, line=line)
    return Text(row[text], given, line, None if pair is None else row[pair], alike)


def _number(value: Any) -> float | None:
    """A finite number, also one that a table spells."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return None
    try:
        number = float(value)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _decoded(opened: BinaryIO, file: Path) -> Iterator[str]:
    for number, line in enumerate(opened, 1):
        try:
            yield line.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError as error:
            raise DataError(f"no UTF-8: {error.reason}", file=file, line=number) from error


def _lines(opened: BinaryIO, file: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    for number, line in enumerate(_decoded(opened, file), 1):
        if not line.strip():
            continue
        try:
            row = parse_json(line)
        except BadJsonError as error:
            raise DataError(error.message, file=file, line=number, hint="one object a line") from error
        if not isinstance(row, dict):
            raise DataError("no JSON object", file=file, line=number, hint="one object a line")
        yield number, row


def _table(opened: BinaryIO, file: Path, between: str) -> Iterator[tuple[int, dict[str, Any]]]:
    reader = csv.reader(_decoded(opened, file), delimiter=between, strict=True)
    header: list[str] | None = None
    begins = 1
    try:
        for cells in reader:
            if cells and header is None:
                header = cells
                if len(set(header)) < len(header):
                    raise DataError("two columns have the same name", file=file, line=begins)
            elif cells and header is not None:
                if len(cells) != len(header):
                    said = f"{len(cells)} cells in a table of {len(header)} columns"
                    raise DataError(said, file=file, line=begins, hint="put texts that hold the separator in quotes")
                yield begins, dict(zip(header, cells, strict=True))
            begins = reader.line_num + 1
    except csv.Error as error:
        raise DataError(f"no table: {error}", file=file, line=begins) from error
