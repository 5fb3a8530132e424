"""The chosen layers beside all subsets of the layers: the part `optimality` of `metrics.json`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import comb
from typing import Any

import numpy as np

from lwa_core.statistics.estimate import Estimate
from lwa_core.statistics.regret import (
    SPLITS,
    Floats,
    Kept,
    Regret,
    best_of_size,
    gain_over_random,
    mean_regret,
    oracle_values,
    random_expectation,
    regret,
    row_of,
    rows_of_size,
)


def optimality_of(
    table: Floats, tiers: Sequence[Kept], *, utility: str, resamples: int, confidence: float, seed: int
) -> dict[str, Any] | None:
    """How far each tier is from the best set of its size and from chance, JSON-ready; None for one example.

    Args:
        table: Utility of every calibration example under every subset of the layers (2^depth, examples).
        tiers: The chosen layers.
        utility: What the table holds.
        resamples: Of the bootstrap interval of the gain over a random subset.
        confidence: Of every interval.
        seed: Of splits and resamples.

    Returns:
        `on`, `utility`, `examples`, `splits`; `full`, the full model's mean utility; `depths`, for every number of
        layers the utility of the `best` set on these examples, of the cross-fitted `oracle` and of a `random` set, each
        less the full model's; `tiers`, each with the same `difference`, its `regret`, its `gain` over a random set and
        its `rank` among the sets of its size; `mean_regret` over the tiers. A figure is `{"mean", "standard_error",
        "low", "high"}`, without a standard error where the interval is a bootstrap's.
    """
    depth, examples = len(table).bit_length() - 1, table.shape[1]
    if examples < 2:
        return None
    how: dict[str, Any] = {"confidence": confidence, "seed": seed}
    regrets = [regret(table, depth, kept, **how) for kept in tiers]
    gains = [gain_over_random(table, depth, [kept], resamples=resamples, **how) for kept in tiers]
    sizes = [len(kept) for kept in tiers]
    mean = mean_regret(table, depth, tiers, **how) if len(set(sizes)) == len(sizes) > 1 else None
    return {
        "on": "calibration",
        "utility": utility,
        "examples": examples,
        "splits": SPLITS,
        "full": _rounded(table[-1].mean()),
        "depths": [_depth(table, depth, size, confidence, seed) for size in range(1, depth + 1)],
        "tiers": [
            {
                "layers": len(kept),
                "kept": list(kept),
                "difference": _paired(table[row_of(kept)] - table[-1], confidence),
                "regret": _regret(lost),
                "gain": _estimate(gain),
                "rank": _rank(table, depth, kept),
                "subsets": comb(depth, len(kept)),
                "oracle_choices": len(lost.choices),
            }
            for kept, lost, gain in zip(tiers, regrets, gains, strict=True)
        ],
        "mean_regret": None if mean is None else _regret(mean),
    }


def _depth(table: Floats, depth: int, size: int, confidence: float, seed: int) -> dict[str, Any]:
    kept, full = best_of_size(table, depth, size), table[-1]
    oracle, choices = oracle_values(table, depth, size, seed=seed)
    return {
        "layers": size,
        "kept": list(kept),
        "best": _paired(table[row_of(kept)] - full, confidence),
        "oracle": _paired(oracle - full, confidence),
        "oracle_choices": len(choices),
        "random": _paired(random_expectation(table, depth, size) - full, confidence),
    }


def _rank(table: Floats, depth: int, kept: Sequence[int]) -> int:
    """1 for the highest mean utility among the sets of its size; equals share the better rank."""
    means = table[rows_of_size(depth, len(kept))].mean(axis=1)
    return 1 + int((means > table[row_of(kept)].mean()).sum())


def _paired(values: Floats, confidence: float) -> dict[str, float]:
    """Mean of differences example by example, and its Student-t interval."""
    from scipy.stats import t

    mean, error = float(values.mean()), float(values.std(ddof=1) / np.sqrt(len(values)))
    half = float(t.ppf(0.5 + confidence / 2, len(values) - 1)) * error
    return _figure({"mean": mean, "standard_error": error, "low": mean - half, "high": mean + half})


def _regret(found: Regret) -> dict[str, float]:
    told = {"mean": found.mean, "standard_error": found.standard_error, "low": found.low, "high": found.high}
    return _figure(told)


def _estimate(found: Estimate) -> dict[str, float]:
    return _figure({"mean": found.mean, "low": found.low, "high": found.high})


def _figure(told: Mapping[str, float]) -> dict[str, float]:
    return {name: _rounded(value) for name, value in told.items()}


def _rounded(value: float) -> float:
    """Ten significant digits, as in all of `metrics.json`."""
    return float(f"{value:.10g}")
