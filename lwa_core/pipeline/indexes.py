"""An index of a bundle's items: made of its table, and kept only where it finds what scoring all of them finds."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import attrs
import numpy as np
from numpy.typing import NDArray

from lwa_core.errors import ModelError, NeedsError
from lwa_core.runtime.description import INDEX, INDEX_TRAINED, Indexed
from lwa_core.runtime.item_table import ItemTable
from lwa_core.runtime.nearest import KINDS, Nearest, assembled, empty
from lwa_core.runtime.served import Served
from lwa_core.types import History

SMALLEST = 100_000
"""Of a catalogue of more items an index is made, unless somebody says otherwise; below, scoring all is fast."""
RECALL = 0.99
"""Mean share of the ten best items that an index has to find."""
QUERIES = 500
"""Histories that this is measured on, at most."""
TOP = 10
TRAINED_ON = 2**16
"""Rows that an index is trained on, at most."""
BLOCK = 2**16
AT_ONCE = 2**24
"""Scores that are held at once, unless one history has more."""


def write_index(served: Served, histories: Sequence[History], folder: Path, bar: float) -> Indexed:
    """Write the fastest index that finds enough of the best items.

    Args:
        served: The bundle without an index.
        histories: Of users that the model was not trained on, as they are.
        folder: The bundle's, where the arrays of the index are to lie.
        bar: Mean share of the ten best items that it has to find.

    Raises:
        ModelError: There is no history, or no index finds enough.
        NeedsError: faiss is not installed.
    """
    try:
        import faiss  # noqa: F401
    except ImportError as error:
        raise NeedsError("an index of the items needs faiss", "pip install 'lwa[ann]'") from error
    if served.table is None:
        raise ModelError("a bundle without a network has no vectors to index")
    if not histories:
        raise ModelError("an index is measured on histories of users, and there are none", "export without an index")
    rng = np.random.default_rng(0)
    rows = np.sort(rng.permutation(len(histories))[:QUERIES])
    asked = [histories[row] for row in rows]
    wanted = _best(served, asked)
    best = 0.0
    for name, kind in KINDS.items():
        if not kind.fits(served.described.width):
            continue
        trained, codes = _made(name, served.table, rng)
        nearest = Nearest(assembled(name, served.described.width, trained, codes), kind.candidates)
        found = _best(attrs.evolve(served, nearest=nearest), asked)
        recall = float(np.mean([len(np.intersect1d(*pair)) / len(pair[0]) for pair in zip(wanted, found, strict=True)]))
        if recall >= bar:
            np.save(folder / INDEX, codes, allow_pickle=False)
            np.save(folder / INDEX_TRAINED, trained, allow_pickle=False)
            return Indexed(name, kind.candidates, recall, len(asked))
        best = max(best, recall)
    said = f"the best index finds {best:.4f} of the ten best items, less than {bar:g}"
    raise ModelError(said, "export without an index, or ask for less")


def _best(served: Served, histories: Sequence[History]) -> list[NDArray[np.int32]]:
    """The best items of each history, as they are recommended."""
    size, found = max(1, AT_ONCE // len(served.ids)), []
    for start in range(0, len(histories), size):
        part = histories[start : start + size]
        hidden = [np.asarray(each) if served.filter_seen else np.zeros(0, dtype=np.int32) for each in part]
        found += list(served.best(part, hidden, min(TOP, len(served.ids))).items)
    return found


def _made(name: str, table: ItemTable, rng: np.random.Generator) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """What an index of a kind learns of the items' vectors, and the code of each."""
    import faiss

    items, width = table.rows.shape
    index = empty(name, width)
    index.train(table.floats(np.sort(rng.permutation(items)[:TRAINED_ON])))
    codes = np.empty((items, KINDS[name].code(width)), dtype=np.uint8)
    for start in range(0, items, BLOCK):
        part = slice(start, start + BLOCK)
        codes[part] = index.sa_encode(np.ascontiguousarray(table.floats(part)))
    trained = faiss.vector_to_array(index.pq.centroids if name == "pq4" else index.sq.trained)
    return trained.astype(np.float32), codes
