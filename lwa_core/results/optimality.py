"""The chosen layers beside all subsets of the layers: the part `optimality` of `metrics.json`."""

from __future__ import annotations

from collections.abc import Sequence
from math import comb
from typing import Any

import numpy as np

from lwa_core.results.schema import DepthComparison, Difference, Figure, Optimality, TierComparison
from lwa_core.statistics.estimate import Estimate, finite_digits, ten_digits
from lwa_core.statistics.means import mean_estimate, standard_error
from lwa_core.statistics.regret import (
    SPLITS,
    Floats,
    best_of_size,
    mean_regret,
    oracle_values,
    random_expectation,
    regret,
)
from lwa_core.statistics.simultaneous import chosen_estimate, simultaneous_interval
from lwa_core.statistics.subsets import Kept, row_of, rows_of_size


def optimality_of(
    table: Floats, tiers: Sequence[Kept], *, utility: str, confidence: float, seed: int
) -> Optimality | None:
    """How far each tier is from the best set of its size and from chance; None for one example.

    The tiers may have been chosen on these examples: the intervals hold for whichever set of a size one looks at.

    Args:
        table: Utility of every calibration example under every subset of the layers (2^depth, examples).
        tiers: The chosen layers.
        utility: What the table holds.
        confidence: Of every interval.
        seed: Of splits and resamples.
    """
    depth, examples = len(table).bit_length() - 1, table.shape[1]
    if examples < 2:
        return None
    how: dict[str, Any] = {"confidence": confidence, "seed": seed}
    sizes = [len(kept) for kept in tiers]
    mean = mean_regret(table, depth, tiers, **how) if len(set(sizes)) == len(sizes) > 1 else None
    return Optimality(
        on="calibration",
        utility=utility,
        examples=examples,
        splits=SPLITS,
        full=ten_digits(table[-1].mean()),
        depths=tuple(_depth(table, depth, size, how) for size in range(1, depth + 1)),
        tiers=tuple(_tier(table, depth, kept, how) for kept in tiers),
        mean_regret=None if mean is None else _difference(mean),
    )


def _tier(table: Floats, depth: int, kept: Kept, how: dict[str, Any]) -> TierComparison:
    lost = regret(table, depth, kept, **how)
    chance = random_expectation(table, depth, len(kept))
    return TierComparison(
        layers=len(kept),
        kept=tuple(kept),
        difference=_of_set(table, depth, kept, table[-1], how),
        regret=_difference(lost),
        gain=Figure.of(_chosen(table, depth, kept, chance, how)),
        rank=_rank(table, depth, kept),
        subsets=comb(depth, len(kept)),
        oracle_choices=len(lost.choices),
    )


def _depth(table: Floats, depth: int, size: int, how: dict[str, Any]) -> DepthComparison:
    kept, full = best_of_size(table, depth, size), table[-1]
    values, choices = oracle_values(table, depth, size, seed=how["seed"])
    chance = random_expectation(table, depth, size) - full
    return DepthComparison(
        layers=size,
        kept=kept,
        best=_of_set(table, depth, kept, full, how),
        oracle=_difference(_best(table[rows_of_size(depth, size)] - full, float((values - full).mean()), how)),
        oracle_choices=len(choices),
        random=_difference(mean_estimate(chance, how["confidence"]), chance),
    )


def _of_set(table: Floats, depth: int, kept: Kept, other: Floats, how: dict[str, Any]) -> Difference:
    """The utility of a set, which these examples may have chosen, less another."""
    return _difference(_chosen(table, depth, kept, other, how), table[row_of(kept)] - other)


def _chosen(table: Floats, depth: int, kept: Kept, other: Floats, how: dict[str, Any]) -> Estimate:
    rows = rows_of_size(depth, len(kept))
    return chosen_estimate(table[rows] - other, int(np.searchsorted(rows, row_of(kept))), **how)


def _best(differences: Floats, estimate: float, how: dict[str, Any]) -> Estimate:
    """The highest of all true means, between the largest lower and the largest upper of ends that hold together."""
    ends = simultaneous_interval(differences, **how)
    if ends is None:
        return Estimate(estimate)
    low, high = (float(end.max()) for end in ends)
    return Estimate(min(max(low, estimate), high), low, high)


def _rank(table: Floats, depth: int, kept: Sequence[int]) -> int:
    """1 for the highest mean utility among the sets of its size; equals share the better rank."""
    means = table[rows_of_size(depth, len(kept))].mean(axis=1)
    return 1 + int((means > table[row_of(kept)].mean()).sum())


def _difference(found: Estimate, values: Floats | None = None) -> Difference:
    """A figure, with the standard error of the values that it is the mean of."""
    error = None if values is None else float(standard_error(values))
    mean, low, high, error = map(finite_digits, (found.mean, found.low, found.high, error))
    return Difference(mean, low, high, standard_error=error)
