"""Single moments: dates and milliseconds since 1970 UTC. Recipes are checked with it: it imports nothing large."""

from __future__ import annotations

from datetime import date, datetime, timezone

UNITS = {"s": "seconds", "ms": "milliseconds", "us": "microseconds", "ns": "nanoseconds"}
"""The units that a recipe and a request may name, and what they are called."""

AUTO = "auto"
"""The unit by which the largest number of all lies in the calendar of today."""


def moment(milliseconds: int) -> str:
    """ISO 8601, UTC, to the second where that is exact."""
    found = datetime.fromtimestamp(milliseconds // 1000, tz=timezone.utc).replace(
        microsecond=milliseconds % 1000 * 1000
    )
    return found.isoformat(timespec="milliseconds" if milliseconds % 1000 else "seconds")


def moment_of(text: str) -> int:
    """A date, or date and time, of ISO 8601 -> milliseconds since 1970; UTC where it names no zone.

    Raises:
        ValueError: It is neither.
    """
    try:
        return of_date(datetime.fromisoformat(text.strip().replace("Z", "+00:00")))
    except ValueError as error:
        raise ValueError(f"{text[:40]!r} is no date or time, such as 2014-07-01 or 2014-07-01T12:00:00") from error


def of_date(value: date) -> int:
    """A date, or date and time, -> milliseconds since 1970; UTC where it names no zone."""
    if not isinstance(value, datetime):
        value = datetime(value.year, value.month, value.day)
    aware = value if value.tzinfo is not None else value.replace(tzinfo=timezone.utc)
    since = aware - datetime(1970, 1, 1, tzinfo=timezone.utc)
    return (since.days * 86_400 + since.seconds) * 1000 + round(since.microseconds / 1000)
