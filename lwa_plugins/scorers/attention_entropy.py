"""`attention-entropy`: how focused a layer's attention is."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import attrs

if TYPE_CHECKING:
    import torch

    from lwa_core.modeling.observation import Observation


@attrs.frozen
class AttentionEntropy:
    """1 − E H(a) / log(visible): the entropy of attention, over heads and real positions that see more than one.

    1: every head looks at one position; 0: at all alike. A heuristic whose direction is not settled: that a focused
    head is a specialised one is an assumption (Voita et al. 2019), and attention does not say what a layer uses (Jain &
    Wallace 2019). Layers without attention by `scaled_dot_product_attention` cannot be seen.
    """

    observes: ClassVar[frozenset[str]] = frozenset({"attention"})
    unit: ClassVar[str] = "1 − entropy / log(visible)"

    def observe(self, seen: Observation) -> torch.Tensor:
        import torch

        assert seen.attention is not None  # it was asked for above
        return torch.stack([_focus(looked.double(), seen.mask) for looked in seen.attention], dim=1)


def _focus(looked: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """(examples, heads, queries, keys), mask (examples, queries) -> (examples,); 0 where no query sees two keys."""
    import torch

    visible = (looked > 0).sum(dim=-1)  # (examples, heads, queries)
    entropy = -torch.special.xlogy(looked, looked).sum(dim=-1)
    counted = (mask[:, None] & (visible > 1)).double()
    share = entropy / visible.clamp(min=2).double().log()
    total = counted.sum(dim=(1, 2))
    mean = (share * counted).sum(dim=(1, 2)) / total.clamp(min=1)
    return torch.where(total > 0, 1 - mean, 0.0)
