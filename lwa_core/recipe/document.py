"""A recipe's file as text and as a TOML document, before anything in it is understood."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

from lwa_core.errors import Problem
from lwa_core.settings.types import TomlPath

LARGEST = 1 << 20
"""Bytes. What is larger is data that was named by mistake."""

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
    """The TOML document. Raises BadDocumentError that says where its syntax breaks."""
    import tomli

    try:
        return tomli.loads(text)
    except tomli.TOMLDecodeError as error:
        said = error.msg[:1].lower() + error.msg[1:]
        hint = next((hint for start, hint in SYNTAX_HINTS.items() if said.startswith(start)), None)
        raise BadDocumentError(Problem("syntax", said, hint=hint, line=error.lineno, column=error.colno)) from error
    except (ValueError, RecursionError) as error:  # an integer of thousands of digits; brackets nested without end
        raise BadDocumentError(Problem("syntax", f"no TOML that can be read: {error}")) from error


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
