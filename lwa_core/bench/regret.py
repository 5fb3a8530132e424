"""How far the sets that one entry chose are from the best and from chance, on the test examples of a cell."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import attrs
import numpy as np

from lwa_core.statistics.regret import Floats, gain_over_random, mean_regret, oracle_values, random_expectation
from lwa_core.statistics.subsets import row_of, rows_of_size


def compared(
    table: Floats, depth: int, sets: Sequence[Sequence[int]] | None, removals: Sequence[int]
) -> dict[str, Any]:
    """Regret and gain of sets, one for each number of removed layers, JSON-ready.

    Args:
        table: Minus the loss of every test example under every subset (2^depth, examples).
        depth: Number of layers.
        sets: The layers that stay, in the order of `removals`; None: a random subset, in expectation.
        removals: How many layers were removed.
    """
    if sets is None:
        lost = np.mean([_chance_regret(table, depth, depth - removed) for removed in removals])
        return {"regret": {"mean": max(0.0, float(lost))}}
    told = mean_regret(table, depth, sets)
    gain = gain_over_random(table, depth, sets)
    return {
        "regret": {"mean": told.mean, "low": told.low, "high": told.high},
        "gain": attrs.asdict(gain),
        "loss": [-float(table[row_of(kept)].mean()) for kept in sets],
    }


def share_of(table: Floats, sets: Sequence[Sequence[int]]) -> float:
    """What sets keep of the full model's mean, averaged over them.

    Args:
        table: A metric of every test example under every subset (2^depth, examples).
        sets: The layers that stay.
    """
    means = table.mean(axis=1)
    return float(np.mean([means[row_of(kept)] for kept in sets]) / means[-1])


def random_share(table: Floats, depth: int, removals: Sequence[int]) -> float:
    """What a random set keeps, in expectation, averaged over the numbers of removed layers."""
    means = table.mean(axis=1)
    return float(np.mean([means[rows_of_size(depth, depth - removed)].mean() for removed in removals]) / means[-1])


def best_share(table: Floats, depth: int, removals: Sequence[int]) -> float:
    """What the best set keeps, chosen on one half of the examples and measured on the other."""
    values = [oracle_values(table, depth, depth - removed)[0].mean() for removed in removals]
    return float(np.mean(values) / table[-1].mean())


def _chance_regret(table: Floats, depth: int, size: int) -> float:
    values, _ = oracle_values(table, depth, size)
    return float((values - random_expectation(table, depth, size)).mean())
