"""Checks that no use of the data sees what another one is measured on."""

from __future__ import annotations

import numpy as np

from lwa_core.data.arrays import Int64
from lwa_core.data.dataset import Examples, PreparedData
from lwa_core.errors import LwaError


class LeakageError(LwaError):
    """A split lets one use see another one's targets. It is a fault of the program, not of the data."""

    code = "leakage"


def check_split(data: PreparedData, times: Int64 | None = None, *, one_cut: bool = False) -> None:
    """Raise LeakageError unless every target is held out from training and from the other uses.

    Args:
        data: The split data.
        times: Timestamps of `data.items`; with them, no training event of a user is later than one of their targets.
        one_cut: The split has one cut-off for all users: no training event at all is later than any target.
    """
    uses = {"validation": data.validation, "calibration": data.calibration, "test": data.test}
    for name, examples in uses.items():
        _check_places(data, name, examples)
    targets = np.concatenate([examples.positions for examples in uses.values()])
    if _repeats(targets):
        raise LeakageError("two uses share a target")
    if _repeats(np.concatenate([data.validation.users, data.calibration.users])):
        raise LeakageError("a user is in both validation and calibration")
    latest = np.full(data.users, -1, dtype=np.int64)
    for examples in (data.validation, data.calibration):
        latest[examples.users] = examples.positions
    if (latest[data.test.users] >= data.test.positions).any():
        raise LeakageError("a test target comes before a validation target of its user")
    if times is not None:
        _check_times(data, times, targets, one_cut)


def _check_places(data: PreparedData, name: str, examples: Examples) -> None:
    ends = data.offsets[1:][examples.users]
    if (examples.positions < data.train_ends[examples.users]).any():
        raise LeakageError(f"a {name} target lies in its user's training part")
    if (examples.positions >= ends).any():
        raise LeakageError(f"a {name} target belongs to another user")
    if (examples.positions == data.offsets[examples.users]).any():
        raise LeakageError(f"a {name} example has no history")
    if _repeats(examples.users):
        raise LeakageError(f"a user has two {name} examples")


def _repeats(values: Int64) -> bool:
    ordered = np.sort(values)  # several times as fast as `np.unique`
    return bool((ordered[1:] == ordered[:-1]).any())


def _check_times(data: PreparedData, times: Int64, targets: Int64, one_cut: bool) -> None:
    trained = data.train_ends > data.offsets[:-1]
    if one_cut:
        training = np.arange(len(times)) < np.repeat(data.train_ends, np.diff(data.offsets))
        if len(targets) and training.any() and times[training].max() >= times[targets].min():
            raise LeakageError("a training event is not earlier than every target")
        return
    for examples in (data.validation, data.calibration, data.test):
        users = examples.users[trained[examples.users]]
        positions = examples.positions[trained[examples.users]]
        if (times[data.train_ends[users] - 1] > times[positions]).any():
            raise LeakageError("a training event is later than a target of its user")
