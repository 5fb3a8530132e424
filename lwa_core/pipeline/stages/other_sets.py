"""The stages that measure the chosen layers, as cut, beside sets that nobody looked for: evenly spaced and random ones.

All on test examples, once the choice is made: what a choice that is no better than these is worth is seen here alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import comb
from typing import Any

import attrs
import numpy as np

from lwa_core.pipeline.graph import Stage
from lwa_core.pipeline.models import StoredModel
from lwa_core.pipeline.task import Task
from lwa_core.types import DepthPlan

CHOSEN, SPACED, RANDOM = "chosen", "evenly spaced", "random"


@attrs.frozen(eq=False)
class MeasuredSet:
    """A set of layers of the size of a tier, and what measures the teacher with nothing but them."""

    tier: int
    name: str
    how: str
    layers: tuple[int, ...]
    quality: Stage[Any]


def sets_of(task: Task, data: Stage[Any], teacher: Stage[StoredModel], plan: DepthPlan) -> list[MeasuredSet]:
    """For each tier that leaves layers out the chosen set, the evenly spaced one, and different random ones."""
    count, made = task.recipe.measurement.random_sets, []
    for number, chosen in enumerate(plan.tiers):
        if not count or len(chosen) == plan.depth:
            continue
        sets = {CHOSEN: chosen, SPACED: spaced(plan.depth, len(chosen))}
        drawn = random_sets(plan.depth, len(chosen), count, task.recipe.seed)
        sets |= {f"{RANDOM} {place}": layers for place, layers in enumerate(drawn, start=1)}
        for name, layers in sets.items():
            stage = task.cut_quality(f"rank {len(layers)} layers, {name}", data, teacher, layers)
            if stage is not None:
                how = RANDOM if name.startswith(RANDOM) else name
                made.append(MeasuredSet(number, name, how, layers, stage))
    return made


def spaced(depth: int, count: int) -> tuple[int, ...]:
    """`count` layers at even distances, with both ends (one layer: the first)."""
    if count == 1:
        return (0,)
    return tuple(round(place * (depth - 1) / (count - 1)) for place in range(count))


def random_sets(depth: int, size: int, count: int, seed: int) -> list[tuple[int, ...]]:
    """Different sets of layers, each as likely; fewer where there are no more."""
    rng, found = np.random.default_rng(seed), dict[tuple[int, ...], None]()
    while len(found) < min(count, comb(depth, size)):
        found[tuple(sorted(rng.permutation(depth)[:size].tolist()))] = None
    return list(found)


def qualities_of(sets: Sequence[MeasuredSet]) -> list[Stage[Any]]:
    """Their stages; two tiers may share one."""
    return list({each.quality.key: each.quality for each in sets}.values())
