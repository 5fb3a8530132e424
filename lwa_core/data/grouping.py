"""Counting and stable sorting of tens of millions of rows, with temporary arrays of a bounded size."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from lwa_core.data.arrays import Int32, Int64

ROWS = 1 << 18
"""Rows that a temporary array holds at most (a group that is longer is held whole): few, so that they stay in the
processor's cache."""

KEY_BITS = 63


def slices(rows: int) -> Iterator[slice]:
    """`ROWS` rows at a time."""
    return (slice(begin, min(begin + ROWS, rows)) for begin in range(0, rows, ROWS))


def counts(codes: Int32 | Int64, groups: int) -> Int64:
    """How often each of 0…groups-1 occurs (groups,). `bincount` alone would copy all codes to int64."""
    total = np.zeros(groups, dtype=np.int64)
    for rows in slices(len(codes)):
        total += np.bincount(codes[rows], minlength=groups)
    return total


def offsets_of(sizes: Int64) -> Int64:
    """Where groups of these sizes begin, one after another, and where the last ends (groups + 1,)."""
    offsets = np.zeros(len(sizes) + 1, dtype=np.int64)
    np.cumsum(sizes, out=offsets[1:])
    return offsets


def grouped(codes: Int32 | Int64, groups: int) -> NDArray[np.signedinteger]:
    """Rows in the order of their codes, equal ones as they were (rows,): a counting sort.

    scipy has one in C: it turns a matrix with one entry in every row, in the column `code`, from rows to columns.
    """
    from scipy.sparse import csr_array

    places = np.arange(len(codes) + 1, dtype=np.int32 if len(codes) < 2**31 - 1 else np.int64)
    entries = np.zeros(len(codes), dtype=np.bool_)
    matrix = csr_array((entries, codes.astype(places.dtype, copy=False), places), shape=(len(codes), groups))
    return np.asarray(matrix.tocsc().indices)


def orders_within(offsets: Int64, values: Int32 | Int64) -> Iterator[tuple[slice, Int64]]:
    """Stable order of the values in each group, some groups at a time.

    Args:
        offsets: Where each group begins and the last ends (groups + 1,).
        values: Group after group (rows,).

    Yields:
        Rows of some whole groups, and their order: `values[rows][order]` is ascending in each group, with equal values
        as they were. Rows that are in order already are left out.
    """
    if not len(values):
        return
    lowest, span = int(values.min()), int(values.max()) - int(values.min())
    longest = int(np.diff(offsets).max())
    # Group, value and place in one whole number: to sort such numbers is several times as fast as to sort by columns.
    place_bits, value_bits = longest.bit_length(), span.bit_length()
    room = KEY_BITS - place_bits - value_bits
    most = 1 << min(room, 40) if room > 0 else 0
    begin, groups = 0, len(offsets) - 1
    while begin < groups:
        end = max(begin + 1, int(np.searchsorted(offsets, offsets[begin] + ROWS, side="right")) - 1)
        end = min(end, begin + most) if most else end
        rows, starts = slice(int(offsets[begin]), int(offsets[end])), offsets[begin:end] - offsets[begin]
        part = values[rows]
        owners = np.repeat(np.arange(end - begin), np.diff(offsets[begin : end + 1]))
        begin = end
        falls = (part[1:] < part[:-1]) & (owners[1:] == owners[:-1])
        if not falls.any():
            continue
        if not most:
            yield rows, np.lexsort((part, owners))
            continue
        keys = owners << (value_bits + place_bits)
        keys |= (part.astype(np.int64) - lowest) << place_bits
        keys |= np.arange(len(part)) - starts[owners]
        keys.sort()
        yield rows, (keys & ((1 << place_bits) - 1)) + starts[owners]
