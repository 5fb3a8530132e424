"""JSON that somebody else wrote: read strictly, and everything wrong with it said in words.

The standard library reads more than JSON (NaN, half of a surrogate pair) and fails on some of it in ways of its own
(brackets nested without end, integers of thousands of digits); what it lets through breaks later, where nobody knows
the file any more.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from typing import Any, NoReturn

DEEPEST = 100
"""Lists and objects inside each other. Python reads a thousand, and then has no room left to go through them."""


class BadJsonError(ValueError):
    """Why a text is no JSON, in words that follow the name of its place, and maybe what to do.

    `line` counts from 1 inside the text.
    """

    def __init__(self, message: str, line: int = 1, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.line = line
        self.hint = hint


def parse_json(text: str | bytes, *, missing: bool = False, unique: bool = False) -> Any:
    """The value of a JSON text in UTF-8.

    Args:
        text: The text; a byte-order mark in front of bytes is left out.
        missing: Whether NaN and infinities may stand for numbers that are missing, as Python and pandas write them.
        unique: Whether an object that gives a name two values is refused; else the last one counts.

    Raises:
        BadJsonError: It is no JSON, or nothing that a program could go on with.
    """
    written = _decoded(text)
    try:
        value = json.loads(
            written,
            parse_constant=None if missing else _refuse,
            parse_float=None if missing else _finite,
            object_pairs_hook=_once if unique else None,
        )
    except json.JSONDecodeError as error:
        if _open_at(written, error.pos) > DEEPEST:  # which some versions of Python fail at sooner, and others later
            raise _too_deep() from error
        raise BadJsonError(f"is not JSON: {error.msg} at column {error.colno}", error.lineno) from error
    except RecursionError as error:
        raise _too_deep() from error
    except BadJsonError:
        raise
    except ValueError as error:  # Python reads no integer of more digits
        raise BadJsonError("holds an integer of thousands of digits") from error
    if written.count("[") + written.count("{") > DEEPEST:
        _check_depth(value)
    if "\\ud" in written or "\\uD" in written:
        _check_pairs(value)
    return value


def _decoded(text: str | bytes) -> str:
    if isinstance(text, bytes):
        if fault := utf_8_fault(text):
            place, message, hint = fault
            raise BadJsonError(message, text.count(b"\n", 0, place) + 1, hint)
        return text.decode("utf-8-sig")
    try:
        _ = text.isascii() or text.encode()
    except UnicodeEncodeError as error:
        raise BadJsonError("is not UTF-8 text") from error
    return text


def utf_8_fault(data: bytes, *, first: bool = True) -> tuple[int, str, str] | None:
    """Where bytes are no text in UTF-8, what is wrong there, and what to do; None where nothing is.

    Args:
        data: The bytes.
        first: Whether a text begins with them, so that they show whether it is UTF-16.
    """
    if first and is_utf_16(data):
        return 0, "is UTF-16 text, and UTF-8 is needed", "convert it, for example with `iconv -f utf-16 -t utf-8`"
    try:
        _ = data.isascii() or data.decode()
    except UnicodeDecodeError as error:
        hint = "convert it, for example with `iconv -f latin1 -t utf-8`"
        return error.start, f"is not UTF-8 text (byte {data[error.start]:#04x})", hint
    return None


def is_utf_16(data: bytes) -> bool:
    """Whether bytes are text in UTF-16, by its mark of byte order, or by a NUL beside every letter of ASCII."""
    begin = data[:4096]
    return begin.startswith((b"\xff\xfe", b"\xfe\xff")) or 3 * begin.count(0) > len(begin)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """The pairs as an object. Raises BadJsonError where it would hold one of two values."""
    found = dict(pairs)
    if len(found) < len(pairs):
        twice = Counter(name for name, _ in pairs).most_common(1)[0][0]
        raise BadJsonError(f"names {twice[:40]!r} twice in one object", hint="only one of the two values would count")
    return found


def _refuse(constant: str) -> NoReturn:
    raise BadJsonError(f"holds {constant}, which JSON does not have")


def _finite(digits: str) -> float:
    number = float(digits)
    if not math.isfinite(number):
        raise BadJsonError(f"holds a number that is too large: {digits[:20]}")
    return number


def _check_depth(value: Any) -> None:
    level = [value]
    for _ in range(DEEPEST):
        inner = [member.values() if isinstance(member, dict) else member for member in level]
        level = [each for members in inner for each in members if isinstance(each, (dict, list))]
        if not level:
            return
    raise _too_deep()


def _open_at(text: str, end: int) -> int:
    """How many brackets are open at a place, if none stands in a string."""
    before = text[:end]
    return before.count("[") + before.count("{") - before.count("]") - before.count("}")


def _too_deep() -> BadJsonError:
    return BadJsonError(f"is nested more than {DEEPEST} levels deep")


def _check_pairs(value: Any) -> None:
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        raise BadJsonError("holds half of a surrogate pair (\\ud800 to \\udfff), which is no character") from error
