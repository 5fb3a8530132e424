"""From raw events to prepared data: validate, filter, order, index, split, check."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np
from numpy.typing import NDArray

from lwa_core.data.arrays import Int64
from lwa_core.data.dataset import Catalogue, Examples, PreparedData, Step
from lwa_core.data.events import Cleaned, Events, clean
from lwa_core.data.filters import drawn_users, frequent_items, k_core, keep_one_of_duplicates
from lwa_core.data.grouping import counts, grouped, offsets_of, orders_within
from lwa_core.data.leakage import check_split
from lwa_core.data.moments import moment_of
from lwa_core.data.neighbours import neighbours
from lwa_core.data.splits import Parts, as_given, by_time, leave_one_out, lend_to_calibration
from lwa_core.errors import DataError

if TYPE_CHECKING:
    import polars

    from lwa_core.data.sections import Filter, Split
    from lwa_core.data.source import Source
    from lwa_core.types import Reporter

SUBSET = ("after", "before", "users", "items")
"""Settings of the filter that are among the facts where they are set."""

LENGTHS = {"min": 0.0, "p05": 0.05, "p25": 0.25, "median": 0.5, "p75": 0.75, "p95": 0.95, "max": 1.0}


def prepare(
    source: Source,
    filter: Filter,
    split: Split,
    seed: int,
    report: Reporter | None = None,
    *,
    refit: bool = False,
) -> PreparedData:
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
        refit: Give what was held back for choices to training: there are no validation and calibration examples then.

    Raises:
        DataError: Columns are missing, nothing is left, or too few users have enough events to split.
    """
    given = _is_given(source, split)
    temporal = split.by == "time"
    by_timestamp = temporal or source.order == "timestamp"
    about_items, notes, left_out = source.items, list(source.notes), source.dropped
    events, cleaned = clean(source, filter.min_rating, need_timestamps=temporal)
    del source  # nobody else may need its events, which take as much memory as what was made of them
    events, spanned = _within(events, filter)
    events = _ordered(events, by_timestamp)
    events, filtered, rounds = _filtered(events, filter, seed)
    steps = [*spanned, *filtered]
    times = events.times if by_timestamp else None
    offsets = _offsets(events)
    if given:
        assert events.parts is not None
        parts = as_given(offsets, events.parts)
    elif temporal:
        assert times is not None  # `clean` has seen to it; this tells mypy
        parts = by_time(offsets, times, split.validation, split.test)
    else:
        parts = leave_one_out(offsets, times)
    _check_enough(parts, split)
    validation, calibration = lend_to_calibration(parts.validation, split.calibration, seed)
    if refit:
        validation = calibration = parts.validation.take(slice(0))
    data = PreparedData(
        _catalogue(events.item_ids, about_items, report),
        events.user_ids,
        events.items,
        offsets,
        parts.test_begins if refit else parts.train_ends,
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
            **{name: value for name in SUBSET if (value := getattr(filter, name)) is not None},
            "user_core": filter.user_core,
            "item_core": filter.item_core,
            "core_rounds": rounds,
        },
        "split": {
            "by": "given" if given else split.by,
            "seed": seed,
            "calibration": split.calibration,
            **({"validation": split.validation, "test": split.test} if temporal else {}),
            **parts.facts,
        },
        "order": {
            "by": "timestamp" if by_timestamp else "file",
            "ties": "order of the file",
            "test_targets_in_ties": parts.ties,
            **neighbours(data),
        },
        **_facts(data, cleaned, dropped, repeats),
        "notes": [*notes, *cleaned.notes, *(message for _, message in cleaned.cautions)],
    }
    if report is not None:
        _warn(report, dropped, repeats)
        for code, message in cleaned.cautions:
            report.warn(code, message)
    return attrs.evolve(data, steps=(*cleaned.steps, *steps), facts=facts)


def _is_given(source: Source, split: Split) -> bool:
    """Whether the data says itself which event is in which part."""
    given = "part" in source.events.collect_schema()
    if split.by == "given" and not given:
        hint = "read it with a dataset that takes one file for each part, or leave split.by out"
        raise DataError('split.by is "given", but the data does not come split', hint=hint)
    if given and split.by == "time":
        raise DataError('the data comes split, and split.by = "time" would split it anew', hint="leave split.by out")
    return given


