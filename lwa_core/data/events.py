"""Raw events, validated and turned into flat integer arrays."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import attrs
import numpy as np
from numpy.typing import NDArray

from lwa_core.data.arrays import Int8, Int32, Int64
from lwa_core.data.clock import to_milliseconds, unit_of
from lwa_core.data.coding import number_ids
from lwa_core.data.dataset import Step
from lwa_core.data.engine import polars_faults
from lwa_core.data.grouping import counts, slices
from lwa_core.data.ids import BLANKS, spell_ids, takes_ids
from lwa_core.data.moments import AUTO, UNITS, moment
from lwa_core.errors import DataError

if TYPE_CHECKING:
    import polars

    from lwa_core.data.source import Source


PARTS = ("train", "validation", "test")
"""The parts that data may be given in."""


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
        parts: Place in `PARTS` of the part that each event is given in (events,), int8; None where none are given.
    """

    users: Int32
    items: Int32
    times: Int64 | None
    user_ids: tuple[str, ...]
    item_ids: tuple[str, ...]
    parts: Int8 | None = None

    def __len__(self) -> int:
        return len(self.users)

    def take(self, rows: NDArray[np.bool_] | NDArray[np.signedinteger]) -> Events:
        """The events at these rows, ids left as they are."""
        times = None if self.times is None else self.times[rows]
        parts = None if self.parts is None else self.parts[rows]
        return attrs.evolve(self, users=self.users[rows], items=self.items[rows], times=times, parts=parts)

    def compact(self) -> Events:
        """The same events with just the ids that still occur, in the same order."""
        users, user_ids = _compact(self.users, self.user_ids)
        items, item_ids = _compact(self.items, self.item_ids)
        return Events(users, items, self.times, user_ids, item_ids, self.parts)

    def step(self, name: str) -> Step:
        """What is left, as the account of step `name`."""
        users = np.count_nonzero(counts(self.users, len(self.user_ids)))
        items = np.count_nonzero(counts(self.items, len(self.item_ids)))
        return Step(name, len(self), int(users), int(items))


@attrs.frozen(eq=False)
class Cleaned:
    """The account of what was left out or rewritten on the way to valid events.

    Args:
        steps: What was left after each step.
        dropped: Rows that were left out, by rule.
        time_unit: What the numbers in the column of times count; None without times.
        unrated: Rows without a rating, in data that has ratings.
        notes: What times were read as, in sentences.
        cautions: What else the user must know, as code and sentence.
    """

    steps: tuple[Step, ...]
    dropped: dict[str, int]
    time_unit: str | None
    unrated: int
    notes: tuple[str, ...] = ()
    cautions: tuple[tuple[str, str], ...] = ()


def clean(source: Source, min_rating: float | None, *, need_timestamps: bool) -> tuple[Events, Cleaned]:
    """Collect the events of a source, leave out what has no user, item or timestamp, apply `min_rating`.

    Rows are counted by the rule that left them out. A row without a rating is left out only where `min_rating` has to
    compare it. Raises DataError for a source without the columns that are needed, and for one without any valid event.
    """
    frame = _collect(source, min_rating, need_timestamps)
    if frame.height == 0:
        raise DataError("the data holds no events", hint="is it the right file, with rows after its header?")
    users, items = (_Ids.of(frame[name]) for name in ("user", "item"))
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
    clock = _Clock.of(frame["timestamp"], rows, source.time_unit) if "timestamp" in frame.columns else None
    (user_codes, user_ids), (item_codes, item_ids) = users.ordered(rows), items.ordered(rows)
    parts = _parts(frame["part"], rows) if "part" in frame.columns else None
    events = Events(user_codes, item_codes, None if clock is None else clock.times, user_ids, item_ids, parts)
    if clock is not None and clock.order is not None:
        events = events.take(clock.order)
    cautions = (*users.cautions("user"), *items.cautions("item"), *_below_zero(frame, kept))
    if clock is None:
        return events, Cleaned(tuple(steps), dropped, None, unrated, (), cautions)
    return events, Cleaned(tuple(steps), dropped, clock.unit, unrated, clock.notes, cautions)


@attrs.frozen(eq=False)
class _Ids:
    """The id of every row, as a place among the distinct ones; -1 for null. `stripped`: rows that lost blanks."""

    codes: Int32
    distinct: polars.Series
    stripped: int = 0

    @classmethod
    def of(cls, ids: polars.Series) -> _Ids:
        """The ids of a column, less the blanks around them."""
        import polars as pl

        codes, distinct = number_ids(spell_ids(ids))
        bare = distinct.str.strip_chars(BLANKS)
        changed = (bare != distinct).to_numpy()
        if not changed.any():
            return cls(codes, distinct)
        kept = bare.unique()
        table = pl.DataFrame({"id": bare}).join(
            kept.to_frame("id").with_row_index("place"), on="id", how="left", maintain_order="left"
        )
        places = np.append(table["place"].to_numpy().astype(np.int32), np.int32(-1))  # the last one is for null
        stripped = int(counts(codes[codes >= 0], len(distinct))[changed].sum())
        return cls(places[codes], kept, stripped)

    def cautions(self, name: str) -> list[tuple[str, str]]:
        """That ids of this column lost the blanks around them, if some did."""
        said = f"{self.stripped} rows had blanks around the {name}, which are left out"
        return [("blanks-around-ids", said)] if self.stripped else []

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
        columns.append(_time(schema["timestamp"]))
    if "part" in schema:
        columns.append(pl.col("part").cast(pl.String).cast(pl.Categorical))
    if "rating" in schema:
        rating = _number("rating", schema["rating"])
        columns.append(rating.is_not_null().alias("rated"))
        if min_rating is None:
            columns.append((rating <= 0).fill_null(False).alias("below_zero"))
        else:
            columns.append((rating.cast(pl.Float64) >= min_rating).fill_null(False).alias("enough"))
    with polars_faults("the events cannot be read"):  # a reader checks what it reads; a lazy one can meet damage later
        return source.events.select(columns).collect(engine="streaming")


