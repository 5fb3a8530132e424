import attrs
import numpy as np
import pytest
from made_events import source_of

from lwa_core.data import prepare
from lwa_core.data.dataset import Examples
from lwa_core.data.leakage import LeakageError, check_split
from lwa_core.data.sections import Filter, Split


@pytest.fixture
def data():
    rows = [(f"u{user}", f"i{item}", float(item)) for user in range(4) for item in range(5)]
    return prepare(source_of(rows), Filter(), Split(calibration=0.5), 0)


def moved(examples, by):
    return Examples(examples.users, examples.positions + by)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: {"train_ends": d.offsets[1:].copy()}, "lies in its user's training part"),
        (lambda d: {"test": moved(d.test, 1)}, "belongs to another user"),
        (lambda d: {"train_ends": d.offsets[:-1].copy(), "test": moved(d.test, -4)}, "has no history"),
        (lambda d: {"test": moved(d.test, -1)}, "share a target"),
        (lambda d: {"calibration": moved(d.validation, -1), "train_ends": d.train_ends - 1}, "both validation and"),
        (lambda d: {"test": moved(d.test, -2), "train_ends": d.train_ends - 1}, "before a validation target"),
        (lambda d: {"test": d.test.take(np.array([0, 0]))}, "has two test examples"),
    ],
)
def test_each_leak_is_named(data, change, message):
    with pytest.raises(LeakageError, match=message):
        check_split(attrs.evolve(data, **change(data)))


def test_training_later_than_a_target_is_a_leak(data):
    times = np.tile(np.arange(5), 4)
    check_split(data, times)
    check_split(data, times, one_cut=True)
    late = times.copy()
    late[:5] += 1

    check_split(data, late)
    with pytest.raises(LeakageError, match="not earlier than every target"):
        check_split(data, late, one_cut=True)
    with pytest.raises(LeakageError, match="later than a target of its user"):
        check_split(data, times[::-1].copy())
