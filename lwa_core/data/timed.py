"""Histories that know when each event was, for recommenders that ask for it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from lwa_core.errors import LwaError

MILLISECONDS_FROM = 100_000_000_000
"""A timestamp above this counts milliseconds: as seconds it would lie after the year 5138."""


LARGEST = MILLISECONDS_FROM * 1000
"""In milliseconds the year 5138, as far from 1970 as times can be told."""


class TimedHistory(np.ndarray[Any, np.dtype[np.int32]]):
    """Item indices, oldest first (events,), and `times`, milliseconds since 1970 UTC (events,), int64.

    A part of it has its part of the times; what is computed from it is a plain array.
    """

    times: NDArray[np.int64] | None = None

    def __new__(cls, items: NDArray[np.int32], times: NDArray[np.int64]) -> TimedHistory:
        if len(items) != len(times):
            raise ValueError(f"{len(times)} times for {len(items)} items")
        made = np.asarray(items, dtype=np.int32).view(cls)
        made.times = times
        return made

    def __array_wrap__(self, array: Any, context: Any = None, return_scalar: bool = False) -> Any:
        return np.asarray(array)[()] if return_scalar else np.asarray(array)

    def __getitem__(self, key: Any) -> Any:
        part = super().__getitem__(key)
        if isinstance(part, TimedHistory) and self.times is not None:
            part.times = self.times[key]
        return part


@runtime_checkable
class UsesTimes(Protocol):
    """What a recommender has besides that looks at the times of events."""

    @property
    def uses_times(self) -> bool:
        """Whether its histories are to be `TimedHistory`s; it then gets only data that has times."""


def asks_for_times(recommender: object) -> bool:
    """Whether a recommender's histories are to be `TimedHistory`s."""
    return isinstance(recommender, UsesTimes) and bool(recommender.uses_times)


def milliseconds(times: Sequence[float]) -> NDArray[np.int64]:
    """Times of a history, oldest first, in seconds or milliseconds since 1970 UTC -> milliseconds.

    Raises:
        LwaError: One is no finite number, or lies before the one before it.
    """
    if isinstance(times, (str, bytes, Mapping)) or not isinstance(times, Iterable):
        raise LwaError(f"the times of a history are a list of numbers, not a {type(times).__name__}")
    times = list(times)
    for value in times:
        # Neither NaN nor an infinity nor an integer that no float holds passes the comparison.
        if isinstance(value, bool) or not isinstance(value, (int, float, np.number)) or not abs(value) <= LARGEST:
            raise LwaError(f"a time is a number of seconds or milliseconds since 1970, not {_shown(value)}")
    raw = np.array(times, dtype=np.float64)
    found = np.rint(np.where(raw > MILLISECONDS_FROM, raw, raw * 1000)).astype(np.int64)
    if (np.diff(found) < 0).any():
        raise LwaError("the times of a history fall", "give the oldest event first")
    return found


def _shown(value: object) -> str:
    """Python refuses to write an integer of more than 4,300 digits."""
    return "an integer of very many digits" if isinstance(value, int) and value.bit_length() > 128 else f"{value!r:.40}"
