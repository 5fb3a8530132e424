"""What a request says, checked as strictly as the data was."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import attrs
import numpy as np

from lwa_core.data.clock import history_milliseconds
from lwa_core.data.ids import shown, spell_id
from lwa_core.data.moments import AUTO
from lwa_core.data.timed import TimedHistory
from lwa_core.errors import DataError, LwaError
from lwa_core.types import History

MODES = ("fast", "balanced", "accurate")


@attrs.frozen
class Context:
    """Where an answer is for, and how good or fast it is to be."""

    device: str | None = None
    mode: str = "balanced"


def read_context(context: Any) -> Context:
    """What a request says besides its history. Raises LwaError where it is nothing that there is."""
    if context is None:
        return Context()
    if not isinstance(context, Mapping):
        raise LwaError(f"a context is a mapping, not {type(context).__qualname__}", "write {'mode': 'fast'}")
    unknown = [key for key in context if key not in ("device", "mode")]
    if unknown:
        raise LwaError(f"a context has no {shown(unknown[0])}", "it has: device, mode")
    device, mode = context.get("device"), context.get("mode", "balanced")
    if device is not None and (not isinstance(device, str) or not device.strip()):
        raise LwaError(f"the device of a context is a name, not {shown(device)}")
    if not isinstance(mode, str) or mode not in MODES:
        raise LwaError(f"there is no mode {shown(mode)}", f"there are: {', '.join(MODES)}")
    return Context(device, mode)


def read_history(
    history: Any, index: Mapping[str, int], times: Any = None, unit: str = AUTO
) -> tuple[History, tuple[str, ...]]:
    """The known items of a history, oldest first, with their times where there are any; and the ids that are unknown.

    Args:
        history: Item ids, by the rule of `lwa_core.data.spell_id`.
        index: Item id -> index.
        times: When each event was; None: the model does not look at times.
        unit: Of times that are numbers.

    Raises:
        LwaError: It is no list, or holds what is no id, or there are more or fewer times than items, or they fall.
    """
    ids = spelled(history, "a history")
    found = [index.get(item) for item in ids]  # once each: an index of many items is halved for every one
    places = [place for place, item in enumerate(found) if item is not None]
    known: History = np.array([found[place] for place in places], dtype=np.int32)
    if times is not None:
        told = history_milliseconds(times, unit)
        if len(told) != len(ids):
            raise LwaError(f"{len(told)} times for a history of {len(ids)} items")
        known = TimedHistory(known, told[places])
    return known, tuple(name for name, item in zip(ids, found, strict=True) if item is None)


def read_items(items: Any, index: Mapping[str, int], what: str) -> tuple[History, list[str]]:
    """Indices of items that a request names, each once and in order, and the ids that are unknown.

    Raises:
        LwaError: They are no list, or one is no id.
    """
    ids = list(dict.fromkeys(spelled(items, what)))
    found = [index.get(item) for item in ids]
    known = np.array([item for item in found if item is not None], dtype=np.int32)
    return known, [name for name, item in zip(ids, found, strict=True) if item is None]


def spelled(items: Any, what: str) -> list[str]:
    """The texts of a list of item ids. Raises LwaError, with the place in the list."""
    if isinstance(items, (str, bytes)):
        raise LwaError(f"{what} is a list of item ids, not one string: {items[:40]!r}")
    if not isinstance(items, Iterable) or isinstance(items, (Mapping, set, frozenset)) or hasattr(items, "columns"):
        kind = "null" if items is None else type(items).__qualname__
        raise LwaError(f"{what} is a list of item ids, oldest first, not {kind}")
    try:
        values = list(items)
    except TypeError as error:  # an array or tensor without a dimension
        raise LwaError(f"{what} is a list of item ids, not one number: {shown(items)}") from error
    found = []
    for place, item in enumerate(values):
        try:
            found.append(spell_id(item))
        except DataError as error:
            raise LwaError(f"{what}, item {place}: {error.message}", error.hint) from error
    return found


def read_count(k: Any, most: int) -> int:
    """How many items are asked for, no more than there are. Raises LwaError where `k` is no whole number above 0."""
    if isinstance(k, bool) or not isinstance(k, (int, np.integer)):
        what = "null" if k is None else f"{type(k).__qualname__} {shown(k)}"
        raise LwaError(f"k is a whole number of at least 1, not {what}")
    if k < 1:
        raise LwaError(f"k must be at least 1, not {shown(k)}")
    return min(int(k), most)


def read_many(histories: Any, times: Any) -> tuple[list[Any], Sequence[Any] | None]:
    """Histories and their times as lists. Raises LwaError where there are more of the one than of the other."""
    asked = listed(histories, "histories")
    if times is None:
        return asked, None
    when = listed(times, "times")
    if len(when) != len(asked):
        raise LwaError(f"times of {len(when)} histories for {len(asked)} histories")
    return asked, when


def listed(several: Any, what: str) -> list[Any]:
    """One entry for each request. Raises LwaError where it is no list of them."""
    columns = isinstance(several, (str, bytes, Mapping)) or hasattr(several, "columns")
    if columns or not isinstance(several, Iterable):
        raise LwaError(f"{what} are a list, one for each request, not {type(several).__qualname__}")
    return list(several)
