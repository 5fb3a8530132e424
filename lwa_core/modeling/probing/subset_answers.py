"""What is known about a model with layers left out, remembered for the run and kept for the next."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import attrs
import numpy as np
from numpy.typing import NDArray

from lwa_core.statistics.subsets import Kept, kept_of, row_of

BESIDES = ("kl", "scaled")
"""What may be asked for besides loss, rank and ties."""


@attrs.define(eq=False)
class SubsetAnswers:
    """Loss, rank and divergence of every example (examples,), by the layers that were kept.

    Args:
        losses: Cross-entropy of the target, in nats; infinite where the answer is not finite.
        ranks: Rank of the target in the full catalogue, behind all items that tie with it; 0: it has no place.
        tied: How many other items tie with the target.
        kl: KL(full model ‖ cut model), where it was asked for; infinite where the answer is not finite.
        scaled: Losses of the logits times each of `SCALES` (scales, examples), where they were asked for.
        keep: Called with every family of new answers, to store them.
        allow: Called before any is remembered; raises where the model is not what the answers are to be about.
    """

    losses: dict[Kept, NDArray[np.float64]] = attrs.field(factory=dict)
    ranks: dict[Kept, NDArray[np.int32]] = attrs.field(factory=dict)
    tied: dict[Kept, NDArray[np.int32]] = attrs.field(factory=dict)
    kl: dict[Kept, NDArray[np.float64]] = attrs.field(factory=dict)
    scaled: dict[Kept, NDArray[np.float32]] = attrs.field(factory=dict)
    keep: Callable[[dict[str, NDArray[Any]]], None] | None = None
    allow: Callable[[], None] | None = None

    def table(self, besides: str) -> dict[Kept, Any]:
        """One of `BESIDES`; empty: the losses."""
        found: dict[Kept, Any] = getattr(self, besides or "losses")
        return found

    def add(self, keeps: Sequence[Kept], answers: dict[str, NDArray[Any]]) -> None:
        """Remember a family of answers: `losses`, `ranks`, `tied` (subsets, examples) and maybe one of `BESIDES`."""
        if self.allow is not None:
            self.allow()
        numbers = np.asarray([row_of(kept) for kept in keeps], dtype=np.uint64)
        arrays: dict[str, NDArray[Any]] = {"kept": numbers, **answers}
        self.learn(arrays)
        if self.keep is not None:
            self.keep(arrays)

    def learn(self, arrays: dict[str, NDArray[Any]]) -> None:
        """Take a family of answers in: `kept` (subsets,) as bits, and `losses`, `ranks`, `tied`, maybe of `BESIDES`."""
        keeps = [kept_of(int(value)) for value in arrays["kept"]]
        for name in ("losses", "ranks", "tied", *BESIDES):
            table: dict[Kept, Any] = getattr(self, name)
            for kept, row in zip(keeps, arrays[name], strict=True) if name in arrays else ():
                table.setdefault(kept, row)
