"""How far the order of a user's events is only that of the file, and what that order follows."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from lwa_core.data.dataset import PreparedData


def neighbours(data: PreparedData) -> dict[str, float | None]:
    """Shares among pairs of neighbouring events of one user, in all parts of the data.

    `neighbours_in_ties` is the share whose timestamps are equal; None without timestamps, or where there is no pair.
    `neighbours_ascending` looks at the pairs that nothing but the file puts in order (those in ties; without
    timestamps, all) and have two different items: the share whose second item comes later in the catalogue, which is
    ordered by the ids. None where there is no such pair. An order that says nothing of ids gives about 0.5; far from
    that, a file was sorted by them, and a model can learn the sorting. Where a file numbered its items anew, an order
    by the ids of before cannot be seen.
    """
    one_user = np.ones(max(0, len(data.items) - 1), dtype=np.bool_)
    begins = data.offsets[1:-1]
    one_user[begins[(begins > 0) & (begins < len(data.items))] - 1] = False
    ties = None
    unordered = one_user
    if data.times is not None:
        unordered = one_user & (data.times[1:] == data.times[:-1])
        ties = _share(unordered, one_user)
    ascending = data.items[1:] > data.items[:-1]
    differing = unordered & (data.items[1:] != data.items[:-1])
    return {"neighbours_in_ties": ties, "neighbours_ascending": _share(ascending & differing, differing)}


def _share(
    some: np.ndarray[tuple[int], np.dtype[np.bool_]], of: np.ndarray[tuple[int], np.dtype[np.bool_]]
) -> float | None:
    count = int(np.count_nonzero(of))
    return int(np.count_nonzero(some)) / count if count else None
