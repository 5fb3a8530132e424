"""What a dataset plugin returns: raw events and items as polars frames."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    import polars


@attrs.frozen(eq=False)
class Source:
    """Raw events and items, before any filter.

    Args:
        events: One row per interaction, in the order of the file. Columns `user` and `item` (text, whole numbers or
            categories: what counts is the text that they stand for); where the data has them `rating` (number) and
            `timestamp` (numbers since 1970 UTC, or dates and times); in data that comes split, `part` (`"train"`,
            `"validation"` or `"test"`). Further columns are ignored. A lazy frame: it is collected by the streaming
            engine.
        items: One row per item the data knows something about, or None. Columns `item` (string, unique); where known
            `title` (string) and `categories` (list of strings).
        order: What orders the events of a user: `"timestamp"` (ties keep the order of the file) or `"file"`.
        dropped: Rows that the reader left out by a documented rule, by rule, for example `{"rows without a user": 3}`.
        time_unit: What numbers in `timestamp` count: `"s"`, `"ms"`, `"us"`, `"ns"`; `"auto"`: the largest of all says.
        notes: Facts about the data that a report must repeat (a synthetic source says so here).
    """

    events: polars.LazyFrame
    items: polars.DataFrame | None = None
    order: str = "timestamp"
    dropped: Mapping[str, int] = attrs.field(factory=dict)
    notes: tuple[str, ...] = ()
    time_unit: str = "auto"
