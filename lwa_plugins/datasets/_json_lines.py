"""JSON lines, block by block."""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np

from lwa_core import BadJsonError, DataError, parse_json
from lwa_core.data import IDS, gather_blocks, spell_id
from lwa_plugins.datasets._blocks import FileBlock, blocks, first_line, opened
from lwa_plugins.datasets._plain_text import CHECK
from lwa_plugins.datasets._reading import NUMBERS
from lwa_plugins.datasets._times import placed, with_times

if TYPE_CHECKING:
    import polars

TEXT_LISTS = frozenset({"categories"})
"""The columns that hold lists of texts."""

NO_TEXT = r"^(?:[\[{]|true$|false$|-0$|-?[0-9]{16,}$|-?[0-9.]+(?:[.eE][0-9.eE+-]*)$)"
"""How polars writes lists, objects, truth values, fractions, and numbers that a float may have rounded."""


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


def read_json_events(
    path: Path, keep: Mapping[str, str], time_format: str | None = None, time_unit: str = "auto"
) -> polars.DataFrame:
    """`read_json_lines` for events, of any number: ids as categories, in few bytes a row; a list of items is unrolled.

    Times may be text that says dates and times; a kept column `hour` is put behind that of the date.
    """
    _, record = first_record(path)
    texts = _texts_of(record, keep)
    if isinstance(record.get(keep["item"]), list):
        events = _unrolled(path, keep, texts)
    else:
        events = gather_blocks(_parse(block, keep, texts) for block in blocks(path))
    with placed(path, partial(_line_of, path, keep)):
        return with_times(events, time_format, time_unit)


def _line_of(path: Path, keep: Mapping[str, str], is_it: Callable[[Any], bool]) -> int | None:
    """The first line whose time, or one of whose times, is it."""
    for block in blocks(path):
        for line, record in _objects(block):
            times = record.get(keep["timestamp"])
            if any(map(is_it, times if isinstance(times, list) else [times])):
                return line
    return None


def read_json_whole(
    path: Path, keep: Mapping[str, str], time_format: str | None = None, time_unit: str = "auto"
) -> polars.DataFrame:
    """Events of a file that is one JSON value: a list of objects, or `{"user": ["item", …]}`, oldest first.

    Raises:
        DataError: It is neither; with the user or the number of the entry.
    """
    value = _whole(path)
    if isinstance(value, dict):
        return _of_users(path, value)
    if not value or not all(isinstance(each, dict) for each in value):
        raise DataError("is a JSON list of something else than objects", file=path, hint="one object for each event")
    texts = _texts_of(value[0], keep)
    place = _Entries(path)
    rows = [
        [_value(place, number, record.get(field), name, field, texts) for name, field in keep.items()]
        for number, record in enumerate(value)
    ]
    events = gather_blocks([_frame(rows, keep, texts)])
    with placed(path, lambda _: None):  # entries have no lines
        return with_times(events, time_format, time_unit)


@attrs.frozen
class _Entries:
    """The members of one JSON list, which have numbers instead of lines."""

    path: Path

    def fault(self, line: int, message: str, hint: str | None = None) -> DataError:
        return DataError(f"entry {line}: {message}", file=self.path, hint=hint)


def is_json_lines(path: Path) -> bool:
    """Whether the first line that is not blank is a JSON object of its own, with an event in it."""
    _, text = first_line(path, returns=True)  # between the values of one JSON document they are blanks
    try:
        value = parse_json(text)
    except BadJsonError:
        # The first line of a value that goes on: `[`, `{`, `{"user": [`. A broken line of JSON lines says so later.
        return not text.lstrip().startswith("[") and not _goes_on(text)
    return isinstance(value, dict) and not (value and all(isinstance(each, list) for each in value.values()))


def _goes_on(text: str) -> bool:
    return text.count("{") + text.count("[") > text.count("}") + text.count("]")


def _whole(path: Path) -> Any:
    with opened(path) as file:
        try:
            value = parse_json(file.read(), unique=True)
        except BadJsonError as error:
            raise DataError(error.message, file=path, line=error.line, hint=error.hint or CHECK) from error
        except (OSError, EOFError, zlib.error) as error:
            raise DataError(f"cannot be read: {error}", file=path) from error
    if not isinstance(value, (dict, list)):
        raise DataError("is neither a JSON list nor an object", file=path, line=1)
    return value


def _of_users(path: Path, value: Mapping[str, Any]) -> polars.DataFrame:
    import polars as pl

    users, items = [], []
    for user, own in value.items():
        if not isinstance(own, list):
            hint = 'the form is {"user": ["item", ...]}, oldest first'
            raise DataError(f"user {user!r} holds no list of items", file=path, hint=hint)
        try:
            items += [spell_id(item) for item in own]
        except DataError as error:
            raise DataError(f"user {user!r}: {error.message}", file=path, hint=error.hint) from error
        users += [user] * len(own)
    return gather_blocks([pl.DataFrame({"user": users, "item": items}, schema={"user": pl.String, "item": pl.String})])


def _unrolled(path: Path, keep: Mapping[str, str], texts: frozenset[str]) -> polars.DataFrame:
    """Events of lines that hold all items of a user, oldest first, and maybe as many times."""
    import polars as pl

    rows: list[list[Any]] = []
    for block in blocks(path):
        for line, record in _objects(block):
            rows += _events_of(block, line, record, keep, texts)
    return gather_blocks([_frame(rows, keep, texts)] if rows else [pl.DataFrame(schema=_schema(keep, texts))])


