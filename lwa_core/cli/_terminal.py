"""The one place where text goes to stdout and stderr. What others wrote passes it without control characters."""

from __future__ import annotations

import json
import sys
from typing import Any

import click

from lwa_core.printable import one_line, printable


def echo(text: str = "", *, err: bool = False, nl: bool = True) -> None:
    """Print text, on stderr with `err`; line ends and tabs stay, other control characters are shown as numbers."""
    click.echo(_encodable(printable(text), err), err=err, nl=nl)


def say(text: str, *, err: bool = False) -> None:
    """`echo` of one line, whatever line ends somebody's words hold."""
    echo(one_line(text), err=err)


def print_json(value: Any, *, indent: int | None = 2) -> None:
    """JSON on stdout: its value is exact, and what a terminal would obey is escaped in it."""
    text = json.dumps(value, indent=indent, ensure_ascii=False, allow_nan=False)
    if _encodable(printable(text), err=False) != text:
        text = "".join(c if printable(c) == _encodable(c, err=False) == c else json.dumps(c)[1:-1] for c in text)
    click.echo(text)


def _encodable(text: str, err: bool) -> str:
    """Text that the stream can take: under a locale without UTF-8, other letters are shown as numbers too."""
    encoding = getattr(sys.stderr if err else sys.stdout, "encoding", None) or "utf-8"
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        return text.encode(encoding, "backslashreplace").decode(encoding)
    return text
