r"""What others wrote, made fit for a terminal and a page: no character in it moves a cursor or turns text round.

A title, a file name or a plugin's error may hold escape sequences that clear the screen, retitle the window or hide
what was said before, and marks that show text in another order than it has. Each such character is shown as its number
instead, in the spelling (`\u001b`) that JSON and TOML strings know, so that their values stay what they are.
"""

from __future__ import annotations

import re
import unicodedata

JOINERS = frozenset("\N{ZERO WIDTH NON-JOINER}\N{ZERO WIDTH JOINER}\N{SOFT HYPHEN}")
"""Marks without a shape of their own that words of several languages, and emoji, are spelt with."""

CATEGORIES = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
"""Controls, marks, halves of surrogate pairs, and separators of lines and paragraphs."""

LAYOUT = frozenset("\n\t")

PLAIN = re.compile(r"[\n\t -~]*")


def printable(text: str) -> str:
    """Text whose line ends and tabs are its own, with every other control character shown as its number."""
    return text if PLAIN.fullmatch(text) else "".join(map(_shown, text))


def one_line(text: str) -> str:
    """`printable` on one line: for what stands inside a sentence or a cell, and must not look like the next one."""
    return printable(re.sub(r"[ \t]*[\n\t\r\x0b\x0c][\s]*", " ", text))


def _shown(character: str) -> str:
    if character in LAYOUT or character in JOINERS or unicodedata.category(character) not in CATEGORIES:
        return character
    number = ord(character)
    return f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"
