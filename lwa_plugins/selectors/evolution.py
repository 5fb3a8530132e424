"""`evolution`: a (1 + λ) evolutionary search for the set that diverges least from the full model."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from lwa_core import DepthPlan, Selection, setting
from lwa_plugins.scorers._values import finite
from lwa_plugins.selectors._sets import Asked, Kept, SetSelector, depth_plan

if TYPE_CHECKING:
    import numpy as np

    from lwa_core import Probe


@attrs.frozen
class Evolution(SetSelector):
    """A baseline after EvoPress: swap mutations, an elitist (1 + λ) selection, KL(full model ‖ cut model) as fitness.

    One parent; each of `offspring` children swaps min(u, v) kept layers for removed ones, u and v uniform in 1..3; the
    best child replaces the parent if it diverges less. The first parent is the best of 2 · `offspring` random sets. For
    each depth there are k (L − k)/1.5 generations, as in the authors' scripts for depth, unless `generations` says
    otherwise. Every child is measured on all calibration examples, where EvoPress sieves children on few tokens first.
    With a budget, the swapped set is filled anew: its layers in random order, then the others, each if it still fits.
    """

    offspring: int = setting(16, help="children in each generation (λ)", minimum=1)
    generations: int | None = setting(None, help="how many; k (L − k)/1.5 where left out", minimum=1)

    def select(self, selection: Selection) -> DepthPlan:
        import numpy as np

        asked, probe = self.asked(selection), selection.probe
        rng = np.random.default_rng(selection.seed)
        looked: dict[Kept, float] = {}
        parents = [self._evolve(probe, asked, count, rng, looked) for count in asked.counts or (None,)]
        histories = [[finite(divergence) for divergence in history] for history in parents]
        return depth_plan(selection, asked, looked, "minus KL(full ‖ cut)", {"divergence": histories})

    def _evolve(
        self, probe: Probe, asked: Asked, count: int | None, rng: np.random.Generator, looked: dict[Kept, float]
    ) -> list[float]:
        """Search one size, or within the budget; `looked` takes the fitness of every set. Gives each parent's KL."""

        def best(sets: list[Kept]) -> Kept:
            values: list[float] = probe.evaluate(sets, "kl").mean(axis=1).tolist()
            looked.update(zip(sets, values, strict=True))
            return sets[values.index(max(values))]

        drawn = [asked.filled(rng.permutation(asked.depth).tolist(), count) for _ in range(2 * self.offspring)]
        parent = best(list(dict.fromkeys(drawn)))
        history = [-looked[parent]]
        for _ in range(self.generations or max(1, round(len(parent) * (asked.depth - len(parent)) / 1.5))):
            mutated = (_mutated(parent, asked, count, rng) for _ in range(self.offspring))
            children = [kept for kept in dict.fromkeys(mutated) if kept != parent]
            child = best(children) if children else parent
            parent = child if looked[child] > looked[parent] else parent
            history.append(-looked[parent])
        return history


def _mutated(kept: Kept, asked: Asked, count: int | None, rng: np.random.Generator) -> Kept:
    """The set after a few random swaps; with a budget, cut until it fits and filled up again."""
    layers = set(kept)
    for _ in range(min(rng.integers(1, 4), rng.integers(1, 4))):
        others = sorted(set(range(asked.depth)) - layers)
        if not others:
            break
        layers.remove(int(rng.choice(sorted(layers))))
        layers.add(int(rng.choice(others)))
    inside, outside = rng.permutation(sorted(layers)).tolist(), sorted(set(range(asked.depth)) - layers)
    return asked.filled([*inside, *rng.permutation(outside).tolist()], count)
