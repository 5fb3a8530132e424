"""An index of many items: from a state to those that may be its best, whose exact scores then decide.

Its arrays lie in the bundle as numpy writes them, and faiss gets them in memory: it reads no file, so that a file of
another shape is refused before native code sees it.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
import numpy as np
from numpy.typing import NDArray

from lwa_core.errors import ModelError
from lwa_core.runtime.description import INDEX, INDEX_TRAINED, Described, read_array

Floats = NDArray[np.float32]

MOST_CANDIDATES = 10_000
"""For each item that is wanted."""


@attrs.frozen
class Kind:
    """A way to make vectors short.

    Args:
        candidates: Items that it gives for each that is wanted.
        code: From the width to the bytes of an item.
        trained: From the width to how many numbers are trained.
        together: How many neighbouring numbers get one code: they divide the width.
    """

    candidates: int
    code: Callable[[int], int]
    trained: Callable[[int], int]
    together: int = 1

    def fits(self, width: int) -> bool:
        """Whether vectors of a width can be made short so."""
        return width % self.together == 0


KINDS = {
    "pq4": Kind(200, lambda width: (width // 2 + 1) // 2, lambda width: 16 * width, together=2),
    "sq8": Kind(4, lambda width: width, lambda width: 2 * width),
}
"""Faster ones first."""


@attrs.frozen(eq=False)
class Nearest:
    """An index in memory.

    Args:
        index: Of faiss, by inner product.
        candidates: Items that it gives for each that is wanted.
    """

    index: Any
    candidates: int

    @classmethod
    def read(cls, folder: Path, described: Described, threads: int) -> Nearest | None:
        """That of a bundle; None where it has none, or faiss is not installed, and every item is scored.

        Raises:
            ModelError: It is damaged.
        """
        said = described.index
        if said is None or described.prior is not None:  # a prior adds what no index of the network's vectors knows
            return None
        kind = KINDS.get(said.kind)
        if kind is None or not kind.fits(described.width) or not 1 <= said.candidates <= MOST_CANDIDATES:
            raise ModelError(f"the bundle in {folder} is damaged: there is no index {said}")
        trained = read_array(folder, INDEX_TRAINED, np.float32, (kind.trained(described.width),))
        codes = read_array(folder, INDEX, np.uint8, (described.items, kind.code(described.width)), mapped=True)
        if not np.isfinite(trained).all():
            raise ModelError(f"the bundle in {folder} is damaged: {INDEX_TRAINED} holds what is no number")
        try:
            import faiss
        except ImportError:
            return None
        faiss.omp_set_num_threads(threads)
        return cls(assembled(said.kind, described.width, trained, codes), said.candidates)

    def wanted(self, k: int, hidden: int) -> int:
        """How many items are asked for where k are wanted, of which so many may not be there."""
        return self.candidates * k + hidden

    def found(self, states: Floats, count: int) -> NDArray[np.int64]:
        """The items that may be best for states (histories, width); −1 where there are no more (histories, count)."""
        items: NDArray[np.int64] = self.index.search(np.ascontiguousarray(states), count)[1]
        return items


def assembled(kind: str, width: int, trained: Floats, codes: NDArray[np.uint8]) -> Any:
    """The index of faiss with these numbers and codes."""
    import faiss

    index = empty(kind, width)
    faiss.copy_array_to_vector(trained, index.pq.centroids if kind == "pq4" else index.sq.trained)
    index.is_trained = True
    index.add_sa_codes(np.ascontiguousarray(codes))
    return faiss.IndexPQFastScan(index) if kind == "pq4" else index


def empty(kind: str, width: int) -> Any:
    """An index of faiss that is not trained yet."""
    import faiss

    if kind == "pq4":  # two neighbouring numbers to one of sixteen points
        return faiss.IndexPQ(width, width // 2, 4, faiss.METRIC_INNER_PRODUCT)
    return faiss.IndexScalarQuantizer(width, faiss.ScalarQuantizer.QT_8bit, faiss.METRIC_INNER_PRODUCT)