def _within(events: Events, filter: Filter) -> tuple[Events, list[Step]]:
    """The events of the span of time that the filter names, if it names one, and the account of it."""
    if filter.after is None and filter.before is None:
        return events, []
    if events.times is None:
        hint = "leave filter.after and filter.before out, or name the column that holds the timestamps"
        raise DataError("the filter names a span of time, and the data has no timestamps", hint=hint)
    kept = np.ones(len(events), dtype=np.bool_)
    if filter.after is not None:
        kept &= events.times >= moment_of(filter.after)
    if filter.before is not None:
        kept &= events.times < moment_of(filter.before)
    events = _left(events, kept, "lies in the span that filter.after and filter.before name")
    return events, [events.step("span of time")]


def _left(events: Events, kept: NDArray[np.bool_], what: str) -> Events:
    """These events. Raises DataError where there are none."""
    if not kept.any():
        raise DataError(f"none of {len(events)} events {what}", hint="loosen the table [filter]")
    return events if kept.all() else events.take(kept)


def _ordered(events: Events, by_timestamp: bool) -> Events:
    """Users one after another, each in order. Both sorts are stable: ties keep the order of the file."""
    sizes = counts(events.users, len(events.user_ids))
    if events.parts is not None:  # where times do not say, a part comes before the next one
        events = events.take(np.argsort(events.parts, kind="stable"))
    if bool((events.users[1:] < events.users[:-1]).any()):
        order = grouped(events.users, len(sizes))
        users = np.repeat(np.arange(len(sizes), dtype=np.int32), sizes)
        times = None if events.times is None else events.times[order]
        parts = None if events.parts is None else events.parts[order]
        events = attrs.evolve(events, users=users, items=events.items[order], times=times, parts=parts)
    if by_timestamp and events.times is not None:
        for rows, within in orders_within(offsets_of(sizes), events.times):
            events.items[rows] = events.items[rows][within]
            events.times[rows] = events.times[rows][within]
            if events.parts is not None:
                events.parts[rows] = events.parts[rows][within]
    return events


def _filtered(events: Events, filter: Filter, seed: int) -> tuple[Events, list[Step], int]:
    """What duplicates, the subset and k-core leave, the account of it, and the rounds of the k-core."""
    kept = keep_one_of_duplicates(events.users, events.items, filter.duplicates)
    events = events if kept.all() else events.take(kept)
    steps = [events.step("duplicates")]
    if filter.users is not None:
        events = _left(events, drawn_users(events.users, filter.users, seed), "is of a user that was drawn")
        steps.append(events.step("users"))
    if filter.items is not None:
        events = _left(events, frequent_items(events.items, filter.items), "is of a frequent item")
        steps.append(events.step("items"))
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


def _catalogue(ids: tuple[str, ...], items: polars.DataFrame | None, report: Reporter | None) -> Catalogue:
    """What the source knows of the items that are left, in the order of `ids`.

    Raises:
        DataError: It knows an item twice, or none of them.
    """
    import polars as pl

    if items is None:
        return Catalogue(ids)
    if items["item"].is_duplicated().any():
        twice = items.filter(pl.col("item").is_duplicated())["item"][0]
        raise DataError(f"item {twice!r} is described twice", hint="the source's item table must hold each item once")
    _compare_items(ids, items, report)
    known = pl.DataFrame({"item": ids}).join(items, on="item", how="left", maintain_order="left")
    titles = categories = None
    if "title" in known.columns:
        titles = tuple(known["title"].fill_null("").to_list())
    if "categories" in known.columns:
        categories = tuple(tuple(names or ()) for names in known["categories"].to_list())
    return Catalogue(ids, titles, categories)


def _compare_items(ids: tuple[str, ...], items: polars.DataFrame, report: Reporter | None) -> None:
    described = {*items["item"]}
    lacking = sum(item not in described for item in ids)
    if lacking == len(ids):
        some = ", ".join(map(repr, items["item"][:3])) or "none"
        hint = f"its ids, such as {some}, are to be those of the interactions, such as {ids[0]!r}"
        raise DataError(f"the item file knows none of the {len(ids)} items", hint=hint)
    if lacking and report is not None:
        report.warn("items-not-described", f"the item file does not know {lacking} of {len(ids)} items")


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