def _id(name: str, dtype: polars.DataType) -> polars.Expr:
    """An id as whole number or category: a large file is collected without its texts."""
    import polars as pl

    if not takes_ids(dtype):
        raise DataError(f"column {name!r} holds {dtype}; ids are text or whole numbers")
    return pl.col(name).cast(pl.Categorical) if dtype == pl.String else pl.col(name)


def _time(dtype: polars.DataType) -> polars.Expr:
    """A column of times: numbers, or dates and times as they are."""
    import polars as pl

    if isinstance(dtype, (pl.Date, pl.Datetime)):
        return pl.col("timestamp").cast(pl.Datetime("ms")) if dtype == pl.Date else pl.col("timestamp")
    return _number("timestamp", dtype)


def _number(name: str, dtype: polars.DataType) -> polars.Expr:
    """A number whose NaN and infinities are null."""
    import polars as pl

    if not dtype.is_numeric():
        raise DataError(f"column {name!r} holds {dtype}, not numbers")
    if dtype.is_integer():
        return pl.col(name)
    if dtype.is_decimal():
        return pl.col(name).cast(pl.Float64)
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


def _parts(named: polars.Series, kept: NDArray[np.bool_] | None) -> Int8:
    """Place in `PARTS` of the kept rows. Raises DataError for another name."""
    import polars as pl

    odd = named.filter(~named.cast(pl.String).is_in(PARTS).fill_null(False))
    if len(odd):
        raise DataError(f"an event is in part {odd[0]!r}", hint=f"the parts of data are {', '.join(PARTS)}")
    places = named.cast(pl.Enum(PARTS)).to_physical().to_numpy().astype(np.int8)
    return np.asarray(places if kept is None else places[kept], dtype=np.int8)


def _below_zero(frame: polars.DataFrame, kept: NDArray[np.bool_]) -> list[tuple[str, str]]:
    """That ratings which may well mean dislike count like all others, if there are such."""
    if "below_zero" not in frame.columns or not (count := _count(kept & frame["below_zero"].to_numpy())):
        return []
    said = f"{count} events are rated 0 or below and count like all others; filter.min_rating leaves them out"
    return [("rated-below-zero", said)]


@attrs.frozen(eq=False)
class _Clock:
    """The times of the kept rows.

    Args:
        times: Milliseconds since 1970 (rows,).
        unit: What the numbers of the column count.
        order: The rows by their times as they were, where milliseconds are too coarse to tell (rows,); else None.
        notes: What was read, for the report.
    """

    times: Int64
    unit: str
    order: Int64 | None
    notes: tuple[str, ...]

    @classmethod
    def of(cls, raw: polars.Series, kept: NDArray[np.bool_] | None, unit: str) -> _Clock:
        """The times of a column, in `unit`, or in the one that a column of dates is held in.

        Raises:
            DataError: The numbers are of two units, or lie outside the years 1 to 9999.
        """
        import polars as pl

        dated = raw.dtype if isinstance(raw.dtype, pl.Datetime) else None
        values = _values(raw.to_physical() if dated is not None else raw, kept)
        unit = dated.time_unit if dated is not None else unit_of(values) if unit == AUTO else unit
        times, rounded = np.empty(len(values), dtype=np.int64), False
        for rows in slices(len(values)):
            times[rows], finer = to_milliseconds(values[rows], unit)
            rounded |= finer
        order = np.argsort(values, kind="stable") if rounded else None
        span = f"from {moment(int(times.min()))} to {moment(int(times.max()))}"
        notes = [f"times are {'dates' if dated is not None else UNITS[unit]}, {span}"]
        if rounded:
            notes.append("times finer than a millisecond order the events, and are then rounded to milliseconds")
        return cls(times, unit, order, tuple(notes))


def _values(raw: polars.Series, kept: NDArray[np.bool_] | None) -> NDArray[np.float64] | Int64:
    """The kept rows as int64 or float64, some at a time: never a second copy of the column."""
    import polars as pl

    # What int64 does not hold is no time, and is refused by its size. numpy has no integers of 128 bits.
    wide = raw.dtype in (pl.UInt64, pl.Int128, pl.UInt128)
    size = len(raw) if kept is None else _count(kept)
    whole = raw.dtype.is_integer() and not wide
    values: NDArray[np.float64] | Int64 = np.empty(size, np.int64) if whole else np.empty(size, np.float64)
    end = 0
    for rows in slices(len(raw)):
        part = raw[rows] if kept is None else raw[rows].filter(kept[rows])
        begin, end = end, end + len(part)
        values[begin:end] = (part.cast(pl.Float64) if wide else part).to_numpy()
    return values


def _count(rows: NDArray[np.bool_]) -> int:
    return int(np.count_nonzero(rows))


def _step(name: str, users: _Ids, items: _Ids, rows: NDArray[np.bool_] | None) -> Step:
    left = len(users.codes) if rows is None else _count(rows)
    return Step(name, left, _count(users.present(rows)), _count(items.present(rows)))
