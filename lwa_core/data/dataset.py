"""Prepared data: every user's events as one flat array with offsets, and the positions that each use may look at."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import attrs
import numpy as np
from numpy.typing import NDArray

from lwa_core.data.arrays import Int32, Int64
from lwa_core.data.timed import TimedHistory, asks_for_times
from lwa_core.errors import DataError


@attrs.frozen(eq=False)
class Catalogue:
    """The items that can be recommended. An item's index (0-based) is its place in `ids`."""

    ids: tuple[str, ...]
    titles: tuple[str, ...] | None = None
    categories: tuple[tuple[str, ...], ...] | None = None

    def __len__(self) -> int:
        return len(self.ids)

    def index(self) -> dict[str, int]:
        """Item id -> index."""
        return {name: place for place, name in enumerate(self.ids)}


@attrs.frozen(eq=False)
class Examples:
    """Next-item examples, each a position in the flat item array: the item there is the target, all before it of the
    same user is the history.

    Args:
        users: Row of the user of each example (examples,), int64.
        positions: Index of the target in `PreparedData.items` (examples,), int64.
    """

    users: Int64
    positions: Int64

    def __len__(self) -> int:
        return len(self.positions)

    def take(self, rows: Int64 | slice) -> Examples:
        return Examples(self.users[rows], self.positions[rows])


@attrs.frozen
class Step:
    """What was left after one step of preparation."""

    name: str
    rows: int
    users: int
    items: int


@attrs.frozen(eq=False)
class PreparedData:
    """Filtered, ordered and split interactions.

    Args:
        catalogue: The items.
        user_ids: Original id of each user (users,).
        items: Item index of every event, users one after another, each in order (events,), int32.
        offsets: Where each user begins; user u has items[offsets[u]:offsets[u+1]] (users + 1,), int64.
        train_ends: End of each user's training part: items[offsets[u]:train_ends[u]] may be trained on (users,), int64.
        validation: Examples for early stopping and tuning.
        calibration: Examples for scoring and selecting layers; disjoint from `validation`.
        test: Examples that only the final evaluation sees.
        steps: Rows, users and items after each step, from the raw file on.
        facts: JSON-ready facts for the report: split rule, tie order, counts, notes.
        times: Milliseconds since 1970 UTC of every event (events,), int64, where the events are ordered by them;
            histories and training sequences are then `TimedHistory`s.
    """

    catalogue: Catalogue
    user_ids: tuple[str, ...]
    items: Int32
    offsets: Int64
    train_ends: Int64
    validation: Examples
    calibration: Examples
    test: Examples
    steps: tuple[Step, ...] = ()
    facts: Mapping[str, Any] = attrs.field(factory=dict)
    times: Int64 | None = None

    @property
    def users(self) -> int:
        return len(self.offsets) - 1

    def only(self, *uses: str) -> PreparedData:
        """The same data without any event that only other uses may look at, in arrays of its own.

        Args:
            uses: Any of `validation`, `calibration`, `test`; training parts are always there. Examples of the others
                are empty, and nothing that is left leads to their targets.
        """
        ends = self.train_ends.copy()
        for use in uses:
            examples: Examples = getattr(self, use)
            np.maximum.at(ends, examples.users, examples.positions + 1)
        sizes = ends - self.offsets[:-1]
        offsets = np.zeros(len(self.offsets), dtype=np.int64)
        np.cumsum(sizes, out=offsets[1:])
        moved = offsets[:-1] - self.offsets[:-1]  # of each user's events
        rows = np.repeat(-moved, sizes) + np.arange(offsets[-1])

        def taken(use: str) -> Examples:
            examples: Examples = getattr(self, use)
            if use not in uses:
                return Examples(examples.users[:0].copy(), examples.positions[:0].copy())
            return Examples(examples.users.copy(), examples.positions + moved[examples.users])

        return attrs.evolve(
            self,
            items=self.items[rows],
            offsets=offsets,
            train_ends=self.train_ends + moved,
            validation=taken("validation"),
            calibration=taken("calibration"),
            test=taken("test"),
            facts={},
            times=None if self.times is None else self.times[rows],
        )

    def history(self, examples: Examples, row: int) -> Int32:
        """Items before the target of one example, oldest first."""
        return self._part(int(self.offsets[examples.users[row]]), int(examples.positions[row]))

    def histories(self, examples: Examples) -> list[Int32]:
        """The history of every example, as views into the flat array: a component gets `lent` copies of them."""
        starts = self.offsets[examples.users]
        return [self._part(a, b) for a, b in zip(starts, examples.positions, strict=True)]

    def targets(self, examples: Examples) -> Int64:
        """Item index of every example's target (examples,)."""
        return self.items[examples.positions].astype(np.int64)

    def seen(self, examples: Examples) -> NDArray[np.bool_]:
        """Whether the target of each example is in its history (examples,)."""
        found = [
            target in history for history, target in zip(self.histories(examples), self.targets(examples), strict=True)
        ]
        return np.array(found, dtype=np.bool_)

    def training_sequences(self) -> list[Int32]:
        """Each user's training part, oldest first, as views; users with an empty one are left out.

        Where the flat array holds more than training parts, a component gets those of `only()`.
        """
        bounds = zip(self.offsets[:-1], self.train_ends, strict=True)
        return [self._part(a, b) for a, b in bounds if b > a]

    def for_recommender(self, recommender: object) -> PreparedData:
        """The same with times for a recommender that asks for them, and without for any other.

        Raises:
            DataError: It asks for them, and there are none.
        """
        if not asks_for_times(recommender):
            return attrs.evolve(self, times=None)
        if self.times is None:
            hint = "name the column of timestamps, or let the recommender do without"
            raise DataError("the recommender looks at the times of events, and the data has none", hint=hint)
        return self

    def history_of(self, user: int) -> Int32:
        """All items of the user in a row, oldest first."""
        return self._part(int(self.offsets[user]), int(self.offsets[user + 1]))

    def _part(self, start: int, end: int) -> Int32:
        items = self.items[start:end]
        return items if self.times is None else TimedHistory(items, self.times[start:end])


def lent(histories: Sequence[Int32]) -> list[Int32]:
    """Copies of histories for a component: a view would lead to the array that it is a part of, and to the targets."""
    return [
        TimedHistory(np.array(history), np.array(history.times))
        if isinstance(history, TimedHistory) and history.times is not None
        else np.array(history)
        for history in histories
    ]


def test_digest(data: PreparedData) -> str:
    """sha256 of the ordered (user id, test item id) pairs: results with another digest are never compared."""
    import hashlib

    digest = hashlib.sha256()
    for user, item in zip(data.test.users, data.targets(data.test), strict=True):
        digest.update(f"{data.user_ids[user]}\t{data.catalogue.ids[item]}\n".encode())
    return digest.hexdigest()


def concatenate(sequences: Sequence[Int32]) -> tuple[Int32, Int64]:
    """Sequences -> (flat items, offsets)."""
    offsets = np.zeros(len(sequences) + 1, dtype=np.int64)
    np.cumsum([len(s) for s in sequences], out=offsets[1:])
    flat = np.concatenate(sequences).astype(np.int32) if len(sequences) else np.zeros(0, dtype=np.int32)
    return flat, offsets
