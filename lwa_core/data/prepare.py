"""From raw events to prepared data: validate, filter, order, index, split, check."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np

from lwa_core.data.arrays import Int64
from lwa_core.data.dataset import Catalogue, Examples, PreparedData, Step
from lwa_core.data.events import Cleaned, Events, clean
from lwa_core.data.filters import k_core, keep_one_of_duplicates
from lwa_core.data.grouping import counts, grouped, offsets_of, orders_within
from lwa_core.data.leakage import check_split
from lwa_core.data.splits import Parts, by_time, leave_one_out, lend_to_calibration
from lwa_core.errors import DataError

if TYPE_CHECKING:
    import polars

    from lwa_core.data.sections import Filter, Split
    from lwa_core.data.source import Source
    from lwa_core.types import Reporter

LENGTHS = {"min": 0.0, "p05": 0.05, "p25": 0.25, "median": 0.5, "p75": 0.75, "p95": 0.95, "max": 1.0}


def prepare(source: Source, filter: Filter, split: Split, seed: int, report: Reporter | None = None) -> PreparedData:
    """Filter, order and split the events of a source. The same input gives the same output on every machine.

    In this order: validation, `min_rating`, duplicates of (user, item), k-core to its fixed point. Users and items are
    numbered in the order of their ids (by value where all ids are whole numbers, else by text), each user's events are
    ordered by timestamp, and events of one timestamp keep the order of the file. So the result does not depend on the
    order of the rows, except among equal timestamps; how many test targets that concerns is among the facts.

    Args:
        source: Raw events and items.
        filter: Which interactions stay.
        split: Who may look at which events.
        seed: Draws the users who lend their validation target to calibration.
        report: Hears of rows that were left out.

    Raises:
        DataError: Columns are missing, nothing is left, or too few users have enough events to split.
    """
    temporal = split.by == "time"
    by_timestamp = temporal or source.order == "timestamp"
    about_items, notes, left_out = source.items, list(source.notes), source.dropped
    events, cleaned = clean(source, filter.min_rating, need_timestamps=temporal)
    del source  # nobody else may need its events, which take as much memory as what was made of them
    events = _ordered(events, by_timestamp)
    events, steps, rounds = _filtered(events, filter)
    times = events.times if by_timestamp else None
    offsets = _offsets(events)
    if temporal:
        assert times is not None  # `clean` has seen to it; this tells mypy
        parts = by_time(offsets, times, split.validation, split.test)
    else:
        parts = leave_one_out(offsets, times)
    _check_enough(parts, split)
    validation, calibration = lend_to_calibration(parts.validation, split.calibration, seed)
    data = PreparedData(
        _catalogue(events.item_ids, about_items),
        events.user_ids,
        events.items,
        offsets,
        parts.train_ends,
        validation,
        calibration,
        parts.test,
        times=times,
    )
    check_split(data, times, one_cut=temporal)
    repeats = _repeated_targets(events, data.test) if filter.duplicates == "all" else 0
    dropped = _sum(left_out, cleaned.dropped)
    facts = {
        "filter": {
            "min_rating": filter.min_rating,
            "duplicates": filter.duplicates,
            "user_core": filter.user_core,
            "item_core": filter.item_core,
            "core_rounds": rounds,
        },
        "split": {
            "by": split.by,
            "seed": seed,
            "calibration": split.calibration,
            **({"validation": split.validation, "test": split.test} if temporal else {}),
            **parts.facts,
        },
        "order": {
            "by": "timestamp" if by_timestamp else "file",
            "ties": "order of the file",
            "test_targets_in_ties": parts.ties,
        },
        **_facts(data, cleaned, dropped, repeats),
        "notes": [*notes, *cleaned.notes, *(message for _, message in cleaned.cautions)],
    }
    if report is not None:
        _warn(report, dropped, repeats)
        for code, message in cleaned.cautions:
            report.warn(code, message)
    return attrs.evolve(data, steps=(*cleaned.steps, *steps), facts=facts)


def _ordered(events: Events, by_timestamp: bool) -> Events:
    """Users one after another, each in order. Both sorts are stable: ties keep the order of the file."""
    sizes = counts(events.users, len(events.user_ids))
    if bool((events.users[1:] < events.users[:-1]).any()):
        order = grouped(events.users, len(sizes))
        users = np.repeat(np.arange(len(sizes), dtype=np.int32), sizes)
        times = None if events.times is None else events.times[order]
        events = attrs.evolve(events, users=users, items=events.items[order], times=times)
    if by_timestamp and events.times is not None:
        for rows, within in orders_within(offsets_of(sizes), events.times):
            events.items[rows] = events.items[rows][within]
            events.times[rows] = events.times[rows][within]
    return events


def _filtered(events: Events, filter: Filter) -> tuple[Events, list[Step], int]:
    """What duplicates and k-core leave, the account of it, and the rounds of the k-core."""
    kept = keep_one_of_duplicates(events.users, events.items, filter.duplicates)
    events = events if kept.all() else events.take(kept)
    steps = [events.step("duplicates")]
    kept, rounds = k_core(events.users, events.items, filter.user_core, filter.item_core)
    if not kept.any():
        raise DataError(
            f"nothing is left of {len(events)} events when every user needs {filter.user_core} "
            f"and every item {filter.item_core}",
            hint="lower filter.user_core or filter.item_core",
        )
    events = (events if kept.all() else events.take(kept)).compact()
    return events, [*steps, events.step("k-core")], rounds


def _offsets(events: Events) -> Int64:
    return offsets_of(counts(events.users, len(events.user_ids)))


def _check_enough(parts: Parts, split: Split) -> None:
    if len(parts.validation) >= 2 and len(parts.test) >= 1:
        return
    found = f"{len(parts.validation)} validation and {len(parts.test)} test examples"
    if split.by == "time":
        hint = "enlarge split.validation and split.test: users need events before and in each window"
    else:
        hint = "users need at least 3 events; loosen the filter or use more data"
    raise DataError(f"the split gives {found}; validation and calibration need one each, and so does test", hint=hint)


def _catalogue(ids: tuple[str, ...], items: polars.DataFrame | None) -> Catalogue:
    """What the source knows of the items that are left, in the order of `ids`."""
    import polars as pl

    if items is None:
        return Catalogue(ids)
    if items["item"].is_duplicated().any():
        twice = items.filter(pl.col("item").is_duplicated())["item"][0]
        raise DataError(f"item {twice!r} is described twice", hint="the source's item table must hold each item once")
    known = pl.DataFrame({"item": ids}).join(items, on="item", how="left", maintain_order="left")
    titles = categories = None
    if "title" in known.columns:
        titles = tuple(known["title"].fill_null("").to_list())
    if "categories" in known.columns:
        categories = tuple(tuple(names or ()) for names in known["categories"].to_list())
    return Catalogue(ids, titles, categories)


def _repeated_targets(events: Events, test: Examples) -> int:
    """How many test targets their user has met before."""
    first = keep_one_of_duplicates(events.users, events.items, "first")
    return int(np.count_nonzero(~first[test.positions]))


def _facts(data: PreparedData, cleaned: Cleaned, dropped: Mapping[str, int], repeats: int) -> dict[str, Any]:
    lengths = np.diff(data.offsets)
    parts = np.diff(np.append(np.stack([data.offsets[:-1], data.train_ends], axis=1).ravel(), data.offsets[-1]))
    training = np.repeat(np.tile([True, False], data.users), parts)  # each user's training part, then the rest
    trained = np.zeros(len(data.catalogue), dtype=np.bool_)
    trained[data.items[training]] = True
    quantiles = np.quantile(lengths, list(LENGTHS.values()))
    return {
        "counts": {
            "users": data.users,
            "items": len(data.catalogue),
            "events": len(data.items),
            "training_events": int(np.count_nonzero(training)),
            "training_users": int(np.count_nonzero(data.train_ends > data.offsets[:-1])),
            "training_items": int(np.count_nonzero(trained)),
            "validation": len(data.validation),
            "calibration": len(data.calibration),
            "test": len(data.test),
        },
        "density": len(data.items) / (data.users * len(data.catalogue)),
        "sequence_lengths": {name: float(value) for name, value in zip(LENGTHS, quantiles, strict=True)},
        "unseen_test_targets": float(np.mean(~trained[data.targets(data.test)])),
        "repeated_test_targets": repeats,
        "dropped": dict(dropped),
        "unrated_events": cleaned.unrated,
        "time_unit": cleaned.time_unit,
    }


def _sum(*counts: Mapping[str, int]) -> dict[str, int]:
    total: dict[str, int] = {}
    for account in counts:
        for rule, count in account.items():
            total[rule] = total.get(rule, 0) + count
    return {rule: count for rule, count in total.items() if count}


def _warn(report: Reporter, dropped: Mapping[str, int], repeats: int) -> None:
    if dropped:
        report.warn("rows-dropped", "left out: " + ", ".join(f"{count} {rule}" for rule, count in dropped.items()))
    if repeats:
        report.warn(
            "repeated-targets",
            f"{repeats} test targets are already in their user's history, where filtering seen items hides them",
        )
