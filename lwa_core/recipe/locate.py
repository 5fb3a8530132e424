"""Where in a TOML file a path is, and how a problem reads. Imported only once something is wrong."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import attrs

from lwa_core.errors import Problem
from lwa_core.printable import one_line
from lwa_core.recipe.document import DEEPEST
from lwa_core.settings.types import TomlPath

LONGEST_SOURCE = 160

LONGEST_MESSAGE = 2000

MOST_SHOWN = 100
"""Problems that are rendered: nobody mends more at a time."""


@attrs.frozen
class Span:
    """A place in the file: 1-based line and column in characters, and how many characters of that line."""

    line: int
    column: int
    width: int


class Locator:
    """Finds keys and values of one TOML document, also of one that is not quite right.

    What a value holds is looked at only on the way to a place that is asked for: a list may have very many members.
    """

    def __init__(self, text: str) -> None:
        import tree_sitter
        import tree_sitter_toml

        self.lines = [line.rstrip("\r") for line in text.split("\n")]
        self._bytes = [line.encode() for line in self.lines]
        self._keys: dict[TomlPath, Any] = {}
        self._values: dict[TomlPath, Any] = {}
        self._lengths: dict[TomlPath, int] = {}
        self._opened: set[TomlPath] = set()
        parser = tree_sitter.Parser(tree_sitter.Language(tree_sitter_toml.language()))
        self._document(parser.parse(text.encode()).root_node)

    def find(self, path: TomlPath, at_key: bool = False) -> Span:
        """The place of a path or, where that is not in the file, of the innermost table around it."""
        for length in range(1, len(path)):
            self._open(path[:length])
        for length in range(len(path), 0, -1):
            exact = length == len(path)
            here = path[:length]
            found = self._values.get(here) if exact and not at_key else None
            found = found or self._keys.get(here) or self._values.get(here)
            if found is not None:
                return self._span(found)
        return Span(1, 1, 1)

    def source(self, line: int) -> str:
        """The text of a line (1-based)."""
        return self.lines[line - 1] if 0 < line <= len(self.lines) else ""

    def _document(self, root: Any) -> None:
        for node in root.children:
            if node.type == "pair":
                self._pair(node, ())
            elif node.type in ("table", "table_array_element"):
                self._table(node)

    def _table(self, node: Any) -> None:
        header, *body = [child for child in node.children if child.is_named]
        path: TomlPath = ()
        parts = _parts(header)
        for place, (name, key) in enumerate(parts):
            path = (*path, name)
            last = place == len(parts) - 1
            if last and node.type == "table_array_element":
                self._keys.setdefault(path, key)
                self._lengths[path] = self._lengths.get(path, 0) + 1
            if path in self._lengths:
                path = (*path, self._lengths[path] - 1)
            if last or path not in self._keys:
                self._keys[path] = key
        for pair in body:
            if pair.type == "pair":
                self._pair(pair, path)

    def _pair(self, node: Any, table: TomlPath) -> None:
        named = [child for child in node.children if child.is_named]
        path = table
        for name, key in _parts(named[0]):
            path = (*path, name)
            self._keys.setdefault(path, key)
        if len(named) > 1:
            self._values[path] = named[1]

    def _open(self, path: TomlPath) -> None:
        """Look at the members of a list or inline table."""
        node = self._values.get(path)
        if node is None or path in self._opened:
            return
        self._opened.add(path)
        members = [child for child in node.children if child.is_named and child.type != "comment"]
        if node.type == "array":
            self._values |= {(*path, place): member for place, member in enumerate(members)}
        elif node.type == "inline_table":
            for pair in members:
                if pair.type == "pair":
                    self._pair(pair, path)

    def _span(self, node: Any) -> Span:
        row, start = node.start_point
        end_row, end = node.end_point
        line = self._bytes[row]
        end = end if end_row == row else len(line.rstrip())
        column = len(line[:start].decode(errors="replace"))
        return Span(row + 1, column + 1, max(1, len(line[start:end].decode(errors="replace"))))


def _parts(key: Any) -> list[tuple[str, Any]]:
    """The names of a bare, quoted or dotted key, each with its node; no more than a path can be of use for."""
    waiting = [key]
    found: list[tuple[str, Any]] = []
    while waiting and len(found) <= DEEPEST:
        node = waiting.pop()
        if node.type == "dotted_key":
            waiting += [child for child in reversed(node.children) if child.is_named]
        else:
            text = node.text.decode()
            found.append((_unquoted(text) if node.type == "quoted_key" else text, node))
    return found


def _unquoted(key: str) -> str:
    """The name that a quoted key stands for; the key itself where only the parser for places takes it for one."""
    import tomli

    try:
        return next(iter(tomli.loads(f"{key} = 0")))
    except tomli.TOMLDecodeError:
        return key


def locate(problems: Iterable[Problem], text: str, file: str) -> list[Problem]:
    """Give every problem its place in the file, and put them in file order.

    A problem that has a file already (an override's) keeps it, and comes last.
    """
    locator = Locator(text)
    placed = []
    for problem in problems:
        if problem.file is None:
            if problem.line is None:
                span = locator.find(problem.path, problem.at_key)
            else:
                span = Span(problem.line, problem.column or 1, problem.width)
            source = locator.source(span.line)
            problem = attrs.evolve(  # noqa: PLW2901 -- the same problem, now with its place
                problem, file=file, line=span.line, column=span.column, width=span.width, source=source
            )
        placed.append(problem)
    return sorted(placed, key=lambda problem: (problem.line is None, problem.line or 0, problem.column or 0))


def render(problems: Sequence[Problem]) -> str:
    """The problems as text, each `file:line:col: error[code]: message`, the source line, a caret and what to do."""
    lines = [line for problem in problems[:MOST_SHOWN] for line in _rendered(problem)]
    if len(problems) > MOST_SHOWN:
        lines.append(f"… and {len(problems) - MOST_SHOWN:,} more problems")
    return "\n".join(lines)


def _rendered(problem: Problem) -> Iterator[str]:
    file = None if problem.file is None else one_line(problem.file)
    place = "".join(f"{part}:" for part in (file, problem.line, problem.column) if part is not None)
    yield f"{place} {problem.severity}[{problem.code}]: {_cut(problem.message)}".lstrip()
    gutter = ""
    if problem.source is not None and problem.line is not None and problem.column is not None:
        source, column = _window(problem.source, problem.column)
        gutter = " " * (len(str(problem.line)) + 3)
        indent = "".join(_blank(character) for character in source[: column - 1])
        width = sum(len(_blank(character)) for character in source[column - 1 :][: problem.width]) or 1
        yield f"  {problem.line} | {source}"
        yield f"{gutter}| {indent}{'^' * width}"
    if problem.hint:
        yield f"{gutter or '  '}= {_cut(problem.hint)}"


def _cut(text: str) -> str:
    """On one line, and cut: a message that quotes a file may be as long as the file."""
    text = one_line(text)
    return text if len(text) <= LONGEST_MESSAGE else f"{text[:LONGEST_MESSAGE]} …"


def _window(source: str, column: int) -> tuple[str, int]:
    """The part of a line to show, without what would not print, and the column in that part."""
    start = max(0, column - 1 - LONGEST_SOURCE // 2) if len(source) > LONGEST_SOURCE else 0
    part = source[start : start + LONGEST_SOURCE]
    return "".join(c if c.isprintable() or c == "\t" else "\ufffd" for c in part), column - start


def _blank(character: str) -> str:
    """Space as wide as the character is on a terminal."""
    if character == "\t":
        return character
    return "  " if unicodedata.east_asian_width(character) in "WF" else " "
