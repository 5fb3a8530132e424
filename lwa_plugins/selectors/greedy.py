"""`greedy`: remove one layer after another, measuring again after every removal."""

from __future__ import annotations

import attrs

from lwa_core.protocols import Selection
from lwa_core.settings import setting
from lwa_core.types import DepthPlan


@attrs.frozen
class Greedy:
    """From all layers, remove again and again the one whose loss costs the least mean utility (SLEB).

    Unlike a ranking, it sees that two layers can be spared one at a time and not together. Of equals the later goes.
    """

    keep: int | tuple[int, ...] = setting(help="how many layers stay; a list makes one student each", minimum=1)

    def select(self, selection: Selection) -> DepthPlan:
        counts = selection.counts(self.keep)
        kept = tuple(range(selection.depth))
        chain = {len(kept): kept}
        removals = []
        while len(kept) > min(counts):
            options = [tuple(j for j in kept if j != i) for i in reversed(kept)]
            values = selection.probe.evaluate(options).mean(axis=1)
            best = int(values.argmax())
            removed = (set(kept) - set(options[best])).pop()
            removals.append({"removed": removed, "utility": float(values[best])})
            kept = options[best]
            chain[len(kept)] = kept
        return DepthPlan(selection.depth, [chain[count] for count in counts], {"removals": removals})
