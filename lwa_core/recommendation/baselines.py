"""Untrained recommenders that every run is measured against: popularity, bigram, item-kNN, transitions.

Each is fitted on the training part alone. A transformer that loses to one of them has learned too little, whatever its
layers score (Dacrema, Cremonesi & Jannach 2019, Are we really making much progress?).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

import attrs
import numpy as np
from numpy.typing import NDArray

from lwa_core.data import PreparedData
from lwa_core.recommendation.transitions import TransitionSettings, fit_transitions
from lwa_core.types import History

if TYPE_CHECKING:
    import torch

Floats = NDArray[np.float64]

PRIOR = 1.0
"""How many observed transitions the popularity prior of the bigram weighs."""
NEIGHBOURS = 200
"""Neighbours that item-kNN keeps of each item."""
RECENT = 10
"""How many of the last items of a history item-kNN looks at."""
DECAY = 0.8
"""How much less each item counts for item-kNN than the one after it."""
GRID = 2.0**32
"""One over the difference by which two sums of item-kNN's similarities count as different."""
BLOCK = 1024


class UntrainedBaseline(Protocol):
    """A fitted recommender without layers. `scores` is what `rank_examples` takes."""

    @property
    def name(self) -> str:
        """What reports call it."""

    def scores(self, histories: Sequence[History]) -> torch.Tensor:
        """Score of every item after each history (histories, items), float64."""


def popularity(data: PreparedData) -> UntrainedBaseline:
    """Items by how many training events they have, the same for everybody."""
    return _Popularity(_shares(data))


def bigram(data: PreparedData) -> UntrainedBaseline:
    """Probability of the next item given the last one: (c(a, b) + m p(b)) / (c(a) + m).

    c(a, b) counts how often b comes right after a in a training sequence, c(a) how often anything does, p(b) is the
    share of b among the training events, and m is `PRIOR` (additive smoothing towards the unigram; MacKay & Peto 1995).
    After an empty history the score is p(b).
    """
    from scipy.sparse import csr_array

    items = len(data.catalogue)
    sequences = data.training_sequences()
    empty = [np.zeros(0, dtype=np.int32)]
    before = np.concatenate([sequence[:-1] for sequence in sequences] + empty)
    after = np.concatenate([sequence[1:] for sequence in sequences] + empty)
    counts = csr_array((np.ones(len(before)), (before, after)), shape=(items, items))
    return _Bigram(_shares(data), counts, np.bincount(before, minlength=items).astype(np.float64))


def item_knn(data: PreparedData) -> UntrainedBaseline:
    """Items that share users with the last items of the history.

    The similarity of two items is the cosine of their sets of training users (Sarwar et al. 2001; Deshpande & Karypis
    2004), of which the `NEIGHBOURS` largest an item are kept; of equal ones at the end those of the lowest index, which
    is decided by whole numbers and not by rounded cosines. An item's score is the sum of its similarities to the last
    `RECENT` items of the history, the last one at weight 1, the one before it at `DECAY`, and so on, to the nearest
    multiple of 1 / `GRID`. Popularity only breaks ties.
    """
    from scipy.sparse import csr_array

    items = len(data.catalogue)
    sequences = data.training_sequences()
    users = np.repeat(np.arange(len(sequences)), [len(sequence) for sequence in sequences])
    flat = np.concatenate([*sequences, np.zeros(0, dtype=np.int32)])
    seen = csr_array((np.ones(len(flat)), (users, flat)), shape=(len(sequences), items))
    seen.data[:] = 1  # what a user had twice is in the set once
    return _ItemKnn(_popularity_below_grid(data), _neighbours(seen, np.maximum(seen.sum(axis=0), 1)))


def transitions(data: PreparedData, settings: TransitionSettings) -> UntrainedBaseline:
    """The whole decayed history's transitions, popularity-corrected; its settings are those that tuning chose."""
    return fit_transitions(data.training_sequences(), data.catalogue, settings)


def baselines(data: PreparedData) -> tuple[UntrainedBaseline, ...]:
    """All of them that need no tuning, fitted."""
    return popularity(data), bigram(data), item_knn(data)


