"""Who may look at which events: leave-one-out and two cut-offs in time."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timezone
from typing import Any

import attrs
import numpy as np

from lwa_core.data.arrays import Int8, Int64
from lwa_core.data.dataset import Examples
from lwa_core.errors import DataError


@attrs.frozen(eq=False)
class Parts:
    """A split before calibration has borrowed its share of the validation examples.

    Until `train_ends` each user's events may be trained on, until `test_begins` once nothing is left to choose.
    `ties` counts the users whose test target another order of equal timestamps would change; None without timestamps.
    """

    train_ends: Int64
    test_begins: Int64
    validation: Examples
    test: Examples
    ties: int | None
    facts: Mapping[str, Any]


def leave_one_out(offsets: Int64, times: Int64 | None) -> Parts:
    """Last event of a user: test target; the one before it: validation target; users with fewer than 3 only train."""
    starts, ends = offsets[:-1], offsets[1:]
    users = np.flatnonzero(ends - starts >= 3)
    train_ends = ends.copy()
    train_ends[users] -= 2
    last = ends[users] - 1
    ties = None if times is None else int(np.count_nonzero(times[last] == times[last - 1]))
    facts = {"users_too_short": int(len(starts) - len(users))}
    test_begins = ends.copy()
    test_begins[users] = last
    return Parts(train_ends, test_begins, Examples(users, last - 1), Examples(users, last), ties, facts)


def by_time(offsets: Int64, times: Int64, validation: float, test: float) -> Parts:
    """Two cut-offs for all users; a user's example in a window is their first event there.

    Events before the first cut-off train. Users who have no event before a window have no example in it. `times` is
    sorted within each user.
    """
    first, second = _cuts(times, validation, test)
    counts = np.diff(offsets)
    owners = np.repeat(np.arange(len(counts)), counts)

    def begin(cut: int) -> Int64:
        """Position of each user's first event at or after `cut`."""
        before = np.bincount(owners[times < cut], minlength=len(counts))
        return np.asarray(offsets[:-1] + before, dtype=np.int64)

    starts, train_ends, test_begins = offsets[:-1], begin(first), begin(second)
    in_validation = train_ends < test_begins
    in_test = test_begins < offsets[1:]
    validation_users = np.flatnonzero(in_validation & (train_ends > starts))
    test_users = np.flatnonzero(in_test & (test_begins > starts))
    positions = test_begins[test_users]
    followed = positions + 1 < offsets[test_users + 1]
    ties = int(np.count_nonzero(times[positions[followed]] == times[positions[followed] + 1]))
    facts = {
        "validation_from": _moment(first),
        "test_from": _moment(second),
        "validation_users_without_history": int(np.count_nonzero(in_validation) - len(validation_users)),
        "test_users_without_history": int(np.count_nonzero(in_test) - len(test_users)),
    }
    return Parts(
        train_ends,
        test_begins,
        Examples(validation_users, train_ends[validation_users]),
        Examples(test_users, positions),
        ties,
        facts,
    )


def as_given(offsets: Int64, parts: Int8) -> Parts:
    """The parts that the data came in; a user's example in a part is their first event there.

    Args:
        offsets: Where each user begins (users + 1,).
        parts: 0 train, 1 validation, 2 test, each user's events in order (events,).

    Raises:
        DataError: An event of an earlier part is later than one of a later part, of the same user.
    """
    sizes = np.diff(offsets)
    owners = np.repeat(np.arange(len(sizes)), sizes)
    late = np.unique(owners[1:][(parts[1:] < parts[:-1]) & (owners[1:] == owners[:-1])])
    if len(late):
        raise DataError(
            f"{len(late)} users have an event of an earlier part that is later than one of a later part: they leak",
            hint="leave the timestamps out if the parts are meant to be so",
        )
    trained, validated = (np.bincount(owners[parts <= part], minlength=len(sizes)) for part in (0, 1))
    train_ends, test_begins = offsets[:-1] + trained, offsets[:-1] + validated
    in_validation, in_test = train_ends < test_begins, test_begins < offsets[1:]
    validation = np.flatnonzero(in_validation & (trained > 0))
    test = np.flatnonzero(in_test & (validated > 0))
    facts = {
        "validation_users_without_history": int(np.count_nonzero(in_validation) - len(validation)),
        "test_users_without_history": int(np.count_nonzero(in_test) - len(test)),
        "events_behind_an_example": int(
            (test_begins - train_ends - 1)[in_validation].sum() + (offsets[1:] - test_begins - 1)[in_test].sum()
        ),
    }
    return Parts(
        train_ends.astype(np.int64),
        test_begins.astype(np.int64),
        Examples(validation, train_ends[validation].astype(np.int64)),
        Examples(test, test_begins[test].astype(np.int64)),
        None,
        facts,
    )


def lend_to_calibration(validation: Examples, share: float, seed: int) -> tuple[Examples, Examples]:
    """(validation, calibration): `share` of the examples drawn with `seed`, at least one on each side.

    Users are sorted by id before they get here, so that the draw does not depend on the order of the file.
    """
    count = len(validation)
    lent = min(max(round(share * count), 1), count - 1)
    order = np.random.default_rng(seed).permutation(count)
    return validation.take(np.sort(order[lent:])), validation.take(np.sort(order[:lent]))


def _cuts(times: Int64, validation: float, test: float) -> tuple[int, int]:
    """Timestamps at which the validation and the test window begin, so that equal ones fall on one side."""
    moments, counts = np.unique(times, return_counts=True)
    # The share of events at or after each moment.
    after = 1 - (np.cumsum(counts) - counts) / len(times)
    second = int(np.argmin(np.abs(after - test)))
    first = int(np.argmin(np.abs(after - test - validation)))
    first = min(first, second - 1)
    if first < 1:
        hint = 'use split.by = "leave-one-out", or smaller validation and test shares'
        raise DataError(f"{len(moments)} distinct timestamps leave no room for two cut-offs in time", hint=hint)
    return int(moments[first]), int(moments[second])


def _moment(milliseconds: int) -> str:
    moment = datetime.fromtimestamp(milliseconds / 1000, tz=timezone.utc)
    return moment.isoformat(timespec="milliseconds" if milliseconds % 1000 else "seconds")
