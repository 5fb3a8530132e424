"""What a frame says, read again in plain Python from the values that it was made of: slow, and easy to be sure of."""

import datetime as dt
import math
from collections import Counter
from decimal import Decimal
from fractions import Fraction

from frame_columns import Moment

from lwa_core import DataError
from lwa_core.data import spell_id

UNITS = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
LIMITS = {"s": 10**11, "ms": 10**14, "us": 10**17}
EPOCH = dt.datetime(1970, 1, 1)


class NotReadError(Exception):
    """The frame holds what is no event, and has to be refused."""


class UnclearError(Exception):
    """What this reading does not know: nothing is compared."""


def gap(value):
    missing = value is None or type(value).__name__ in ("NAType", "NaTType")
    return missing or (isinstance(value, float) and math.isnan(value))


def identity(value):
    if gap(value):
        return None
    try:
        return spell_id(value) or None
    except DataError as error:
        raise NotReadError(error.message) from error


def number(value):
    """An exact number; None where it is missing or not finite."""
    if gap(value):
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float, Decimal)):
        raise UnclearError(type(value).__name__)
    return Fraction(value) if math.isfinite(value) else None


def written(value):
    """A time that is text."""
    text = value.strip()
    if not text:
        return None
    try:
        return number(float(text) if set(text) - set("-0123456789") else int(text))
    except ValueError:
        pass
    try:
        return Moment(dt.datetime.fromisoformat(text))
    except ValueError as error:
        raise UnclearError(text) from error


def exact(value):
    """A time as a number, or as nanoseconds since 1970 with `True`; None where it is missing."""
    if gap(value):
        return None, False
    if isinstance(value, str):
        value = written(value)
    if type(value) is dt.date:
        value = Moment(dt.datetime(value.year, value.month, value.day))
    if not isinstance(value, Moment):
        return (None, False) if value is None else (number(value), False)
    moment = value.value
    if moment.tzinfo is not None:
        moment = moment.astimezone(dt.timezone.utc).replace(tzinfo=None)
    since = moment - EPOCH
    return Fraction((since.days * 86_400 + since.seconds) * 10**9 + since.microseconds * 1000), True


def milliseconds(times, unit):
    """Times of the rows that count -> milliseconds since 1970."""
    kinds = {dated for _, dated in times}
    if kinds == {True}:
        return [value / 10**6 for value, _ in times]
    if len(kinds) > 1:
        raise UnclearError("numbers and dates mixed")
    largest = max(abs(value) for value, _ in times)
    if unit == "auto":
        unit = next((name for name, limit in LIMITS.items() if largest <= limit), "ns")
    return [value * 1000 / UNITS[unit] for value, _ in times]


def unrolled(columns):
    """One row for each item of the rows that hold lists."""
    if not any(isinstance(value, list) for value in columns["item"]):
        return columns
    found = {role: [] for role in columns}
    for row, listed in enumerate(columns["item"]):
        items = [None] if listed is None else listed
        if not items:
            raise UnclearError("a row without events, which may hold what would be refused")
        for role, values in columns.items():
            own = values[row] if isinstance(values[row], list) and role != "user" else [values[row]] * len(items)
            own = items if role == "item" else own
            if len(own) != len(items):
                raise NotReadError("lists of several lengths")
            found[role] += own
    return found


def core(events, users, items):
    while True:
        by_user, by_item = Counter(e[0] for e in events), Counter(e[1] for e in events)
        kept = [e for e in events if by_user[e[0]] >= users and by_item[e[1]] >= items]
        if len(kept) == len(events):
            return kept
        events = kept


def read(columns, settings):
    """Rows, rows that hold an event, and each user's `(item, milliseconds)` in order.

    Args:
        columns: Role -> plain values (rows,).
        settings: `time_unit`, `duplicates`, `min_rating`, `user_core` and `item_core`.
    """
    columns = unrolled(columns)
    users, items = ([identity(value) for value in columns[role]] for role in ("user", "item"))
    rows = range(len(users))
    times = [exact(value) for value in columns["timestamp"]] if "timestamp" in columns else None
    ratings = [number(value) for value in columns["rating"]] if "rating" in columns else None
    valid = [r for r in rows if None not in (users[r], items[r]) and (times is None or times[r][0] is not None)]
    least = settings["min_rating"]
    kept = [r for r in valid if least is None or (ratings[r] is not None and ratings[r] >= least)]
    if not kept:
        raise NotReadError("nothing is left")
    when = [None] * len(kept)
    if times is not None:
        when = milliseconds([times[r] for r in kept], settings["time_unit"])
        order = sorted(range(len(kept)), key=when.__getitem__)
        kept, when = [kept[place] for place in order], [when[place] for place in order]
    events = [(users[r], items[r], moment) for r, moment in zip(kept, when, strict=True)]
    if settings["duplicates"] != "all":
        way = -1 if settings["duplicates"] == "last" else 1
        one = {}
        for event in events[::way]:
            one.setdefault(event[:2], event)
        events = [*one.values()][::way]
    sequences = {}
    for user, item, moment in core(events, settings["user_core"], settings["item_core"]):
        sequences.setdefault(user, []).append((item, moment))
    return len(users), len(valid), sequences
