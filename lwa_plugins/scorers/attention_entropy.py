"""`attention-entropy`: how focused a layer's attention is."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import attrs

from lwa_core import LwaError

if TYPE_CHECKING:
    import torch

    from lwa_core import Observation, Probe
    from lwa_core.modeling import Attention


@attrs.frozen
class AttentionEntropy:
    """1 − E H(a) / log(visible): the entropy of attention, over heads and the positions that may look at several.

    1: every head looks at one position; 0: at all that it may look at alike. A heuristic whose direction is not
    settled: that a focused head is worth keeping is an assumption (Voita et al. 2019), and attention does not say what
    a layer uses (Jain & Wallace 2019). An example in which no position sees two says nothing, and has no row. Layers
    without attention by `scaled_dot_product_attention` cannot be seen.
    """

    observes: ClassVar[frozenset[str]] = frozenset({"attention"})
    unit: ClassVar[str] = "1 − entropy / log(visible); which way is open"

    def observe(self, seen: Observation) -> torch.Tensor:
        import torch

        assert seen.attention is not None  # it was asked for above
        return torch.stack([_focus(layer, seen.mask) for layer in seen.attention], dim=1)

    def finish(self, rows: torch.Tensor, probe: Probe) -> torch.Tensor:
        told = rows[rows.isfinite().all(dim=1)]
        probe.tell("examples_without_a_choice", len(rows) - len(told))
        if not len(told):
            raise LwaError(
                "no calibration example has a position that may look at two others",
                "give it longer histories, or leave out attention-entropy",
            )
        return told


def _focus(attention: Attention, mask: torch.Tensor) -> torch.Tensor:
    """One layer, mask (examples, queries) -> (examples,), double; nan where no query may look at two keys."""
    import torch

    looked = attention.probabilities  # (examples, heads, queries, keys)
    least = 1e-30  # p log p is 0 at 0, and logarithms of numbers that are nearly too small are slow
    entropy = -torch.linalg.vecdot(looked, looked.clamp_min(least).log_())
    visible = attention.visible.expand_as(entropy)
    counted = (mask[:, None] & (visible > 1)).to(entropy.dtype)
    share = entropy / visible.clamp_min(2).to(entropy.dtype).log()
    mean: torch.Tensor = (share * counted).sum(dim=(1, 2)) / counted.sum(dim=(1, 2))
    return 1 - mean.double()
