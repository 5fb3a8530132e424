"""Made-up users whose taste has a memory: the embedded data set for demos and tests."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import attrs
import numpy as np
from numpy.typing import NDArray

from lwa_core import DataError, Source, setting

Int64 = NDArray[np.int64]

BLOCK = 4096
"""Users drawn at a time: it bounds the memory, and is part of what a seed means."""

START = 1_577_836_800
"""2020-01-01, when the first users begin."""

NOTE = "synthetic data: made up by a rule, to test and to demonstrate; its numbers are no finding about real users"


@attrs.frozen
class Synthetic:
    """Made-up histories whose next genre follows from the order of genres far back; no finding about real users.

    Every user has `memories` hidden switches, each 0 or 1. After an event of genre g the switches change, from the last
    to the first: genre l + 1 makes switch l (l > 0) a copy of switch l - 1, and genre 0 or 1 sets switch 0 to 0 or 1.
    The next genre is then `(g + 1 + switch_0 + 2 * switch_1 + 4 * switch_2 + ...) mod genres`. So switch 1 holds which
    of genres 0 and 1 had been seen last *when genre 2 was last seen*. A share `noise` of the genres is drawn at random
    instead. Within its genre the item is drawn by a Zipf law of popularity, and no user meets an item twice.
    """

    users: int = setting(2000, help="how many users", minimum=10)
    items: int = setting(440, help="how many items, spread evenly over the genres", minimum=10)
    genres: int = setting(11, help="how many genres; a prime number lets every user visit all of them", minimum=3)
    mean_length: int = setting(30, help="events of a user on average; uniform within a third of it", minimum=6)
    memories: int = setting(2, help="hidden switches, each set by the order of genres further back", minimum=1)
    noise: float = setting(0.2, help="share of events whose genre is drawn at random", minimum=0.0, maximum=1.0)
    zipf: float = setting(1.0, help="exponent of the popularity of items within a genre; 0: all equal", minimum=0.0)
    seed: int = setting(0, help="draws the data; the recipe's own seed does not change it", minimum=0)

    def files(self) -> Sequence[Path]:
        return ()

    def read(self) -> Source:
        import polars as pl

        self._check()
        genre_of = self._genre_of_items()
        lengths, items, times = [], [], []
        for begin in range(0, self.users, BLOCK):
            rng = np.random.default_rng([self.seed, 1 + begin // BLOCK])
            length, item, time = self._block(rng, min(BLOCK, self.users - begin), genre_of)
            lengths.append(length)
            items.append(item)
            times.append(time)
        users = np.repeat(np.arange(self.users), np.concatenate(lengths))
        events = pl.LazyFrame({"user": users, "item": np.concatenate(items), "timestamp": np.concatenate(times)})
        table = pl.DataFrame({"item": np.arange(self.items), "genre": genre_of}).select(
            pl.col("item").cast(pl.String),
            title=pl.format("Item {}", "item"),
            categories=pl.concat_list(pl.format("genre {}", "genre")),
        )
        return Source(events.with_columns(pl.col("user", "item").cast(pl.String)), table, notes=(NOTE,))

    @property
    def longest(self) -> int:
        """The most events that a user can have."""
        return self.mean_length + self.mean_length // 3

    def _check(self) -> None:
        if 2**self.memories >= self.genres or self.memories + 1 >= self.genres:
            raise DataError(
                f"{self.memories} memories need more than {max(2**self.memories, self.memories + 1)} genres",
                hint="raise genres or lower memories",
            )
        if self.longest > self.items // self.genres:
            raise DataError(
                f"a user of {self.longest} events could run out of the {self.items // self.genres} items of a genre",
                hint="raise items, or lower mean_length or genres",
            )

    def _genre_of_items(self) -> Int64:
        """The genre of each item (items,): even shares, at random places, so that ids tell nothing."""
        return np.random.default_rng([self.seed, 0]).permutation(np.arange(self.items) % self.genres)

    def _block(self, rng: np.random.Generator, users: int, genre_of: Int64) -> tuple[Int64, Int64, Int64]:
        """Lengths (users,), and items and timestamps of all events, one user after another (events,)."""
        genres = self._genre_sequences(rng, users)  # (users, longest)
        shelf = self._shelves(rng, users, genre_of)  # (users, genres, items of a genre)
        taken = np.zeros((users, self.genres), dtype=np.int64)
        items = np.empty_like(genres)
        everyone = np.arange(users)
        for step in range(self.longest):
            genre = genres[:, step]
            items[:, step] = shelf[everyone, genre, taken[everyone, genre]]
            taken[everyone, genre] += 1
        # Everybody comes back after a day on average, never twice in one second; the starts are spread so widely that
        # a cut in time finds users at every stage.
        gaps = 1 + rng.geometric(1 / 86_400, size=genres.shape)
        gaps[:, 0] += rng.integers(0, self.mean_length * 86_400, size=users)
        times = START + np.cumsum(gaps, axis=1)
        third = self.mean_length // 3
        lengths = rng.integers(self.mean_length - third, self.mean_length + third + 1, size=users)
        inside = np.arange(self.longest) < lengths[:, None]
        return lengths, items[inside], times[inside]

    def _genre_sequences(self, rng: np.random.Generator, users: int) -> Int64:
        """The genre of every event (users, longest)."""
        genres = np.empty((users, self.longest), dtype=np.int64)
        genres[:, 0] = rng.integers(self.genres, size=users)
        switches = rng.integers(2, size=(self.memories, users))
        weights = 2 ** np.arange(self.memories)
        for step in range(1, self.longest):
            before = genres[:, step - 1]
            # From the last switch to the first, so that a copy takes what was there before this event.
            for level in range(self.memories - 1, 0, -1):
                switches[level] = np.where(before == level + 1, switches[level - 1], switches[level])
            switches[0] = np.where(before <= 1, before, switches[0])
            by_rule = (before + 1 + weights @ switches) % self.genres
            at_random = rng.integers(self.genres, size=users)
            genres[:, step] = np.where(rng.random(users) < self.noise, at_random, by_rule)
        return genres

    def _shelves(self, rng: np.random.Generator, users: int, genre_of: Int64) -> Int64:
        """For every user and genre its items in the order in which this user will meet them.

        Sorting by log weight plus Gumbel noise is drawing without replacement in proportion to the weights.
        """
        per_genre = self.items // self.genres
        by_genre = np.argsort(genre_of, kind="stable")
        starts = np.searchsorted(genre_of[by_genre], np.arange(self.genres))
        shelf = by_genre[starts[:, None] + np.arange(per_genre)]  # (genres, per_genre), most popular first
        weight = -self.zipf * np.log(np.arange(1, per_genre + 1))
        keys = weight + rng.gumbel(size=(users, self.genres, per_genre))
        order = np.argsort(-keys, axis=2, kind="stable")
        return np.take_along_axis(np.broadcast_to(shelf, order.shape), order, axis=2)
