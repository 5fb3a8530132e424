"""`gate-qubo`: the removal whose loss a second-order expansion in the layers' gates predicts to be the least."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import attrs

from lwa_core import DepthPlan, Selection, setting
from lwa_core.statistics import every_subset
from lwa_plugins.selectors._sets import Asked, Kept, SetSelector, depth_plan

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

ENUMERATED = 16
"""Up to so many layers every subset is weighed."""


@attrs.frozen
class GateQubo(SetSelector):
    """Minimises ΔL̂(R) = −Σ_{l∈R} ḡ_l + ½ 1_Rᵀ Γ 1_R over the removed layers R, with Γ = (1/N) GᵀG.

    G (examples, layers) holds the gradients of the loss for a gate on each layer's branch, at 1; ḡ is their mean. To
    remove a layer is to move its gate by −1. Γ, the empirical Fisher matrix of the gates, stands for the Hessian, which
    it equals in expectation only where the model is right about its targets; removal is no small step either. So ΔL̂
    orders sets and predicts no loss. It takes two passes whatever the depth, besides those that measure the front, and
    follows the loss whatever `calibration.utility` is.

    All sets are weighed up to 16 layers. Above, a local search: from the sets that removing the best layer again and
    again gives, and from `starts` random ones, the best swap of two layers (with a budget, also the best removal or
    addition that fits) as long as there is one that gains. What it finds can be beaten; the trace says `exact = false`.
    """

    starts: int = setting(20, help="random starts of the local search above 16 layers", minimum=0)

    def select(self, selection: Selection) -> DepthPlan:
        asked, gradients = self.asked(selection), selection.probe.gate_gradients()
        model = GateModel(gradients.mean(axis=0), gradients.T @ gradients / len(gradients))
        exact = asked.depth <= ENUMERATED
        sets = _every_set(asked) if exact else model.search(asked, self.starts, selection.seed)
        looked = dict(zip(sets, (-model.predicted(sets)).tolist(), strict=True))
        return depth_plan(selection, asked, looked, "minus the predicted rise of the loss", {"exact": exact})


@attrs.frozen(eq=False)
class GateModel:
    """The predicted rise of the loss: ḡ (layers,) and Γ (layers, layers)."""

    mean: Floats
    products: Floats

    def predicted(self, sets: Sequence[Kept]) -> Floats:
        """ΔL̂ of each set, given by the layers that stay (sets,)."""
        import numpy as np

        removed = np.ones((len(sets), len(self.mean)))
        for row, kept in enumerate(sets):
            removed[row, list(kept)] = 0
        return np.asarray(0.5 * ((removed @ self.products) * removed).sum(axis=1) - removed @ self.mean)

    def search(self, asked: Asked, starts: int, seed: int) -> list[Kept]:
        """Sets of each size that is asked for, or that fit, which no single move improves; the best first."""
        import numpy as np

        rng = np.random.default_rng(seed)
        found: dict[Kept, float] = {}
        for count in asked.counts or (None,):
            orders = [self._importance(), *(rng.permutation(asked.depth).tolist() for _ in range(starts))]
            found.update(self._descended(asked.filled(order, count), asked) for order in orders)
        return sorted(found, key=lambda kept: found[kept])

    def _importance(self) -> list[int]:
        """Layers from the last to the first that removing the best one again and again would remove."""
        kept = tuple(range(len(self.mean)))
        removed = []
        while kept:
            options = [tuple(other for other in kept if other != layer) for layer in kept]
            best = options[int(self.predicted(options).argmin())]
            removed.append((set(kept) - set(best)).pop())
            kept = best
        return removed[::-1]

    def _descended(self, kept: Kept, asked: Asked) -> tuple[Kept, float]:
        value = float(self.predicted([kept])[0])
        while options := list(_moves(kept, asked)):
            values = self.predicted(options)
            best = int(values.argmin())
            if values[best] >= value - 1e-12 * abs(value):
                break
            kept, value = options[best], float(values[best])
        return kept, value


def _every_set(asked: Asked) -> list[Kept]:
    """All sets of the sizes that the answer can have; fewer layers first, then later layers."""
    sizes = set(asked.sizes)
    return sorted((kept for kept in reversed(every_subset(asked.depth)) if len(kept) in sizes), key=len)


def _moves(kept: Kept, asked: Asked) -> Iterator[Kept]:
    """What one swap makes of a set; with a budget also one removal or addition, where the result fits."""
    others = [layer for layer in range(asked.depth) if layer not in kept]
    changed: Iterable[Any] = ({*kept, new} - {old} for old in kept for new in others)
    if asked.limit is not None:
        changed = [*changed, *({*kept} - {old} for old in kept), *({*kept, new} for new in others)]
    moved = (tuple(sorted(layers)) for layers in changed)
    return (option for option in moved if asked.limit is None or asked.limit.fits(option))
