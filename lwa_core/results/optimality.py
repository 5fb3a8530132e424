"""The chosen layers beside all subsets of the layers: the part `optimality` of `metrics.json`."""

from __future__ import annotations

from collections.abc import Sequence
from math import comb
from typing import Any

from lwa_core.results.schema import DepthComparison, Difference, Figure, Optimality, TierComparison
from lwa_core.statistics.estimate import StudentEstimate, student_t, ten_digits
from lwa_core.statistics.regret import (
    SPLITS,
    Floats,
    Regret,
    best_of_size,
    gain_over_random,
    mean_regret,
    oracle_values,
    random_expectation,
    regret,
)
from lwa_core.statistics.subsets import Kept, row_of, rows_of_size


def optimality_of(
    table: Floats, tiers: Sequence[Kept], *, utility: str, resamples: int, confidence: float, seed: int
) -> Optimality | None:
    """How far each tier is from the best set of its size and from chance; None for one example.

    Args:
        table: Utility of every calibration example under every subset of the layers (2^depth, examples).
        tiers: The chosen layers.
        utility: What the table holds.
        resamples: Of the bootstrap interval of the gain over a random subset.
        confidence: Of every interval.
        seed: Of splits and resamples.
    """
    depth, examples = len(table).bit_length() - 1, table.shape[1]
    if examples < 2:
        return None
    how: dict[str, Any] = {"confidence": confidence, "seed": seed}
    regrets = [regret(table, depth, kept, **how) for kept in tiers]
    gains = [gain_over_random(table, depth, [kept], resamples=resamples, **how) for kept in tiers]
    sizes = [len(kept) for kept in tiers]
    mean = mean_regret(table, depth, tiers, **how) if len(set(sizes)) == len(sizes) > 1 else None
    return Optimality(
        on="calibration",
        utility=utility,
        examples=examples,
        splits=SPLITS,
        full=ten_digits(table[-1].mean()),
        depths=tuple(_depth(table, depth, size, confidence, seed) for size in range(1, depth + 1)),
        tiers=tuple(
            TierComparison(
                layers=len(kept),
                kept=tuple(kept),
                difference=_difference(student_t(table[row_of(kept)] - table[-1], confidence)),
                regret=_difference(lost),
                gain=Figure.of(gain),
                rank=_rank(table, depth, kept),
                subsets=comb(depth, len(kept)),
                oracle_choices=len(lost.choices),
            )
            for kept, lost, gain in zip(tiers, regrets, gains, strict=True)
        ),
        mean_regret=None if mean is None else _difference(mean),
    )


def _depth(table: Floats, depth: int, size: int, confidence: float, seed: int) -> DepthComparison:
    kept, full = best_of_size(table, depth, size), table[-1]
    oracle, choices = oracle_values(table, depth, size, seed=seed)
    return DepthComparison(
        layers=size,
        kept=kept,
        best=_difference(student_t(table[row_of(kept)] - full, confidence)),
        oracle=_difference(student_t(oracle - full, confidence)),
        oracle_choices=len(choices),
        random=_difference(student_t(random_expectation(table, depth, size) - full, confidence)),
    )


def _rank(table: Floats, depth: int, kept: Sequence[int]) -> int:
    """1 for the highest mean utility among the sets of its size; equals share the better rank."""
    means = table[rows_of_size(depth, len(kept))].mean(axis=1)
    return 1 + int((means > table[row_of(kept)].mean()).sum())


def _difference(found: StudentEstimate | Regret) -> Difference:
    mean, low, high, error = (
        None if v is None else ten_digits(v) for v in (found.mean, found.low, found.high, found.standard_error)
    )
    return Difference(mean, low, high, standard_error=error)
