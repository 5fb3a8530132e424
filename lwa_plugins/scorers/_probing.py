"""Ridge maps from states to the vectors of the target items, fitted on one half of the examples for the other."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray

    from lwa_core.modeling.observation import Observation

PENALTIES = tuple(10.0**power for power in range(-2, 6))


def states_and_targets(seen: Observation) -> torch.Tensor:
    """States at the last real position of every boundary, then the target's vector (examples, depth + 2, width)."""
    import torch

    assert seen.states is not None
    assert seen.target_vectors is not None
    return torch.stack([*(seen.at_last(state) for state in seen.states), seen.target_vectors], dim=1)


def halves(examples: int, generator: np.random.Generator) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """(fit, measure) row numbers: two disjoint random halves, then the other way round."""
    order = generator.permutation(examples)
    first, second = order[: examples // 2], order[examples // 2 :]
    yield first, second
    yield second, first


def predicted(states: NDArray[np.float64], wanted: NDArray[np.float64], fit: NDArray[np.int64]) -> NDArray[np.float64]:
    """What a ridge map that is fitted on the rows `fit` makes of every row: (examples, width) -> (examples, width).

    The penalty is chosen by leave-one-out on the same rows; states are standardised by them.
    """
    from sklearn.linear_model import RidgeCV
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    model = make_pipeline(StandardScaler(), RidgeCV(alphas=PENALTIES))
    made: NDArray[np.float64] = model.fit(states[fit], wanted[fit]).predict(states)
    return made.reshape(len(states), -1)
