"""Metrics that tell nothing of a model, because any model would reach them, and why."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from lwa_core.results.figures import percent

EASY = 0.5
"""A random order that reaches a recall above this leaves a model little to show."""


def trivial_cut_offs(candidates: NDArray[np.int64], ks: Sequence[int], metrics: Sequence[str]) -> dict[str, str]:
    """Metrics at k that a random order reaches, or nearly so: metric -> why.

    Args:
        candidates: Among how many items, or texts, each target is ranked (examples,).
        ks: The cut-offs.
        metrics: What is measured at them: `recall` -> `recall@10`.
    """
    found: dict[str, str] = {}
    for k in ks:
        chance = float(np.minimum(1.0, k / np.maximum(candidates, 1)).mean()) if len(candidates) else 0.0
        if chance >= 1:
            most = int(candidates.max())
            why = f"there are at most {most} candidates, and all of them fit into {k}"
        elif chance > EASY:
            why = f"a random order already reaches a recall@{k} of {percent(chance)}"
        else:
            continue
        found |= {f"{metric}@{k}": why for metric in metrics}
    return found


def constant_metrics(values: Sequence[Mapping[str, NDArray[np.float64]]], examples: str) -> dict[str, str]:
    """Metrics of which every model has one and the same value for every example: metric -> why.

    Args:
        values: Of each model by metric one value an example (examples,).
        examples: What the examples are called.
    """
    found = {}
    for metric in values[0] if values else ():
        arrays = [model[metric] for model in values if metric in model]
        if all(len(array) and np.ptp(array) == 0 for array in arrays):
            alike = {float(array[0]) for array in arrays}
            who = "every model" if len(alike) == 1 else "each model"
            found[metric] = f"{who} has the same value for all {len(arrays[0]):,} test {examples}"
    return found
