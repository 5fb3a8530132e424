"""`info-nce`: a lower bound on what the states after a layer tell of the next item, beyond those before it."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import attrs

from lwa_plugins.scorers._probing import halves, predicted, states_and_targets

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray

    from lwa_core.modeling.observation import Observation
    from lwa_core.modeling.probe import Probe

TEMPERATURES = tuple(2.0**power for power in range(-6, 11))


@attrs.frozen
class InfoNce:
    """Difference of the InfoNCE bounds on I(h; y) after and before the layer (van den Oord et al. 2018; Poole 2019).

    The critic is bilinear: a ridge map from the state to the target's vector, times a scale, both fitted on one half of
    the examples; the bound is measured on the other half, whose own targets are the negatives, and cannot exceed the
    logarithm of their number, told as `cap`. A bound near its cap says little, and the difference of two lower bounds
    bounds nothing: where a layer makes the item easier to read, it grows though the information cannot.
    """

    observes: ClassVar[frozenset[str]] = frozenset({"states", "target_vectors"})
    unit: ClassVar[str] = "nats"

    def observe(self, seen: Observation) -> torch.Tensor:
        return states_and_targets(seen)

    def finish(self, rows: torch.Tensor, probe: Probe) -> torch.Tensor:
        import numpy as np
        import torch

        table = rows.double().numpy()
        states, wanted = table[:, :-1], table[:, -1]
        bounds = np.empty(states.shape[:2])
        for fit, measure in halves(len(table), probe.generator):
            for place in range(states.shape[1]):
                bounds[measure, place] = bound(states[:, place], wanted, fit, measure)
        probe.tell("bound", bounds.mean(axis=0).tolist())
        probe.tell("cap", float(np.log(len(table) // 2)))
        return torch.from_numpy(bounds[:, 1:] - bounds[:, :-1])


def bound(
    states: NDArray[np.float64],
    wanted: NDArray[np.float64],
    fit: NDArray[np.int64],
    measure: NDArray[np.int64],
) -> NDArray[np.float64]:
    """InfoNCE of every measured example, whose mean bounds I(states; wanted) from below (measured examples,)."""
    import numpy as np

    made = predicted(states, wanted, fit)

    def values(rows: NDArray[np.int64], scale: float) -> NDArray[np.float64]:
        from scipy.special import logsumexp

        critic = scale * (made[rows] @ wanted[rows].T)
        told: NDArray[np.float64] = critic.diagonal() - logsumexp(critic, axis=1) + np.log(len(rows))
        return told

    size = float(np.abs(made[fit] @ wanted[fit].T).mean()) or 1.0
    best = max(TEMPERATURES, key=lambda scale: float(values(fit, scale / size).mean()))
    return values(measure, best / size)
