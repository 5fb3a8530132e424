"""Semivalues of the layers: what each adds to sets of the others, weighed by the size of the set.

Values stand in the order of `subsets.every_subset`: row r belongs to the subset whose layers are the set bits of r.
"""

from __future__ import annotations

from collections.abc import Callable
from math import comb

import numpy as np
from numpy.typing import NDArray


def shapley_weights(depth: int) -> NDArray[np.float64]:
    """Weights of all layer subsets for the Shapley values: |S|! (L − |S| − 1)! / L! (layers, 2^layers)."""
    return marginal_weights(depth, lambda size: 1 / (depth * comb(depth - 1, size)))


def marginal_weights(depth: int, weight: Callable[[int], float]) -> NDArray[np.float64]:
    """Weights of all layer subsets for values Σ_S weight(|S|) (v(S ∪ l) − v(S)), S without l (layers, 2^layers).

    These are the semivalues of Dubey, Neyman & Weber 1981, Value theory without efficiency: the Shapley value, the
    Banzhaf value.
    """
    bits = np.arange(2**depth)
    holds = (bits >> np.arange(depth)[:, None] & 1).astype(bool)  # (layers, subsets)
    sizes = holds.sum(axis=0)
    # A layer that joins meets one layer less than there are in the set that it then is in.
    weights = np.array([weight(size) for size in range(depth)] + [0.0])
    return np.asarray(np.where(holds, weights[sizes - 1], -weights[sizes]), dtype=np.float64)


def interactions(values: NDArray[np.float64], depth: int, weight: Callable[[int], float]) -> NDArray[np.float64]:
    """Interaction of every two layers (layers, layers), 0 on the diagonal, from the values of all subsets (2^layers,).

    Σ_S weight(|S|) (v(S ∪ ij) − v(S ∪ i) − v(S ∪ j) + v(S)), S without i and j (Grabisch & Roubens 1999, An axiomatic
    approach to the concept of interaction among players in cooperative games): negative where each of the two makes the
    other less needed.
    """
    bits = np.arange(2**depth)
    holds = (bits >> np.arange(depth)[:, None] & 1).astype(np.int64)
    weights = np.array([weight(size) for size in range(depth - 1)])
    found = np.zeros((depth, depth))
    for i in range(depth):
        for j in range(i):
            others = holds.sum(axis=0) - holds[i] - holds[j]
            signs = (2 * holds[i] - 1) * (2 * holds[j] - 1)
            found[i, j] = found[j, i] = (signs * weights[others]) @ values
    return found
