"""Subsets of the layers and their numbers: bit i of the number says whether layer i stays.

Tables over all subsets have their rows in the order of these numbers: row 0 is the model without layers, the last row
the full model.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Kept: TypeAlias = tuple[int, ...]
"""The layers that stay, in order."""


def every_subset(depth: int) -> list[Kept]:
    """All 2^depth subsets of the layers, in the order of a table's rows."""
    return [kept_of(row) for row in range(2**depth)]


def row_of(kept: Iterable[int]) -> int:
    """The number of a subset, which is its row of a table."""
    return sum(1 << int(layer) for layer in set(kept))


def kept_of(row: int) -> Kept:
    """The layers of the subset with this number."""
    return tuple(layer for layer in range(row.bit_length()) if row >> layer & 1)


def rows_of_size(depth: int, size: int) -> NDArray[np.int64]:
    """The rows of all subsets of `size` layers, rising."""
    if not 0 <= size <= depth:
        raise ValueError(f"there is no subset of {size} of {depth} layers")
    sizes = np.zeros(1, dtype=np.int64)
    for _ in range(depth):
        sizes = np.concatenate([sizes, sizes + 1])  # with one more bit: the same again, and with that layer
    return np.flatnonzero(sizes == size)
