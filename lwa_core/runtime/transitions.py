"""A table of transitions in numpy: what `lwa_plugins` has in torch, for a process without it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import attrs
import numpy as np
from numpy.typing import NDArray

from lwa_core.errors import ModelError
from lwa_core.runtime.description import PRIOR, Described, Prior, read_array
from lwa_core.types import History

Floats = NDArray[np.float32]
Whole = NDArray[np.int64]


@attrs.frozen(eq=False)
class SparseRows:
    """A sparse table: where each row begins, columns and values of the entries."""

    starts: Whole
    columns: NDArray[np.int32]
    values: Floats

    @classmethod
    def read(cls, folder: Path, name: str, rows: int, columns: int, entries: int) -> SparseRows:
        """One of a bundle. Raises ModelError where it is none."""
        starts = read_array(folder, f"{PRIOR}/{name}-starts.npy", np.int64, (rows + 1,))
        found = read_array(folder, f"{PRIOR}/{name}-columns.npy", np.int32, (entries,), mapped=True)
        values = read_array(folder, f"{PRIOR}/{name}-values.npy", np.float32, (entries,), mapped=True)
        whole = starts[0] == 0 and starts[-1] == entries and bool((np.diff(starts) >= 0).all())
        if not whole or (entries and not (found.min() >= 0 and found.max() < columns)):
            raise ModelError(f"the bundle in {folder} is damaged: the table of {name} does not hold together")
        return cls(starts, found, values)

    def add(self, into: Floats, row: int, weight: float) -> None:
        """Add a row, times a number, to a dense one."""
        entries = slice(self.starts[row], self.starts[row + 1])
        into[self.columns[entries]] += np.float32(weight) * self.values[entries]


@attrs.frozen(eq=False)
class TransitionScores:
    """Scores of all items after the last items of a history, times the factor with which they are added."""

    settings: Prior
    evidence: SparseRows
    log_shares: Floats
    terms: SparseRows | None
    items_of_terms: Whole

    @classmethod
    def read(cls, folder: Path, described: Described) -> TransitionScores | None:
        """That of a bundle, if it has one. Raises ModelError."""
        prior, items = described.prior, described.items
        if prior is None:
            return None
        evidence = SparseRows.read(folder, "evidence", items, items, prior.entries)
        shares = read_array(folder, f"{PRIOR}/log-shares.npy", np.float32, (items,))
        if not prior.features:
            return cls(prior, evidence, shares, None, np.zeros(0, dtype=np.int64))
        terms = SparseRows.read(folder, "terms", items, prior.terms, prior.term_entries)
        return cls(prior, evidence, shares, terms, np.repeat(np.arange(items), np.diff(terms.starts)))

    def scores(self, histories: Sequence[History]) -> Floats:
        """(histories, items)."""
        said = self.settings
        made = np.tile(np.float32(said.popularity) * self.log_shares, (len(histories), 1))
        for row, history in enumerate(histories):
            last = np.asarray(history)[-said.history :][::-1].tolist()
            for age, item in enumerate(last):
                self.evidence.add(made[row], item, said.decay**age)
            if self.terms is not None and last:
                made[row] += self._cosines(self.terms, last)
        if said.offset is None:
            return made * np.float32(said.factor)
        lowest = np.float32(said.popularity) * self.log_shares.min()
        logits: Floats = np.log1p(np.maximum(made - lowest, 0) / np.float32(said.offset))
        return logits * np.float32(said.factor)

    def _cosines(self, terms: SparseRows, last: Sequence[int]) -> Floats:
        profile = np.zeros(self.settings.terms, dtype=np.float32)
        for age, item in enumerate(last):
            terms.add(profile, item, self.settings.features * self.settings.features_decay**age)
        found = terms.values * profile[terms.columns]
        return np.bincount(self.items_of_terms, found, minlength=len(self.log_shares)).astype(np.float32)
