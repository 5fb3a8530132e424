"""`block-influence`: how much a layer turns the states that pass through it."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import attrs

if TYPE_CHECKING:
    import torch

    from lwa_core import Observation


@attrs.frozen
class BlockInfluence:
    """1 − E cos(h_l, h_{l+1}) over the real positions of each history (Men et al. 2024, equation 1); within [0, 2]."""

    observes: ClassVar[frozenset[str]] = frozenset({"states"})
    unit: ClassVar[str] = "1 − cosine"

    def observe(self, seen: Observation) -> torch.Tensor:
        import torch

        assert seen.states is not None  # it was asked for above
        pairs = zip(seen.states[:-1], seen.states[1:], strict=True)
        turns = [1 - torch.cosine_similarity(a.double(), b.double(), dim=-1) for a, b in pairs]
        return torch.stack([seen.over_positions(turn) for turn in turns], dim=1)
