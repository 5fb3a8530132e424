"""Raw events, validated and turned into flat integer arrays."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import attrs
import numpy as np
from numpy.typing import NDArray

from lwa_core.data.arrays import Int32, Int64
from lwa_core.data.coding import number_ids
from lwa_core.data.dataset import Step
from lwa_core.data.engine import polars_faults
from lwa_core.data.grouping import counts, slices
from lwa_core.data.timed import MILLISECONDS_FROM
from lwa_core.errors import DataError

if TYPE_CHECKING:
    import polars

    from lwa_core.data.source import Source


@attrs.frozen(eq=False)
class Events:
    """Events as three parallel arrays.

    Args:
        users: Row of each event's user in `user_ids` (events,), int32.
        items: Row of each event's item in `item_ids` (events,), int32.
        times: Milliseconds since 1970 UTC (events,), or None where the data has no timestamps.
        user_ids: Original ids, in an order that does not depend on the file: by value if all are whole numbers, else by
            text.
        item_ids: Likewise.
    """

    users: Int32
    items: Int32
    times: Int64 | None
    user_ids: tuple[str, ...]
    item_ids: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.users)

    def take(self, rows: NDArray[np.bool_] | NDArray[np.signedinteger]) -> Events:
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
        users = np.count_nonzero(counts(self.users, len(self.user_ids)))
        items = np.count_nonzero(counts(self.items, len(self.item_ids)))
        return Step(name, len(self), int(users), int(items))


@attrs.frozen(eq=False)
class Cleaned:
    """The account of what was left out or rewritten on the way to valid events."""

    steps: tuple[Step, ...]
    dropped: dict[str, int]
    milliseconds: int
    unrated: int


def clean(source: Source, min_rating: float | None, *, need_timestamps: bool) -> tuple[Events, Cleaned]:
    """Collect the events of a source, leave out what has no user, item or timestamp, apply `min_rating`.

    Rows are counted by the rule that left them out. A row without a rating is left out only where `min_rating` has to
    compare it. Raises DataError for a source without the columns that are needed, and for one without any valid event.
    """
    frame = _collect(source, min_rating, need_timestamps)
    if frame.height == 0:
        raise DataError("the data holds no events", hint="is it the right file, with rows after its header?")
    users, items = (_Ids(*number_ids(frame[name])) for name in ("user", "item"))
    steps = [_step("read", users, items, None)]
    kept, dropped = _complete(frame, {"user": users, "item": items})
    if not kept.any():
        rules = ", ".join(f"{count} {rule}" for rule, count in dropped.items())
        raise DataError(f"no valid event is left: {rules}", hint="check the names of the columns")
    steps.append(_step("valid", users, items, kept) if dropped else attrs.evolve(steps[0], name="valid"))
    unrated = _count(kept & ~frame["rated"].to_numpy()) if "rated" in frame.columns else 0
    if min_rating is not None:
        if unrated:
            dropped["rows without a rating"] = unrated
        kept &= frame["enough"].to_numpy()
        if not kept.any():
            raise DataError(f"no event is rated at least {min_rating:g}", hint="lower filter.min_rating")
        steps.append(_step("min_rating", users, items, kept))
    rows = None if kept.all() else kept
    times, milliseconds = _milliseconds(frame["timestamp"], rows) if "timestamp" in frame.columns else (None, 0)
    (user_codes, user_ids), (item_codes, item_ids) = users.ordered(rows), items.ordered(rows)
    events = Events(user_codes, item_codes, times, user_ids, item_ids)
    return events, Cleaned(tuple(steps), dropped, milliseconds, unrated)


@attrs.frozen(eq=False)
class _Ids:
    """The id of every row, as a place among the distinct ones; -1 for null."""

    codes: Int32
    distinct: polars.Series

    def missing(self) -> NDArray[np.bool_]:
        """Rows without an id, or with an empty one (rows,)."""
        empty = self.distinct.index_of("") if len(self.distinct) else None
        missing = self.codes < 0
        return missing if empty is None else missing | (self.codes == empty)

    def present(self, rows: NDArray[np.bool_] | None) -> NDArray[np.bool_]:
        """Which of the distinct ids occur in these rows (ids,)."""
        if rows is None:
            return np.ones(len(self.distinct), dtype=np.bool_)
        return counts(self.codes[rows], len(self.distinct)) > 0

    def ordered(self, rows: NDArray[np.bool_] | None) -> tuple[Int32, tuple[str, ...]]:
        """Just these rows, and just their ids, in an order that does not depend on the file. `codes` is used up."""
        import polars as pl

        found = np.flatnonzero(self.present(rows))
        ids = pl.DataFrame({"id": self.distinct.gather(found), "place": found})
        # "07" and "7" are two ids of one value: the text settles their order.
        keys = [pl.col("id").cast(pl.Int64), pl.col("id")] if _whole_numbers(ids["id"]) else [pl.col("id")]
        ids = ids.sort(keys)
        places = np.empty(len(self.distinct), dtype=np.int32)
        places[ids["place"].to_numpy()] = np.arange(len(found), dtype=np.int32)
        codes = self.codes if rows is None else self.codes[rows]
        for part in slices(len(codes)):
            codes[part] = places[codes[part]]
        return codes, tuple(ids["id"].to_list())


def _whole_numbers(ids: polars.Series) -> bool:
    return bool(ids.str.contains(r"^[0-9]{1,18}$").all())


def _compact(codes: Int32, ids: tuple[str, ...]) -> tuple[Int32, tuple[str, ...]]:
    present = counts(codes, len(ids)) > 0
    if present.all():
        return codes, ids
    places = np.cumsum(present, dtype=np.int32) - 1
    return places[codes], tuple(ids[row] for row in np.flatnonzero(present))


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
    columns = [_id(name, schema[name]) for name in ("user", "item")]
    if "timestamp" in schema:
        columns.append(_number("timestamp", schema["timestamp"]))
    if "rating" in schema:
        rating = _number("rating", schema["rating"])
        columns.append(rating.is_not_null().alias("rated"))
        if min_rating is not None:
            columns.append((rating.cast(pl.Float64) >= min_rating).fill_null(False).alias("enough"))
    with polars_faults("the events cannot be read"):  # a reader checks what it reads; a lazy one can meet damage later
        return source.events.select(columns).collect(engine="streaming")


def _id(name: str, dtype: polars.DataType) -> polars.Expr:
    """An id as whole number or category: a large file is collected without its texts."""
    import polars as pl

    if dtype == pl.String:
        return pl.col(name).cast(pl.Categorical)
    if dtype.is_integer() or isinstance(dtype, (pl.Categorical, pl.Enum)):
        return pl.col(name)
    raise DataError(f"column {name!r} holds {dtype}; ids must be text or whole numbers")


def _number(name: str, dtype: polars.DataType) -> polars.Expr:
    """A number whose NaN and infinities are null."""
    import polars as pl

    if not dtype.is_numeric():
        raise DataError(f"column {name!r} holds {dtype}, not numbers")
    if dtype.is_integer():
        return pl.col(name)
    return pl.when(pl.col(name).is_finite()).then(pl.col(name))


def _complete(frame: polars.DataFrame, ids: Mapping[str, _Ids]) -> tuple[NDArray[np.bool_], dict[str, int]]:
    """Mask of the rows with user, item and (where there are timestamps) timestamp, and how many are not, by rule."""
    kept = np.ones(frame.height, dtype=np.bool_)
    dropped = {}
    missing = {name: known.missing() for name, known in ids.items()}
    if "timestamp" in frame.columns:
        missing["timestamp"] = frame["timestamp"].is_null().to_numpy()
    for name, rows in missing.items():
        if lost := _count(kept & rows):
            article = "an" if name == "item" else "a"
            dropped[f"rows without {article} {name}"] = lost
            kept &= ~rows
    return kept, dropped


def _milliseconds(raw: polars.Series, kept: NDArray[np.bool_] | None) -> tuple[Int64, int]:
    """Timestamps of the kept rows in milliseconds, and how many came so already.

    Milliseconds inside, so that data which has them keeps the order that they give.
    """
    times = np.empty(len(raw) if kept is None else _count(kept), dtype=np.int64)
    milliseconds = end = 0
    for rows in slices(len(raw)):
        part = raw[rows] if kept is None else raw[rows].filter(kept[rows])
        values = part.to_numpy()
        for value in (values.min(), values.max()) if len(values) else ():
            if abs(float(value)) > MILLISECONDS_FROM * 1000:  # would be cut off at 64 bits, without a word
                hint = "timestamps are seconds or milliseconds since 1970"
                raise DataError(f"timestamp {value} is too {'large' if value > 0 else 'small'}", hint=hint)
        values = values.astype(np.int64 if part.dtype.is_integer() else np.float64)
        already = values > MILLISECONDS_FROM
        begin, end = end, end + len(values)
        times[begin:end] = np.rint(np.where(already, values, values * 1000))
        milliseconds += _count(already)
    return times, milliseconds


def _count(rows: NDArray[np.bool_]) -> int:
    return int(np.count_nonzero(rows))


def _step(name: str, users: _Ids, items: _Ids, rows: NDArray[np.bool_] | None) -> Step:
    left = len(users.codes) if rows is None else _count(rows)
    return Step(name, left, _count(users.present(rows)), _count(items.present(rows)))
