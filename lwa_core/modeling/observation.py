"""One pass over the calibration examples, shared by all observing scorers of a recipe."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from functools import partial
from typing import TYPE_CHECKING

import attrs
import torch

from lwa_core.modeling.gradients import squared_gradient_norms
from lwa_core.protocols import Batch

if TYPE_CHECKING:
    from lwa_core.modeling.probe import Probe

OBSERVABLES = frozenset({"states", "gradient_norms"})


@attrs.frozen(eq=False)
class Observation:
    """What one micro-batch of calibration examples showed.

    Args:
        mask: Which positions are real (examples, time), bool.
        states: Raw block-boundary states, depth + 1 tensors (examples, time, width); for scorers that observe `states`.
        gradient_norms: Squared norm of the gradient of each example's loss with respect to the weights of each layer
            (examples, layers), double; for scorers that observe `gradient_norms`.
    """

    mask: torch.Tensor
    states: tuple[torch.Tensor, ...] = ()
    gradient_norms: torch.Tensor | None = None


def observe(probe: Probe, needs: Collection[str]) -> Iterator[Observation]:
    """Run the full model over the calibration examples once, and give what `needs` names, a micro-batch at a time."""
    for batch in probe.batches():
        losses = partial(_losses, probe, batch)
        norms = None
        with probe.model.observe() as states:
            if "gradient_norms" in needs:
                norms = squared_gradient_norms(probe.model, losses)
            else:
                with torch.no_grad():
                    losses()
        yield Observation(
            mask=batch["attention_mask"].bool(),
            states=tuple(state.detach() for state in states) if "states" in needs else (),
            gradient_norms=norms,
        )


def _losses(probe: Probe, batch: Batch) -> torch.Tensor:
    return probe.recommender.loss(probe.model.model, batch).mean
