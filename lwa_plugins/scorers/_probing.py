"""Ridge maps from states to the vectors of the target items, fitted on one half of the examples for the other."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import attrs

from lwa_core import LwaError

if TYPE_CHECKING:
    import torch

    from lwa_core import Observation

PENALTIES = tuple(10.0**power for power in range(-2, 6))
FEWEST = 8
"""Examples without which no half has enough to fit and choose a penalty."""


def states_and_targets(seen: Observation) -> torch.Tensor:
    """States at the last real position of every boundary, then the target's vector (examples, depth + 2, width)."""
    import torch

    assert seen.states is not None
    assert seen.target_vectors is not None
    return torch.stack([*(seen.at_last(state) for state in seen.states), seen.target_vectors], dim=1)


def halves(examples: int, seed: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """(fit, measure) row numbers: two disjoint random halves, then the other way round.

    Raises:
        LwaError: There are too few examples.
    """
    import torch

    if examples < FEWEST:
        raise LwaError(f"{examples} calibration examples are too few to fit a probe on half of them")
    order = torch.randperm(examples, generator=torch.Generator().manual_seed(seed))
    first, second = order[: examples // 2], order[examples // 2 :]
    yield first, second
    yield second, first


@attrs.frozen(eq=False)
class Ridge:
    """Ridge regression with an intercept on standardised states, one at every place, factored once for all targets.

    Args:
        means: Of the states that were fitted on (places, width).
        deviations: Their standard deviations.
        vectors: Eigenvectors of their correlations, times the number of examples (places, width, width).
        values: The eigenvalues (places, width).
        turned: The standardised states in these directions (places, examples, width).
    """

    means: torch.Tensor
    deviations: torch.Tensor
    vectors: torch.Tensor
    values: torch.Tensor
    turned: torch.Tensor

    @classmethod
    def on(cls, states: torch.Tensor) -> Ridge:
        """For these states (examples, places, width), double."""
        import torch

        means, deviations = states.mean(dim=0), states.std(dim=0, correction=0)
        deviations = torch.where(deviations > 0, deviations, 1.0)
        columns = ((states - means) / deviations).transpose(0, 1)  # (places, examples, width)
        values, vectors = torch.linalg.eigh(columns.mT @ columns)
        return cls(means, deviations, vectors, values.clamp_min(0), columns @ vectors)

    def fit(self, wanted: torch.Tensor) -> Fitted:
        """Maps to targets (examples, out), with the penalty of `PENALTIES` whose leave-one-out error is least.

        The leave-one-out residual of a linear smoother is the residual over 1 − leverage.
        """
        import torch

        center = wanted.mean(dim=0)
        centered = wanted - center
        onto = self.turned.mT @ centered  # (places, width, out)

        def left(
            penalty: torch.Tensor, turned: torch.Tensor, onto: torch.Tensor, centered: torch.Tensor
        ) -> tuple[torch.Tensor, torch.Tensor]:
            """Weights, and residuals of the examples left out (places, examples, out)."""
            shrunk = (self.values + penalty).reciprocal().to(turned.dtype)
            leverage = (turned.square() @ shrunk[:, :, None]) + 1 / len(wanted)  # (places, examples, 1)
            weights = shrunk[:, :, None] * onto
            return weights, torch.sub(centered, turned @ weights).div_(1 - leverage)

        single = self.turned.float(), onto.float(), centered.float()  # enough to choose by
        penalties = torch.tensor(PENALTIES, dtype=wanted.dtype, device=wanted.device)
        errors = [torch.linalg.vector_norm(left(penalty, *single)[1], dim=(1, 2)) for penalty in penalties]
        best = penalties[torch.stack(errors).argmin(dim=0)]
        weights, residuals = left(best[:, None], self.turned, onto, centered)
        others = center - centered / (len(wanted) - 1)  # the mean without the example
        return Fitted(self, weights, center, (wanted - residuals - others).transpose(0, 1))


@attrs.frozen(eq=False)
class Fitted:
    """Maps of one set of targets.

    Args:
        ridge: Of the states.
        weights: From eigenvectors to targets (places, width, out).
        center: Mean of the targets (out,).
        left_out: What a map that never saw the example predicts for it, less the mean of the targets that it saw
            (examples, places, out). Less the mean of all, it would tell of the example's own target.
    """

    ridge: Ridge
    weights: torch.Tensor
    center: torch.Tensor
    left_out: torch.Tensor

    def predict(self, states: torch.Tensor) -> torch.Tensor:
        """What is expected of the targets, less `center`: (examples, places, width) -> (examples, places, out)."""
        columns = ((states - self.ridge.means) / self.ridge.deviations).transpose(0, 1)
        return (columns @ self.ridge.vectors @ self.weights).transpose(0, 1)
