"""How training windows are cut from sequences: a setting that `sequential` and `backbone` share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import attrs

from lwa_core import TrainingOptions, setting

if TYPE_CHECKING:
    from lwa_core import History

FORMS = ("whole", "sliding", "prefixes")


@attrs.frozen
class WindowOptions(TrainingOptions):
    """To be inherited from by a recommender over item ids that trains on windows of its users' sequences."""

    windows: str = setting(
        "whole",
        help="how training windows are cut from a user's sequence: whole: one after another from its end, each event "
        "but the first a target once; sliding: overlapping, `stride` events apart, all their events targets; prefixes: "
        "one for each event but the first, which alone is its target",
        choices=FORMS,
    )
    stride: int = setting(
        1, help="events between the ends of two windows, of windows = 'sliding'; max_length at most", minimum=1
    )

    @property
    def last_alone(self) -> bool:
        """Whether a window's last event is its only target."""
        return self.windows == "prefixes"

    def assert_all_covered(self, length: int) -> None:
        """Raise ValueError where sliding windows of `length` inputs would pass over events."""
        if self.windows == "sliding" and self.stride > length:
            raise ValueError(f"stride = {self.stride} would pass over events: max_length = {length} is the most")

    def cut(self, sequences: Sequence[History], length: int, masked: bool) -> list[History]:
        """The windows of all sequences, each of `length` inputs at most.

        Of next items a window has one event more than inputs: its last one is a target only. Of masked items, which are
        targets at their own places, it has as many.
        """
        extra = 0 if masked else 1
        if self.windows == "whole":
            return windows_from_the_end(sequences, length, extra)
        return overlapping_windows(sequences, length + extra, 1 if self.last_alone else self.stride, self.last_alone)


def windows_from_the_end(sequences: Sequence[History], targets: int, extra: int) -> list[History]:
    """Windows of `targets` events, cut from the end, each with up to `extra` events before it; none shorter than 2.

    With one extra event every event but a sequence's first is the next item of another one, once.
    """
    windows = []
    for sequence in sequences:
        end = len(sequence)
        while end >= 2:
            windows.append(sequence[max(0, end - targets - extra) : end])
            end -= targets
    return windows


def overlapping_windows(sequences: Sequence[History], longest: int, stride: int, every: bool) -> list[History]:
    """Windows of `longest` events at most, the last of a sequence first, whose ends lie `stride` events apart.

    None is shorter than 2. With `every`, those at the beginning come, too, which hold no event that another one has not
    (prefixes); else the first window that reaches the beginning is the last one.
    """
    windows = []
    for sequence in sequences:
        for end in range(len(sequence), 1, -stride):
            windows.append(sequence[max(0, end - longest) : end])
            if end <= longest and not every:
                break
    return windows
