"""The vectors of a bundle's items: rows for the network's input, and scores of all of them for a state."""

from __future__ import annotations

from pathlib import Path

import attrs
import numpy as np
from numpy.typing import NDArray

from lwa_core.runtime.description import SCALES, SPECIAL, TABLE, TABLES, Described, read_array

HELD = 2**23
"""A table with at most so many numbers is held in float32, whatever format it has: 32 MiB."""
BLOCK = 2**14
"""Rows of a larger one that are made float32 at once: few enough to stay in the cache until they are multiplied."""
LARGEST_CODE = 127

Floats = NDArray[np.float32]


@attrs.frozen(eq=False)
class ItemTable:
    """Vectors of items (items, width), and of the ids of no item before them (special, width).

    Args:
        rows: As they are stored, mapped into memory.
        scales: Of each row, of int8; else None.
        special: The rows before the items': padding, and the mask.
        held: All of it in float32, where it is small.
    """

    rows: NDArray[np.generic]
    scales: Floats | None
    special: Floats
    held: Floats | None

    @classmethod
    def read(cls, folder: Path, described: Described) -> ItemTable:
        """That of a bundle. Raises ModelError."""
        shape = (described.items, described.width)
        rows = read_array(folder, TABLE, TABLES[described.table], shape, mapped=True)
        scales = read_array(folder, SCALES, np.float32, shape[:1]) if described.table == "int8" else None
        special = read_array(folder, SPECIAL, np.float32, (described.special, described.width))
        made = cls(rows, scales, special, None)
        if described.table == "float32":
            return attrs.evolve(made, held=rows)
        return attrs.evolve(made, held=made.floats(slice(None))) if rows.size <= HELD else made

    def embedded(self, ids: NDArray[np.int64]) -> Floats:
        """Rows of ids (…, width), of which the first are special."""
        first = len(self.special)
        rows = self.floats(np.maximum(ids - first, 0))
        return np.where(ids[..., None] < first, self.special[np.minimum(ids, first - 1)], rows)

    def scores(self, states: Floats) -> Floats:
        """Scores of all items (histories, items) for states (histories, width)."""
        if self.held is not None:
            return states @ self.held.T
        made = np.empty((len(states), len(self.rows)), dtype=np.float32)
        for start in range(0, len(self.rows), BLOCK):
            part = slice(start, start + BLOCK)
            made[:, part] = states @ self.rows[part].astype(np.float32).T
        if self.scales is not None:
            made *= self.scales
        return made

    def scores_of(self, state: Floats, items: NDArray[np.int64]) -> Floats:
        """Scores of some items (items,) for one state (width,)."""
        return self.floats(items) @ state

    def floats(self, which: slice | NDArray[np.int64]) -> Floats:
        """Vectors of items as numbers (…, width)."""
        if self.held is not None:
            return self.held[which]
        rows = self.rows[which].astype(np.float32)
        with np.errstate(over="ignore", invalid="ignore"):  # scores are looked at, whether they are numbers
            return rows if self.scales is None else rows * self.scales[which][..., None]


def write_table(table: Floats, form: str, folder: Path) -> None:
    """Write vectors of items (items, width) in a format of `TABLES`, each row of int8 with a scale."""
    if form != "int8":
        np.save(folder / TABLE, table.astype(TABLES[form]), allow_pickle=False)
        return
    scales = np.abs(table).max(axis=1) / LARGEST_CODE
    codes = np.rint(table / np.where(scales > 0, scales, 1)[:, None])
    np.save(folder / TABLE, codes.astype(np.int8), allow_pickle=False)
    np.save(folder / SCALES, scales.astype(np.float32), allow_pickle=False)