@attrs.frozen(eq=False)
class _Popularity:
    shares: Floats
    name: str = "popularity"

    def scores(self, histories: Sequence[History]) -> torch.Tensor:
        return _tensor(np.tile(self.shares, (len(histories), 1)))


@attrs.frozen(eq=False)
class _Bigram:
    shares: Floats
    counts: Any
    totals: Floats
    name: str = "bigram"

    def scores(self, histories: Sequence[History]) -> torch.Tensor:
        table = np.tile(PRIOR * self.shares, (len(histories), 1))
        known = np.array([row for row, history in enumerate(histories) if len(history)], dtype=np.int64)
        last = np.array([histories[row][-1] for row in known], dtype=np.int64)
        if len(known):
            table[known] += self.counts[last].toarray()
            table[known] /= self.totals[last, None] + PRIOR
        return _tensor(table)


@attrs.frozen(eq=False)
class _ItemKnn:
    popularity: Floats
    similar: Any
    name: str = "item-knn"

    def scores(self, histories: Sequence[History]) -> torch.Tensor:
        from scipy.sparse import csr_array

        recent = [history[-RECENT:] for history in histories]
        lengths = np.array([len(history) for history in recent], dtype=np.int64)
        rows = np.repeat(np.arange(len(recent)), lengths)
        weights = [DECAY ** np.arange(length - 1, -1, -1.0) for length in lengths]
        events = csr_array(
            (np.concatenate([*weights, np.zeros(0)]), (rows, np.concatenate([*recent, np.zeros(0, dtype=np.int32)]))),
            shape=(len(recent), len(self.popularity)),
        )
        # The same similarities added in another order differ in the last digits: on the grid they are equal again.
        sums = np.rint((events @ self.similar).toarray() * GRID) / GRID
        return _tensor(sums + self.popularity)


def _shares(data: PreparedData) -> Floats:
    """Share of each item among the training events (items,)."""
    events = np.concatenate([*data.training_sequences(), np.zeros(0, dtype=np.int32)])
    counts = np.bincount(events, minlength=len(data.catalogue))
    return np.asarray(counts / max(len(events), 1))


def _popularity_below_grid(data: PreparedData) -> Floats:
    """The order of the items by training events, equals sharing a place, as numbers below half of 1 / `GRID` (items,).

    There are few different counts, so that a sum of similarities plus such a number is exact to a double's last digits.
    """
    events = np.concatenate([*data.training_sequences(), np.zeros(0, dtype=np.int32)])
    counts, place = np.unique(np.bincount(events, minlength=len(data.catalogue)), return_inverse=True)
    return np.asarray(place / (2 * GRID * len(counts)))


def _neighbours(seen: Any, users: Floats) -> Any:
    """The largest cosines of each item to others (items, items), sparse; of equal ones those of the lowest index.

    Args:
        seen: 1 where a user has an item (users, items).
        users: How many users have each item, at least 1 (items,).
    """
    from scipy.sparse import csr_array, vstack

    items = len(users)
    by_item = seen.T.tocsr()
    blocks = []
    for start in range(0, items, BLOCK):
        common = (by_item[start : start + BLOCK] @ seen).tocoo()  # users in common
        rows, columns = common.coords
        keep = rows + start != columns
        rows, columns, count = rows[keep], columns[keep], common.data[keep]
        # In a row squared cosines are as count^2 / users: whole part and rest of that division order them exactly.
        squares, others = count * count, users[columns]
        order = np.lexsort((columns, -((squares % others) / others), -(squares // others), rows))
        rows, columns = rows[order], columns[order]
        # Every step is rounded correctly, so that equal cosines are equal numbers.
        cosine = np.sqrt(squares[order] / (users[rows + start] * others[order]))
        begins = np.searchsorted(rows, rows)  # where each entry's row begins
        near = np.arange(len(rows)) - begins < NEIGHBOURS
        shape = (min(BLOCK, items - start), items)
        blocks.append(csr_array((cosine[near], (rows[near], columns[near])), shape=shape))
    return vstack(blocks, format="csr")


def _tensor(table: Floats) -> torch.Tensor:
    import torch

    return torch.from_numpy(table)
