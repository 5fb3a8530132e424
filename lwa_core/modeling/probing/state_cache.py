"""States of layered models that a search holds between its questions."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import attrs

from lwa_core.modeling.probing.prefix_trie import Walk
from lwa_core.statistics.subsets import Kept

CACHED_BYTES = 2**31
"""Bytes of states that a search may hold."""


@attrs.define
class StateCache:
    """The walks that are not over, and which states they hold.

    Args:
        most: States of all examples that there is room for.
        last: The layer whose states are not made, because it answers at the targets' positions only.
        full: All layers.
        states: Named by the layers that led to them, by what is asked for besides: the walks are others.
        walks: By micro-batch, and by what is asked for besides.
        room: Whether what is asked for now is to be held.
    """

    most: int
    last: int | None
    full: Kept
    states: dict[str, set[Kept]] = attrs.field(factory=lambda: defaultdict(set))
    walks: dict[tuple[int, str], Walk] = attrs.field(factory=dict)
    room: bool = False

    def take(self, needed: set[Kept], besides: str) -> int:
        """Hold the states of these evaluations as well, if there is room; and how many of them are still to do."""
        todo = needed - self.states[besides]
        made = {kept for kept in todo if kept[-1] != self.last or kept == self.full}
        self.room = sum(map(len, self.states.values())) + len(made) <= self.most
        if self.room:
            self.states[besides] |= made
        return len(todo)

    def run(self, which: tuple[int, str], fresh: Walk, keeps: Sequence[Kept]) -> dict[Kept, Any]:
        """Go on with a walk, or begin it."""
        if self.room:
            self.walks.setdefault(which, fresh)
        return self.walks.get(which, fresh).run(keeps, hold=self.room)
