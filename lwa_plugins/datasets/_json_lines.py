"""JSON lines, block by block."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lwa_core import BadJsonError, parse_json
from lwa_core.data import gather_blocks
from lwa_plugins.datasets._reading import NUMBERS, FileBlock, blocks, first_line

if TYPE_CHECKING:
    import polars

TEXT_LISTS = frozenset({"categories"})
"""The columns that hold lists of texts."""


def first_record(path: Path) -> tuple[int, dict[str, Any]]:
    """Line and value of the first JSON object of the file. Raises DataError."""
    line, text = first_line(path)
    return line, _object(FileBlock(path, line, b""), line, text)


def read_json_lines(path: Path, keep: Mapping[str, str]) -> polars.DataFrame:
    """Some fields of a file with one JSON object a line; blank lines are skipped, missing fields are null.

    Args:
        path: The file, plain or gzip.
        keep: Canonical column name -> name of the field.

    Raises:
        DataError: With the line: it is no JSON object, or a field holds another kind of value.
    """
    import polars as pl

    return pl.concat([_parse(block, keep) for block in blocks(path)])


def read_json_events(path: Path, keep: Mapping[str, str]) -> polars.DataFrame:
    """`read_json_lines` for events, of any number: ids as categories, in few bytes a row."""
    return gather_blocks(_parse(block, keep) for block in blocks(path))


def _parse(block: FileBlock, keep: Mapping[str, str]) -> polars.DataFrame:
    """By polars where every kept field is there and of its kind, else line by line."""
    import polars as pl

    fields: dict[str, Any] = {keep[name]: dtype for name, dtype in _schema(keep).items()}
    try:
        frame = pl.read_ndjson(block.data, schema=fields)
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException):
        return _by_line(block, keep)
    frame = frame.select(pl.col(field).alias(name) for name, field in keep.items())
    # A null may be a value that polars could not read, and a text that begins with a bracket a value that is no text.
    texts = [pl.col(name).str.contains(r"^[\[{]").any() for name in frame.columns if frame.schema[name] == pl.String]
    lists = [pl.col(name).list.join("\n").str.contains(r"(?m)^[\[{]").any() for name in TEXT_LISTS & set(keep)]
    doubt = frame.select(pl.any_horizontal(pl.all().is_null().any(), *texts, *lists)).item()
    return _by_line(block, keep) if doubt else frame


def _schema(keep: Mapping[str, str]) -> dict[str, Any]:
    import polars as pl

    kinds = {name: pl.Float64 if name in NUMBERS else pl.String for name in keep}
    return {name: pl.List(pl.String) if name in TEXT_LISTS else kind for name, kind in kinds.items()}


def _by_line(block: FileBlock, keep: Mapping[str, str]) -> polars.DataFrame:
    import polars as pl

    rows = [
        [_value(block, line, record.get(field), name, field) for name, field in keep.items()]
        for line, record in _objects(block)
    ]
    return pl.DataFrame(rows, schema=_schema(keep), orient="row")


def _objects(block: FileBlock) -> Iterator[tuple[int, dict[str, Any]]]:
    for line, text in enumerate(block.data.decode().split("\n"), start=block.line):
        if text.strip():
            yield line, _object(block, line, text)


def _object(block: FileBlock, line: int, text: str) -> dict[str, Any]:
    try:
        value = parse_json(text, missing=True)
    except BadJsonError as error:
        hint = "every line must be one JSON object; files of Python dicts (single quotes) must be converted first"
        raise block.fault(line, error.message, hint) from error
    if not isinstance(value, dict):
        raise block.fault(line, f"is JSON, but no object: {text[:40]}")
    return value


def _value(block: FileBlock, line: int, value: Any, name: str, field: str) -> Any:
    """The value as its column holds it. Raises DataError where it is of another kind."""
    if value is None:
        return None
    if name in TEXT_LISTS:
        return _flat(block, line, value, field)
    if isinstance(value, (bool, list, dict)):
        raise block.fault(line, f"{field!r} holds {json.dumps(value)[:40]}, and the {name} must be one value")
    if name not in NUMBERS:
        # As polars spells a number where it is to be text: the same id in a block that is read line by line.
        return np.format_float_positional(value, trim="-") if isinstance(value, float) else str(value)
    if isinstance(value, str):
        raise block.fault(line, f"{value!r} is no number, and {field!r} holds the {name}")
    try:
        return float(value)
    except OverflowError:
        raise block.fault(line, f"{field!r} holds a number that is too large, and holds the {name}") from None


def _flat(block: FileBlock, line: int, value: Any, field: str) -> list[str]:
    """A list of texts, or of lists of texts (as in the metadata of 2014), as one list."""
    if isinstance(value, str):
        return [value] if value else []
    if not isinstance(value, list):
        raise block.fault(line, f"{field!r} holds {json.dumps(value)[:40]}, not a list of texts")
    return [text for member in value for text in _flat(block, line, member, field)]
