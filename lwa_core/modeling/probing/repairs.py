"""Maps over every gap that sets of layers leave, fitted on the full model's own states in one pass."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from lwa_core.modeling.layers.gap_maps import Moments, fit
from lwa_core.modeling.layers.state_maps import StateMap
from lwa_core.modeling.probing.asked import AskedModel

HELD_OUT = 5
"""Every so many micro-batches one says which ridge is best; of fewer, the last."""


def fit_repairs(asked: AskedModel, form: str) -> Mapping[tuple[int, int], StateMap]:
    """By the boundaries on both sides of a gap, the map from the full model's states before it to those behind it.

    One map serves all sets that leave the gap, so that sets are compared in the time of plain ones: what `patch` leaves
    is fitted on the states of the model as cut and repaired so far, gap by gap, and loses somewhat less.

    Args:
        asked: The model and its examples.
        form: One of `lwa_core.modeling.layers.gap_maps.FORMS`.
    """
    depth = asked.depth
    gaps = [(before, behind) for before in range(depth) for behind in range(before + 1, depth + 1)]
    parts: tuple[dict[tuple[int, int], Moments], ...] = ({}, {})
    batches = list(asked.batches())
    for number, batch in enumerate(batches):
        held_out = number % HELD_OUT == HELD_OUT - 1 or (len(batches) < HELD_OUT and number == len(batches) - 1)
        with torch.no_grad(), asked.model.observe() as states:
            asked.logits(batch)
        real = batch["attention_mask"].bool()
        own = [state[real].float() for state in states]
        for before, behind in gaps:
            moments = parts[held_out].setdefault((before, behind), Moments.empty(own[0].shape[1]))
            moments.add(own[before], own[behind] - own[before])
    weights = next(asked.model.model.parameters())
    made = {}
    for gap in gaps:
        other = parts[1][gap]
        found = fit(parts[0].get(gap, other), other, form, intercept=form != "scalar")
        if found.left < 1:
            made[gap] = found.as_map(form).to(weights.device, asked.precision).requires_grad_(False)
    return made
