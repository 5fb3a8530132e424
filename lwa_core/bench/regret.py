"""How far the sets that one entry chose are from the best and from chance, on the test examples of a cell."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import attrs
import numpy as np

from lwa_core.statistics.regret import Floats, gain_over_random, mean_regret, oracle_values, random_expectation
from lwa_core.statistics.subsets import row_of


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


def _chance_regret(table: Floats, depth: int, size: int) -> float:
    values, _ = oracle_values(table, depth, size)
    return float((values - random_expectation(table, depth, size)).mean())
