"""The tables of a recipe that belong to the core, not to a component."""

from __future__ import annotations

import attrs

from lwa_core.data.moments import moment_of
from lwa_core.settings import setting


@attrs.frozen
class Filter:
    """Which interactions stay, in this order: rating, span of time, duplicates, subset, k-core to a fixed point."""

    min_rating: float | None = setting(None, help="drop interactions rated below this; off where left out")
    duplicates: str = setting(
        "first",
        help="of several events of one user with one item keep the first, the last, or all",
        choices=("first", "last", "all"),
    )
    after: str | None = setting(None, help="drop events before this date, or date and time, of ISO 8601 (UTC)")
    before: str | None = setting(None, help="drop events at or after this date, or date and time, of ISO 8601 (UTC)")
    users: int | None = setting(None, help="keep this many users, drawn with the seed; all where left out", minimum=1)
    items: int | None = setting(None, help="keep the items with the most events, this many", minimum=1)
    user_core: int = setting(1, help="every user has at least this many events (iterated with item_core)", minimum=1)
    item_core: int = setting(1, help="every item has at least this many events (iterated with user_core)", minimum=1)

    def __attrs_post_init__(self) -> None:
        moments = [None if text is None else moment_of(text) for text in (self.after, self.before)]
        if moments[0] is not None and moments[1] is not None and moments[0] >= moments[1]:
            raise ValueError("no moment lies after `after` and before `before`")


@attrs.frozen
class Split:
    """Who may look at which events."""

    by: str = setting(
        "leave-one-out",
        help="leave-one-out: last item of a user is the test target, the one before it validation; "
        "time: two cut-offs in time for all users; given: as the files say, which is so wherever they do",
        choices=("leave-one-out", "time", "given"),
    )
    calibration: float = setting(
        0.2,
        help="share of users whose validation target scores and selects layers instead of stopping training",
        above=0.0,
        maximum=0.9,
    )
    validation: float = setting(0.1, help="by time: share of events in the validation window", above=0.0, maximum=0.4)
    test: float = setting(0.1, help="by time: share of events in the test window", above=0.0, maximum=0.4)
    refit: bool = setting(
        False,
        help="once all is chosen, train every model anew on the training and validation parts together, for the epochs "
        "that were best before, and measure those",
    )


@attrs.frozen
class Measurement:
    """How figures are measured, whatever the task."""

    control: bool = setting(
        False, help="train the teacher for as long as each student was healed, and hold the student against it too"
    )
    random_sets: int = setting(
        3,
        help="random sets of as many layers that each choice is measured beside, as cut, with the evenly spaced one; "
        "0 measures none of them",
        minimum=0,
    )
    bootstrap: int = setting(2000, help="resamples of the test examples for each interval", minimum=100)
    confidence: float = setting(0.95, help="confidence of every interval", minimum=0.5, maximum=0.999)
    requests: int = setting(300, help="timed requests a model at batch 1; 0 measures no time", minimum=0)
    batch: int = setting(256, help="requests in one batch when throughput is measured", minimum=1)
    memory: bool = setting(True, help="measure peak memory of each model in a fresh process")
