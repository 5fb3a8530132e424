"""A recipe's file as text and as a TOML document, before anything in it is understood."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

from lwa_core.errors import Problem
from lwa_core.settings.types import TomlPath

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
"""Of a recipe, and of what it names."""

LARGEST = 1 << 20
"""Bytes. What is larger is data that was named by mistake."""

DEEPEST = 50
"""Tables and lists inside each other. Python reads a thousand, and then has no room left to say what is wrong."""

MOST_VALUES = 20_000
"""Keys and members of lists."""

SYNTAX_HINTS = {
    "illegal character '\\n'": "close the string on its line, or write it between three quotes",
    "invalid value": "text needs quotes; true and false are written small",
    "expected '=' after a key": "TOML says key = value",
    "cannot overwrite a value": "this key is set twice",
    "cannot declare": "this table is there twice: put its keys into one",
}
"""Beginning of the parser's message -> what to do."""


class BadDocumentError(Exception):
    """The one thing that keeps a file from being read at all."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.message)
        self.problem = problem


def read_text(file: Path) -> str:
    """The text of a recipe. Raises BadDocumentError."""
    content = _content(file)
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        said = f"not UTF-8: byte 0x{content[error.start]:02x} in line {line}"
        raise _bad(file, "not-utf8", said, "save the file as UTF-8") from error
    if not text.strip():
        raise _bad(file, "empty", "the recipe is empty", f"remove it, then `lwa init {file}` writes one to start from")
    return text


def _content(file: Path) -> bytes:
    try:
        with file.open("rb") as opened:
            content = opened.read(LARGEST + 1)
    except FileNotFoundError:
        hint = f"`lwa init {file}` writes a recipe to start from"
        raise _bad(file, "no-file", "there is no such file", hint) from None
    except IsADirectoryError:
        raise _bad(file, "not-a-file", "this is a folder, not a recipe", "name the .toml file in it") from None
    except (OSError, ValueError) as error:
        raise _bad(file, "no-file", f"cannot be read: {getattr(error, 'strerror', None) or error}") from error
    if len(content) > LARGEST:
        raise _bad(file, "too-large", "larger than 1 MiB, which no recipe is", "is this a data file?")
    return content


def _bad(file: Path, code: str, message: str, hint: str | None = None) -> BadDocumentError:
    return BadDocumentError(Problem(code, message, file=str(file), hint=hint))


def parse(text: str) -> dict[str, Any]:
    """The TOML document. Raises BadDocumentError that says where its syntax breaks, or where it goes too far."""
    import tomli

    try:
        document = tomli.loads(text)
    except tomli.TOMLDecodeError as error:
        said = error.msg[:1].lower() + error.msg[1:]
        hint = next((hint for start, hint in SYNTAX_HINTS.items() if said.startswith(start)), None)
        raise BadDocumentError(Problem("syntax", said, hint=hint, line=error.lineno, column=error.colno)) from error
    except RecursionError as error:
        raise BadDocumentError(_too_deep(line=_first_line(text, RecursionError))) from error
    except ValueError as error:  # Python reads no integer of more digits
        said = "an integer of thousands of digits, which nothing here can be"
        raise BadDocumentError(Problem("syntax", said, line=_first_line(text, ValueError))) from error
    if problem := excess(document):
        raise BadDocumentError(problem)
    return document


def excess(value: Any, at: TomlPath = ()) -> Problem | None:
    """What no document has and nobody should wait for: tables in tables without end, or very many values."""
    waiting: list[tuple[TomlPath, Any]] = [(at, value)]
    count = 0
    while waiting:
        path, here = waiting.pop()
        inner = here.items() if isinstance(here, dict) else enumerate(here) if isinstance(here, list) else ()
        members = list(inner)
        if members and len(path) >= DEEPEST:
            return _too_deep(path=path)
        count += len(members)
        if count > MOST_VALUES:
            said = f"more than {MOST_VALUES:,} keys and values, which no recipe has"
            return Problem("too-large", said, path[:1], "is this a data file?")
        waiting += [((*path, place), member) for place, member in members]
    return None


def _too_deep(line: int | None = None, path: TomlPath = ()) -> Problem:
    said = f"nested more than {DEEPEST} levels deep, which nothing here is"
    return Problem("too-deep", said, path, at_key=True, line=line)


def _first_line(text: str, kind: type[Exception]) -> int:
    """The first line whose end a parser does not reach, because of what `tomli` raises instead of a place."""
    import tomli

    lines = text.split("\n")

    def fails(count: int) -> bool:
        try:
            tomli.loads("\n".join(lines[:count]))
        except tomli.TOMLDecodeError:
            return False
        except kind:
            return True
        return False

    return bisect_left(range(len(lines)), True, key=lambda place: fails(place + 1)) + 1


@lru_cache(maxsize=8)
def paths(text: str) -> frozenset[TomlPath]:
    """Every path of a TOML document that parses."""
    return frozenset(_walk(parse(text), ()))


def _walk(value: Any, path: TomlPath) -> Iterator[TomlPath]:
    yield path
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for place, member in inner:
        yield from _walk(member, (*path, place))


def entry_name(table: Any) -> str | None:
    """What an entry of [[score]] or [[compress]] goes by: its `name`, else the component that it uses."""
    if not isinstance(table, dict):
        return None
    name = table.get("name", table.get("use"))
    if not isinstance(name, str):
        return None
    return name if "name" in table else name.rpartition(":")[2]
