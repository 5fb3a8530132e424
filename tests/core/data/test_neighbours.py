"""Ties between neighbouring events, and whether their items ascend, against a naive loop."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lwa_core.data import Catalogue, Examples, PreparedData
from lwa_core.data.neighbours import neighbours

ITEMS = 6
EVENTS = st.lists(st.lists(st.tuples(st.integers(0, ITEMS - 1), st.integers(0, 4)), max_size=8), min_size=1, max_size=5)


def prepared(users, timed):
    lengths = [len(user) for user in users]
    offsets = np.cumsum([0, *lengths], dtype=np.int64)
    events = [event for user in users for event in user]
    none = Examples(np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64))
    return PreparedData(
        Catalogue(tuple(map(str, range(ITEMS)))),
        tuple(map(str, range(len(users)))),
        np.array([item for item, _ in events], dtype=np.int32),
        offsets,
        offsets[1:],
        none,
        none,
        none,
        times=np.array([time for _, time in events], dtype=np.int64) if timed else None,
    )


def naive(users, timed):
    pairs = [(a, b) for user in users for a, b in pairwise(user)]
    ties = [(a, b) for a, b in pairs if a[1] == b[1]]
    of_file = [(a[0], b[0]) for a, b in (ties if timed else pairs) if a[0] != b[0]]
    return {
        "neighbours_in_ties": len(ties) / len(pairs) if timed and pairs else None,
        "neighbours_ascending": sum(a < b for a, b in of_file) / len(of_file) if of_file else None,
    }


@settings(max_examples=200, deadline=None)
@given(EVENTS, st.booleans())
def test_the_shares_are_those_of_a_naive_loop(users, timed):
    users = [sorted(user, key=lambda event: event[1]) for user in users] if timed else users

    assert naive(users, timed) == neighbours(prepared(users, timed))


def test_a_file_that_was_sorted_by_item_is_known_by_it():
    rng = np.random.default_rng(0)
    users = [[(int(item), 0) for item in rng.permutation(ITEMS)] for _ in range(400)]

    assert neighbours(prepared(users, False))["neighbours_ascending"] == pytest.approx(0.5, abs=0.05)
    assert 1.0 == neighbours(prepared([sorted(user) for user in users], False))["neighbours_ascending"]
