"""Texts of a bundle's items, read where they lie: a list, and which item an id is, without an object for each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import overload

import attrs
import numpy as np

from lwa_core.errors import ModelError
from lwa_core.runtime.description import IDS, IDS_ENDS, IDS_SORTED, TITLES, TITLES_ENDS, read_array

FEW = 100_000
"""Ids of which a dictionary is made: some ten megabytes, and a tenth of a second."""

CONTINUES = 0b10
"""First two bits of a byte that is inside a character of UTF-8."""


@attrs.frozen(eq=False, repr=False)
class StoredTexts(Sequence[str]):
    """A list of texts.

    Args:
        blob: All of them in UTF-8, one after another (bytes,).
        starts: Where each begins, and where the last one ends (texts + 1,), as numbers of Python: reading one is twice
            as fast as from an array.
    """

    blob: bytes
    starts: memoryview

    @classmethod
    def read(cls, folder: Path, name: str, ends: str, count: int) -> StoredTexts:
        """Those of a bundle. Raises ModelError where they are none."""
        starts = np.concatenate([np.zeros(1, dtype=np.int64), read_array(folder, ends, np.int64, (count,))])
        found = read_array(folder, name, np.uint8, (None,))
        sizes = np.diff(starts)
        if sizes.min() < 0 or starts[-1] != len(found):
            raise ModelError(f"the bundle in {folder} is damaged: {ends} does not fit {name}")
        begins = found[starts[:-1][sizes > 0]]
        blob = found.tobytes()
        if (begins >> 6 == CONTINUES).any() or not _is_utf_8(blob):
            raise ModelError(f"the bundle in {folder} is damaged: {name} is not UTF-8 text")
        return cls(blob, starts.data)

    def encoded(self, place: int) -> bytes:
        """One of them as it is stored."""
        return self.blob[self.starts[place] : self.starts[place + 1]]

    def __len__(self) -> int:
        return len(self.starts) - 1

    @overload
    def __getitem__(self, place: int) -> str: ...
    @overload
    def __getitem__(self, place: slice) -> tuple[str, ...]: ...
    def __getitem__(self, place: int | slice) -> str | tuple[str, ...]:
        where = range(len(self))[place]
        if isinstance(where, range):
            return tuple(self.encoded(each).decode() for each in where)
        return self.encoded(where).decode()

    def __repr__(self) -> str:
        return f"StoredTexts({len(self)} texts)"


@attrs.frozen(eq=False, repr=False)
class StoredIndex(Mapping[str, int]):
    """Id -> item, found by halving.

    Args:
        ids: Of the items.
        order: Items in the order of their ids' bytes (items,).
    """

    ids: StoredTexts
    order: memoryview

    @classmethod
    def read(cls, folder: Path, ids: StoredTexts) -> Mapping[str, int]:
        """That of a bundle; of few ids a dictionary, which is found in sooner. Raises ModelError where it is none."""
        order = read_array(folder, IDS_SORTED, np.int32, (len(ids),), mapped=True)
        if order.min() < 0 or order.max() >= len(ids):
            raise ModelError(f"the bundle in {folder} is damaged: {IDS_SORTED} names items that there are not")
        if len(ids) > FEW:
            return cls(ids, order.data)
        found = dict(zip(ids, range(len(ids)), strict=True))
        if len(found) < len(ids):
            raise ModelError(f"the bundle in {folder} is damaged: two items have the same id")
        return found

    def __getitem__(self, name: str) -> int:
        place = self._place(name) if isinstance(name, str) else None
        if place is None:
            raise KeyError(name)
        return place

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and self._place(name) is not None

    def __iter__(self) -> Iterator[str]:
        return iter(self.ids)

    def __len__(self) -> int:
        return len(self.ids)

    def _place(self, name: str) -> int | None:
        blob, starts, order = self.ids.blob, self.ids.starts, self.order
        wanted = name.encode("utf-8", "surrogatepass")
        low, high = 0, len(order)
        while low < high:
            middle = (low + high) // 2
            item = order[middle]
            if blob[starts[item] : starts[item + 1]] < wanted:
                low = middle + 1
            else:
                high = middle
        found: int | None = order[low] if low < len(order) else None
        return found if found is not None and self.ids.encoded(found) == wanted else None

    def __repr__(self) -> str:
        return f"StoredIndex({len(self)} ids)"


def write_ids(ids: Sequence[str], folder: Path) -> None:
    """Write the ids of items, and their order. Raises ModelError where two are the same."""
    encoded = [each.encode() for each in ids]
    order = sorted(range(len(encoded)), key=encoded.__getitem__)
    for one, other in pairwise(order):
        if encoded[one] == encoded[other]:
            raise ModelError(f"two items have the same id: {ids[one][:40]!r}")
    _write(encoded, folder, IDS, IDS_ENDS)
    np.save(folder / IDS_SORTED, np.array(order, dtype=np.int32), allow_pickle=False)


def write_titles(titles: Sequence[str], folder: Path) -> None:
    """Write the titles of items."""
    _write([each.encode() for each in titles], folder, TITLES, TITLES_ENDS)


def _write(encoded: Sequence[bytes], folder: Path, name: str, ends: str) -> None:
    sizes = np.fromiter(map(len, encoded), dtype=np.int64, count=len(encoded))
    np.save(folder / name, np.frombuffer(b"".join(encoded), dtype=np.uint8), allow_pickle=False)
    np.save(folder / ends, sizes.cumsum(dtype=np.int64), allow_pickle=False)


def _is_utf_8(blob: bytes) -> bool:
    try:
        blob.decode()
    except UnicodeDecodeError:
        return False
    return True
