"""A few rows of prepared data, to try things on before work begins; never a test target."""

from __future__ import annotations

import attrs
import numpy as np

from lwa_core.data.arrays import Int64
from lwa_core.data.dataset import Catalogue, Examples, PreparedData, concatenate

USERS, EXAMPLES, ITEMS = 16, 16, 64
"""Of an excerpt: users who train (the longest, and as many at even distances), examples of each kind, least items."""

NEWEST = 256
"""Events of a user that an excerpt holds at most."""


def excerpt(data: PreparedData, calibration: int = EXAMPLES, *, whole_catalogue: bool = False) -> PreparedData:
    """Some users of the data with what they may be trained, stopped and scored on. No event of it is a test target.

    Where the data has test examples, so has the excerpt: its own validation examples stand in for them.

    Args:
        data: The data.
        calibration: At most so many calibration examples, at even distances.
        whole_catalogue: Whether all items are in it; else those of its events, and others until there are `ITEMS`.
    """
    validation = _spread(data.validation, EXAMPLES)
    asked = _spread(data.calibration, calibration)
    lengths = data.train_ends - data.offsets[:-1]
    longest = np.argsort(-lengths, kind="stable")[:USERS]  # what is made of a user may take some events
    training = np.concatenate([longest, _evenly(np.flatnonzero(lengths >= 2), USERS)])
    users = np.unique(np.concatenate([validation.users, asked.users, training]))
    ends = data.train_ends.copy()  # of what each user may show
    for examples in (validation, asked):
        np.maximum.at(ends, examples.users, examples.positions + 1)
    starts = np.maximum(data.offsets[:-1], ends - NEWEST)
    bounds = [(int(starts[user]), int(ends[user])) for user in users]
    items, offsets = concatenate([data.items[start:end] for start, end in bounds])
    moved = offsets[:-1] - starts[users]  # from a place in the data to one in the excerpt
    row = {int(user): place for place, user in enumerate(users)}

    def taken(examples: Examples) -> Examples:
        rows = np.array([row[int(user)] for user in examples.users], dtype=np.int64)
        return Examples(rows, examples.positions + moved[rows])

    cut = attrs.evolve(
        data,
        user_ids=tuple(data.user_ids[user] for user in users),
        items=items,
        offsets=offsets,
        train_ends=np.maximum(data.train_ends[users], starts[users]) + moved,
        validation=taken(validation),
        calibration=taken(asked),
        test=taken(validation if len(data.test) else validation.take(slice(0))),
        times=None if data.times is None else _concatenated([data.times[start:end] for start, end in bounds]),
    )
    return cut if whole_catalogue else _of_fewer_items(cut)


def _concatenated(parts: list[Int64]) -> Int64:
    """The times of all users, one after another (events,)."""
    return np.concatenate(parts) if parts else np.zeros(0, dtype=np.int64)


def _spread(examples: Examples, most: int) -> Examples:
    return examples.take(_evenly(np.arange(len(examples)), most))


def _evenly(rows: Int64, most: int) -> Int64:
    """At most so many of the rows, at even distances."""
    if len(rows) <= most:
        return rows
    return rows[np.linspace(0, len(rows) - 1, most).astype(np.int64)]


def _of_fewer_items(data: PreparedData) -> PreparedData:
    """The same with just the items that occur, and some more where these are few."""
    found = np.unique(data.items).astype(np.int64)
    others = np.setdiff1d(np.arange(len(data.catalogue)), found)
    kept = np.union1d(found, _evenly(others, max(0, ITEMS - len(found))))
    place = np.zeros(len(data.catalogue), dtype=np.int32)
    place[kept] = np.arange(len(kept), dtype=np.int32)
    old = data.catalogue
    catalogue = Catalogue(
        ids=tuple(old.ids[item] for item in kept),
        titles=None if old.titles is None else tuple(old.titles[item] for item in kept),
        categories=None if old.categories is None else tuple(old.categories[item] for item in kept),
    )
    return attrs.evolve(data, catalogue=catalogue, items=place[data.items])
