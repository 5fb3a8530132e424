"""Filters on events: duplicates and the iterated k-core."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lwa_core.data.dataset import Int64

Rows = NDArray[np.bool_]


def keep_one_of_duplicates(users: Int64, items: Int64, which: str) -> Rows:
    """Mask of the rows to keep so that each (user, item) is left once: the `first` or the `last`; `all` keeps all."""
    kept = np.ones(len(users), dtype=np.bool_)
    if which == "all" or not len(users):
        return kept
    pairs = users * (int(items.max()) + 1) + items
    if which == "last":
        return keep_one_of_duplicates(users[::-1], items[::-1], "first")[::-1]
    kept[:] = False
    kept[np.unique(pairs, return_index=True)[1]] = True
    return kept


def k_core(users: Int64, items: Int64, user_core: int, item_core: int) -> tuple[Rows, int]:
    """Mask of the largest set of events in which every user and item has enough, and how many rounds that took.

    Users with fewer than `user_core` events and items with fewer than `item_core` are removed in turn until none is
    left. The fixed point is unique, so that neither the order of the rows nor of the two rules matters.
    """
    alive = np.arange(len(users))
    rounds = 0
    while len(alive):
        enough = np.bincount(users[alive])[users[alive]] >= user_core
        enough &= np.bincount(items[alive])[items[alive]] >= item_core
        if enough.all():
            break
        alive = alive[enough]
        rounds += 1
    kept = np.zeros(len(users), dtype=np.bool_)
    kept[alive] = True
    return kept, rounds
