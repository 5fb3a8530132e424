"""Bytes that are no plain text: UTF-16, another encoding, control characters, line ends of another kind."""

from __future__ import annotations

from lwa_core import is_utf_16, utf_8_fault

CONTROLS = bytes({*range(32), 127} - {*b"\t\n\v\f\r"})
"""Characters that no text file holds, and a damaged or binary one does."""

CARRIAGE_RETURN = "a carriage return stands inside this line"
LINE_ENDS = "lines end in \\n or \\r\\n; `tr '\\r' '\\n'` makes such ends of single carriage returns"

CHECK = "`python -m json.tool FILE` checks a whole file"
"""What to do about JSON that is none."""


def text_fault(
    data: bytes, *, encoding: str, first: bool, returns: bool, separator: str
) -> tuple[int, str, str] | None:
    """Where these bytes are no text, what is wrong there, and what to do; None where nothing is.

    Args:
        data: Some whole lines, each with its end.
        encoding: `utf-8` or `latin-1`.
        first: Whether the file begins with them.
        returns: Whether a carriage return may stand in a line, as it may in quotes.
        separator: Of fields, which may be a control character.
    """
    if encoding == "utf-8" or (first and is_utf_16(data)):
        fault = utf_8_fault(data, first=first)
        if fault is not None:
            return fault
    unwanted = CONTROLS.replace(separator.encode(), b"")
    if len(data.translate(None, unwanted)) < len(data):
        place = next(place for place, byte in enumerate(data) if byte in unwanted)
        hint = "is it a text file? `tr -d '\\000-\\010\\016-\\037\\177'` leaves such characters out"
        return place, f"holds a control character (byte {data[place]:#04x})", hint
    if not returns and (place := data.find(b"\r")) >= 0:
        return place, CARRIAGE_RETURN, LINE_ENDS
    return None