def _events_of(
    block: FileBlock, line: int, record: Mapping[str, Any], keep: Mapping[str, str], texts: frozenset[str]
) -> list[list[Any]]:
    own = record.get(keep["item"])
    if not isinstance(own, list):
        raise block.fault(line, f"{keep['item']!r} holds no list, where the first line holds one")
    columns = {}
    for name, field in keep.items():
        value = record.get(field)
        values = value if isinstance(value, list) else [value] * len(own)
        if len(values) != len(own):
            raise block.fault(line, f"{field!r} holds {len(values)} values for {len(own)} items")
        columns[name] = [_value(block, line, each, name, field, texts) for each in values]
    return [list(row) for row in zip(*columns.values(), strict=True)]


def _texts_of(record: Mapping[str, Any], keep: Mapping[str, str]) -> frozenset[str]:
    """The columns of numbers that hold text, by the first record: times may."""
    value = record.get(keep.get("timestamp", ""))
    value = value[0] if isinstance(value, list) and value else value
    return frozenset({"timestamp"} if isinstance(value, str) or "hour" in keep else ())


def _parse(block: FileBlock, keep: Mapping[str, str], texts: frozenset[str] = frozenset()) -> polars.DataFrame:
    """By polars where every kept field is there and of its kind, else line by line."""
    import polars as pl

    fields: dict[str, Any] = {keep[name]: dtype for name, dtype in _schema(keep, texts).items()}
    try:
        frame = pl.read_ndjson(block.data, schema=fields)
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException):
        return _by_line(block, keep, texts)
    frame = frame.select(pl.col(field).alias(name) for name, field in keep.items())
    # A null may be a value that polars could not read. A text that looks like no text may be a value of another kind,
    # which polars spells in its own way: `1.0` as `1` or `1.0`, by the rows around it.
    texts_there = [name for name in frame.columns if frame.schema[name] == pl.String]
    odd = [pl.col(name).str.contains(NO_TEXT).any() for name in texts_there]
    lists = [pl.col(name).list.join("\n").str.contains(f"(?m){NO_TEXT}").any() for name in TEXT_LISTS & set(keep)]
    doubt = frame.select(pl.any_horizontal(pl.all().is_null().any(), *odd, *lists)).item()
    return _by_line(block, keep, texts) if doubt else frame


def _schema(keep: Mapping[str, str], texts: frozenset[str] = frozenset()) -> dict[str, Any]:
    import polars as pl

    kinds = {name: pl.Float64 if name in NUMBERS - texts else pl.String for name in keep}
    return {name: pl.List(pl.String) if name in TEXT_LISTS else kind for name, kind in kinds.items()}


def _by_line(block: FileBlock, keep: Mapping[str, str], texts: frozenset[str]) -> polars.DataFrame:
    rows = [
        [_value(block, line, record.get(field), name, field, texts) for name, field in keep.items()]
        for line, record in _objects(block)
    ]
    return _frame(rows, keep, texts)


def _frame(rows: Sequence[Sequence[Any]], keep: Mapping[str, str], texts: frozenset[str]) -> polars.DataFrame:
    import polars as pl

    return pl.DataFrame(rows, schema=_schema(keep, texts), orient="row")


def _objects(block: FileBlock) -> Iterator[tuple[int, dict[str, Any]]]:
    for line, text in enumerate(block.data.decode().split("\n"), start=block.line):
        if text.strip():
            yield line, _object(block, line, text)


def _object(block: FileBlock, line: int, text: str) -> dict[str, Any]:
    try:
        value = parse_json(text, missing=True)
    except BadJsonError as error:
        hint = "every line must be one JSON object; files of Python dicts (single quotes) must be converted first"
        raise block.fault(line, error.message, error.hint or hint) from error
    if not isinstance(value, dict):
        raise block.fault(line, f"is JSON, but no object: {text[:40]}")
    return value


def _value(block: FileBlock | _Entries, line: int, value: Any, name: str, field: str, texts: frozenset[str]) -> Any:
    """The value as its column holds it. Raises DataError where it is of another kind."""
    if value is None:
        return None
    if name in TEXT_LISTS:
        return _flat(block, line, value, field)
    if isinstance(value, (bool, list, dict)):
        raise block.fault(line, f"{field!r} holds {json.dumps(value)[:40]}, and the {name} must be one value")
    if name in IDS and not isinstance(value, str):  # the core takes care of text, whoever read it
        try:
            return spell_id(value)
        except DataError as error:
            raise block.fault(line, f"{field!r}: {error.message}", error.hint) from error
    if name not in NUMBERS - texts:
        # As polars spells a number where it is to be text: the same title in a block that is read line by line.
        return np.format_float_positional(value, trim="-") if isinstance(value, float) else str(value)
    if isinstance(value, str):
        raise block.fault(line, f"{value!r} is no number, and {field!r} holds the {name}")
    try:
        return float(value)
    except OverflowError:
        raise block.fault(line, f"{field!r} holds a number that is too large, and holds the {name}") from None


def _flat(block: FileBlock | _Entries, line: int, value: Any, field: str) -> list[str]:
    """A list of texts, or of lists of texts (as in the metadata of 2014), as one list."""
    if isinstance(value, str):
        return [value] if value else []
    if not isinstance(value, list):
        raise block.fault(line, f"{field!r} holds {json.dumps(value)[:40]}, not a list of texts")
    return [text for member in value for text in _flat(block, line, member, field)]
