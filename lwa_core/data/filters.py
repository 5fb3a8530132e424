"""Filters on events: duplicates and the iterated k-core."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lwa_core.data.arrays import Int32, Int64
from lwa_core.data.grouping import counts, grouped, offsets_of, orders_within

Rows = NDArray[np.bool_]
Codes = Int32 | Int64


def keep_one_of_duplicates(users: Codes, items: Codes, which: str) -> Rows:
    """Mask of the rows to keep so that each (user, item) is left once: the `first` or the `last`; `all` keeps all."""
    kept = np.ones(len(users), dtype=np.bool_)
    if which == "all" or not len(users):
        return kept
    sizes = counts(users, int(users.max()) + 1)
    order = slice(None) if bool((users[1:] >= users[:-1]).all()) else grouped(users, len(sizes))
    users, items = users[order], items[order]
    left = _one_of_each_run(users, items, which)  # right where a user's items are in order
    for rows, within in orders_within(offsets_of(sizes), items):
        left[rows][within] = _one_of_each_run(users[rows][within], items[rows][within], which)
    kept[order] = left
    return kept


def drawn_users(users: Codes, count: int, seed: int) -> Rows:
    """Mask of the events of `count` users, drawn without regard to what they did; of all where there are no more."""
    present = np.flatnonzero(counts(users, int(users.max()) + 1)) if len(users) else np.zeros(0, dtype=np.int64)
    kept = np.zeros(int(present[-1]) + 1 if len(present) else 0, dtype=np.bool_)
    kept[np.random.default_rng(seed).permutation(present)[:count]] = True
    return kept[users]


def frequent_items(items: Codes, count: int) -> Rows:
    """Mask of the events with the `count` items that have the most; of equal ones those of the lower number."""
    sizes = counts(items, int(items.max()) + 1) if len(items) else np.zeros(0, dtype=np.int64)
    kept = np.zeros(len(sizes), dtype=np.bool_)
    kept[np.argsort(-sizes, kind="stable")[:count]] = True
    return kept[items]


def k_core(users: Codes, items: Codes, user_core: int, item_core: int) -> tuple[Rows, int]:
    """Mask of the largest set of events in which every user and item has enough, and how many rounds that took.

    Users with fewer than `user_core` events and items with fewer than `item_core` are removed in turn until none is
    left. The fixed point is unique, so that neither the order of the rows nor of the two rules matters.
    """
    kept = np.ones(len(users), dtype=np.bool_)
    if not len(users):
        return kept, 0
    sides = ((users, user_core), (items, item_core))
    left = [counts(codes, int(codes.max()) + 1) for codes, _ in sides]
    rounds = 0
    while any(((sizes > 0) & (sizes < core)).any() for sizes, (_, core) in zip(left, sides, strict=True)):
        goes = np.zeros(len(users), dtype=np.bool_)
        for sizes, (codes, core) in zip(left, sides, strict=True):
            goes |= (sizes < core)[codes]
        goes &= kept
        left = [sizes - counts(codes[goes], len(sizes)) for sizes, (codes, _) in zip(left, sides, strict=True)]
        kept ^= goes
        rounds += 1
    return kept, rounds


def _one_of_each_run(users: Codes, items: Codes, which: str) -> Rows:
    """Mask of the first or last row of each run of equal (user, item)."""
    kept = np.ones(len(users), dtype=np.bool_)
    edge = (users[1:] != users[:-1]) | (items[1:] != items[:-1])
    kept[slice(1, None) if which == "first" else slice(None, -1)] = edge
    return kept
