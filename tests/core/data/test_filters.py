import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from lwa_core.data.filters import k_core, keep_one_of_duplicates

EVENTS = st.lists(st.tuples(st.integers(0, 7), st.integers(0, 7)), max_size=60)
CORE = st.integers(1, 4)


def arrays(events):
    table = np.array(events, dtype=np.int64).reshape(-1, 2)
    return table[:, 0], table[:, 1]


def naive_core(events, user_core, item_core):
    """One event at a time, until no event has to go."""
    left = list(events)
    while True:
        for event in left:
            users = sum(user == event[0] for user, _ in left)
            items = sum(item == event[1] for _, item in left)
            if users < user_core or items < item_core:
                left.remove(event)
                break
        else:
            return left


def core(events, user_core, item_core):
    kept, _ = k_core(*arrays(events), user_core, item_core)
    return [event for event, stays in zip(events, kept, strict=True) if stays]


@given(EVENTS, CORE, CORE)
def test_core_is_the_naive_fixed_point(events, user_core, item_core):
    assert sorted(naive_core(events, user_core, item_core)) == sorted(core(events, user_core, item_core))


@given(EVENTS, CORE, CORE)
def test_core_is_idempotent(events, user_core, item_core):
    once = core(events, user_core, item_core)

    assert once == core(once, user_core, item_core)


@given(EVENTS, CORE, CORE, st.randoms(use_true_random=False))
def test_core_does_not_depend_on_the_order_of_rows(events, user_core, item_core, random):
    shuffled = random.sample(events, len(events))

    assert sorted(core(events, user_core, item_core)) == sorted(core(shuffled, user_core, item_core))


def test_core_counts_its_rounds():
    """Losing item 9 costs user 2 its second event, which costs item 1 its second."""
    events = [(0, 0), (0, 3), (1, 0), (1, 3), (0, 1), (2, 1), (2, 9)]

    kept, rounds = k_core(*arrays(events), 2, 2)

    assert [True, True, True, True, False, False, False] == kept.tolist()
    assert 3 == rounds


@given(EVENTS, st.sampled_from(["first", "last", "all"]))
def test_duplicates_leave_what_a_dictionary_leaves(events, which):
    places = {}
    for row, event in enumerate(events):
        if which == "last" or event not in places:
            places[event] = row
    expected = list(range(len(events))) if which == "all" else sorted(places.values())

    assert expected == np.flatnonzero(keep_one_of_duplicates(*arrays(events), which)).tolist()
