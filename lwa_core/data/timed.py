"""Histories that know when each event was, for recommenders that ask for it."""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray


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
