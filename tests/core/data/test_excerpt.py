"""Excerpts: a few rows of prepared data, and never an event that is a test target."""

from __future__ import annotations

import attrs
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lwa_core.data import Catalogue, Examples, PreparedData, TimedHistory
from lwa_core.data.excerpt import ITEMS, NEWEST, excerpt
from lwa_core.data.splits import by_time, leave_one_out, lend_to_calibration


def prepared(lengths: list[int], items: int, seed: int, *, timed: bool = False, cut: str = "leave-one-out"):
    rng = np.random.default_rng(seed)
    offsets = np.cumsum([0, *lengths], dtype=np.int64)
    events = rng.integers(0, items, offsets[-1]).astype(np.int32)
    times = np.concatenate([np.sort(rng.integers(0, 10**6, length)) for length in lengths]).astype(np.int64)
    parts = leave_one_out(offsets, times) if cut == "leave-one-out" else by_time(offsets, times, 0.2, 0.2)
    validation, calibration = lend_to_calibration(parts.validation, 0.3, seed)
    return PreparedData(
        catalogue=Catalogue(ids=tuple(f"i{n}" for n in range(items)), titles=tuple(f"t{n}" for n in range(items))),
        user_ids=tuple(f"u{n}" for n in range(len(lengths))),
        items=events,
        offsets=offsets,
        train_ends=parts.train_ends,
        validation=validation,
        calibration=calibration,
        test=parts.test,
        times=times if timed else None,
    )


def named(data: PreparedData, history) -> list[str]:
    return [data.catalogue.ids[item] for item in history]


def questions(data: PreparedData, examples: Examples) -> dict[str, tuple[list[str], str]]:
    """User -> the newest events of the history, and the target."""
    rows = zip(examples.users, data.histories(examples), data.targets(examples), strict=True)
    return {data.user_ids[u]: (named(data, h)[-20:], data.catalogue.ids[t]) for u, h, t in rows}


@settings(max_examples=60)
@given(
    lengths=st.lists(st.integers(3, 40), min_size=8, max_size=60),
    items=st.integers(2, 300),
    seed=st.integers(0, 99),
    cut=st.sampled_from(["leave-one-out", "time"]),
    whole=st.booleans(),
)
def test_an_excerpt_asks_some_of_the_same_questions_and_shows_no_test_target(lengths, items, seed, cut, whole):
    data = prepared(lengths, items, seed, cut=cut)
    small = excerpt(data, 5, whole_catalogue=whole)

    for part in ("validation", "calibration"):
        own, theirs = questions(data, getattr(data, part)), questions(small, getattr(small, part))
        assert theirs.items() <= own.items()
    assert min(5, len(data.calibration)) == len(small.calibration)
    positions = dict(zip(data.test.users.tolist(), data.test.positions.tolist(), strict=True))
    for row, user in enumerate(small.user_ids):
        number = data.user_ids.index(user)
        end = positions.get(number, int(data.offsets[number + 1]))
        before = named(data, data.items[data.offsets[number] : end])
        shown = named(small, small.items[small.offsets[row] : small.offsets[row + 1]])
        assert shown == before[: len(shown)]  # a test target and what follows it are not in it
        trained = named(small, small.items[small.offsets[row] : small.train_ends[row]])
        assert trained == named(data, data.items[data.offsets[number] : data.train_ends[number]])
    assert questions(small, small.test) == questions(small, small.validation)
    assert items == len(small.catalogue) if whole else len(small.catalogue) <= max(ITEMS, len(set(small.items)))
    assert all(title[1:] == item[1:] for title, item in zip(small.catalogue.titles, small.catalogue.ids, strict=True))


def test_of_long_histories_the_newest_events_are_kept_with_their_times():
    data = prepared([3 * NEWEST, 5, 6, 7], 50, 0, timed=True)
    small = excerpt(data)
    sequences = small.training_sequences()
    longest = max(sequences, key=len)
    assert NEWEST - 2 <= len(longest) <= NEWEST
    assert isinstance(longest, TimedHistory)
    end = int(data.train_ends[0])
    assert data.times[end - len(longest) : end].tolist() == longest.times.tolist()


@pytest.mark.parametrize("part", ["calibration", "validation"])
def test_parts_may_be_empty(part):
    none = Examples(np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64))
    data = attrs.evolve(prepared([5, 6, 7, 9], 30, 0), **{part: none})
    assert 0 == len(getattr(excerpt(data), part))
