"""Raw events, validated and turned into flat integer arrays."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs
import numpy as np
from numpy.typing import NDArray

from lwa_core.data.dataset import Int64, Step
from lwa_core.errors import DataError

if TYPE_CHECKING:
    import polars

    from lwa_core.data.source import Source

MILLISECONDS_FROM = 100_000_000_000
"""A timestamp above this counts milliseconds: as seconds it would lie after the year 5138."""


@attrs.frozen(eq=False)
class Events:
    """Events as three parallel arrays.

    Args:
        users: Row of each event's user in `user_ids` (events,).
        items: Row of each event's item in `item_ids` (events,).
        times: Milliseconds since 1970 UTC (events,), or None where the data has no timestamps.
        user_ids: Original ids, in the order of `sorted_ids`.
        item_ids: Original ids, in the order of `sorted_ids`.
    """

    users: Int64
    items: Int64
    times: Int64 | None
    user_ids: tuple[str, ...]
    item_ids: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.users)

    def take(self, rows: NDArray[np.bool_] | Int64) -> Events:
        """The events at these rows, ids left as they are."""
        times = None if self.times is None else self.times[rows]
        return attrs.evolve(self, users=self.users[rows], items=self.items[rows], times=times)

    def compact(self) -> Events:
        """The same events with just the ids that still occur, in the same order."""
        users, user_ids = _compact(self.users, self.user_ids)
        items, item_ids = _compact(self.items, self.item_ids)
        return Events(users, items, self.times, user_ids, item_ids)

    def step(self, name: str) -> Step:
        """What is left, as the account of step `name`."""
        users = np.count_nonzero(np.bincount(self.users, minlength=1))
        items = np.count_nonzero(np.bincount(self.items, minlength=1))
        return Step(name, len(self), int(users), int(items))


@attrs.frozen(eq=False)
class Cleaned:
    """Valid events and the account of what was left out or rewritten on the way."""

    events: Events
    steps: tuple[Step, ...]
    dropped: dict[str, int]
    milliseconds: int
    unrated: int


def clean(source: Source, min_rating: float | None, *, need_timestamps: bool) -> Cleaned:
    """Collect the events of a source, leave out what has no user, item or timestamp, apply `min_rating`.

    Rows are counted by the rule that left them out. A row without a rating is left out only where `min_rating` has to
    compare it. Raises DataError for a source without the columns that are needed, and for one without any valid event.
    """
    import polars as pl

    frame = _collect(source, min_rating, need_timestamps)
    if frame.height == 0:
        raise DataError("the data holds no events", hint="is it the right file, with rows after its header?")
    steps = [_step("read", frame)]
    frame, dropped = _drop_incomplete(frame)
    if frame.height == 0:
        rules = ", ".join(f"{count} {rule}" for rule, count in dropped.items())
        raise DataError(f"no valid event is left: {rules}", hint="check the names of the columns")
    steps.append(_step("valid", frame) if dropped else attrs.evolve(steps[0], name="valid"))
    unrated = int(frame["rating"].is_null().sum()) if "rating" in frame.columns else 0
    if min_rating is not None:
        if unrated:
            dropped["rows without a rating"] = unrated
        frame = frame.filter(pl.col("rating") >= min_rating)
        if frame.height == 0:
            raise DataError(f"no event is rated at least {min_rating:g}", hint="lower filter.min_rating")
        steps.append(_step("min_rating", frame))
    times, milliseconds = _milliseconds(frame)
    user_ids, users = _encode(frame["user"])
    item_ids, items = _encode(frame["item"])
    events = Events(users, items, times, user_ids, item_ids)
    return Cleaned(events, tuple(steps), dropped, milliseconds, unrated)


def _compact(codes: Int64, ids: tuple[str, ...]) -> tuple[Int64, tuple[str, ...]]:
    present = np.bincount(codes, minlength=len(ids)) > 0
    places = np.cumsum(present) - 1
    return places[codes], tuple(ids[row] for row in np.flatnonzero(present))


def sorted_ids(ids: polars.Series) -> polars.Series:
    """Distinct ids in an order that does not depend on the file: by value if all are whole numbers, else by text."""
    import polars as pl

    distinct = ids.unique()
    if bool(distinct.str.contains(r"^[0-9]{1,18}$").all()):
        # "07" and "7" are two ids of one value: the text settles their order.
        return distinct.to_frame("id").sort(pl.col("id").cast(pl.Int64), pl.col("id"))["id"]
    return distinct.sort()


def _collect(source: Source, min_rating: float | None, need_timestamps: bool) -> polars.DataFrame:
    """Just the columns that are used, with their canonical types, in the order of the file."""
    import polars as pl

    schema = source.events.collect_schema()
    for name in ("user", "item"):
        if name not in schema:
            raise DataError(f"the events have no column {name!r}, just {', '.join(schema.names()) or 'none'}")
    if min_rating is not None and "rating" not in schema:
        hint = "leave filter.min_rating out, or name the column that holds the ratings"
        raise DataError("filter.min_rating is set, but the data has no ratings", hint=hint)
    if need_timestamps and "timestamp" not in schema:
        hint = 'use split.by = "leave-one-out", or name the column that holds the timestamps'
        raise DataError("a split by time needs timestamps, and the data has none", hint=hint)
    if source.order == "timestamp" and "timestamp" not in schema:
        raise DataError(
            "the events have no column 'timestamp' to be ordered by", hint="the source may set order='file'"
        )
    columns = [_text(name, schema[name]) for name in ("user", "item")]
    columns += [_number(name, schema[name]) for name in ("rating", "timestamp") if name in schema]
    try:
        return source.events.select(columns).collect()
    except pl.exceptions.PolarsError as error:
        # A reader checks what it reads; a lazy one can still meet damage further on.
        raise DataError(f"the events cannot be read: {error}".splitlines()[0]) from error


def _text(name: str, dtype: polars.DataType) -> polars.Expr:
    import polars as pl

    column = pl.col(name)
    if dtype == pl.String:
        return column
    if dtype.is_integer() or isinstance(dtype, (pl.Categorical, pl.Enum)):
        return column.cast(pl.String)
    raise DataError(f"column {name!r} holds {dtype}; ids must be text or whole numbers")


def _number(name: str, dtype: polars.DataType) -> polars.Expr:
    """A number whose NaN and infinities are null."""
    import polars as pl

    if not dtype.is_numeric():
        raise DataError(f"column {name!r} holds {dtype}, not numbers")
    if dtype.is_integer():
        return pl.col(name)
    return pl.when(pl.col(name).is_finite()).then(pl.col(name))


def _drop_incomplete(frame: polars.DataFrame) -> tuple[polars.DataFrame, dict[str, int]]:
    import polars as pl

    dropped = {}
    for name in ("user", "item", "timestamp"):
        if name not in frame.columns:
            continue
        present = pl.col(name).is_not_null()
        if name != "timestamp":
            present &= pl.col(name) != ""
        kept = frame.filter(present)
        if kept.height < frame.height:
            article = "an" if name == "item" else "a"
            dropped[f"rows without {article} {name}"] = frame.height - kept.height
        frame = kept
    return frame, dropped


def _milliseconds(frame: polars.DataFrame) -> tuple[Int64 | None, int]:
    """Timestamps in milliseconds, and how many came so already.

    Milliseconds inside, so that data which has them keeps the order that they give.
    """
    if "timestamp" not in frame.columns:
        return None, 0
    raw = frame["timestamp"].to_numpy()
    already = raw > MILLISECONDS_FROM
    times = np.where(already, raw, raw * 1000)
    if times.max() > MILLISECONDS_FROM * 1000:
        hint = "timestamps are seconds or milliseconds since 1970"
        raise DataError(f"timestamp {raw.max()} is too large", hint=hint)
    return np.rint(times).astype(np.int64), int(np.count_nonzero(already))


def _encode(ids: polars.Series) -> tuple[tuple[str, ...], Int64]:
    import polars as pl

    ordered = sorted_ids(ids)
    codes = ids.cast(pl.Enum(ordered)).to_physical().cast(pl.Int64).to_numpy()
    return tuple(ordered.to_list()), codes


def _step(name: str, frame: polars.DataFrame) -> Step:
    """Nulls are neither a user nor an item."""
    return Step(name, frame.height, *(frame[column].drop_nulls().n_unique() for column in ("user", "item")))
