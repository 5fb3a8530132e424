"""The project's documents, taken apart: code blocks, inline code, links, headings."""

from __future__ import annotations

import re
from pathlib import Path

import attrs

ROOT = Path(__file__).parents[2]
PLACES = ("*.md", "docs/*.md", "examples/*/*.md", "benchmarks/*.md", "benchmarks/*/*.md")
DOCUMENTS = [file for place in PLACES for file in sorted(ROOT.glob(place))]

FENCE = re.compile(r"^( *)```(\w*)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)


@attrs.frozen
class Block:
    """One fenced block: where it is, its language, its text."""

    file: Path
    line: int
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.file.relative_to(ROOT)}:{self.line}"


def blocks(language: str, file: Path | None = None) -> list[Block]:
    """All blocks of a language, in one document or in all."""
    return [
        block
        for document in ([file] if file else DOCUMENTS)
        for block in _blocks(document)
        if block.language == language
    ]


def _blocks(file: Path) -> list[Block]:
    text = file.read_text("utf-8")
    found = []
    for match in FENCE.finditer(text):
        indent, language, body = match.groups()
        inner = "".join(line.removeprefix(indent) for line in body.splitlines(keepends=True))
        found.append(Block(file, text.count("\n", 0, match.start()) + 1, language, inner))
    return found


def prose(file: Path) -> str:
    """A document without its fenced blocks."""
    return FENCE.sub("", file.read_text("utf-8"))


def anchors(file: Path) -> set[str]:
    """The anchors that GitHub makes of a document's headings."""
    found: set[str] = set()
    for heading in re.findall(r"^#+ (.+)$", prose(file), re.MULTILINE):
        plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading)
        slug = re.sub(r"[^\w\- ]", "", plain.lower()).strip().replace(" ", "-")
        number = 1
        unique = slug
        while unique in found:
            unique, number = f"{slug}-{number}", number + 1
        found.add(unique)
    return found
