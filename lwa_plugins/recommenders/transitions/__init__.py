"""`transitions`: the untrained table of transitions as a recommender of its own."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, cast

import attrs

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray

    from lwa_core import (
        Batch,
        Catalogue,
        FittedTransitions,
        History,
        Losses,
        Reporter,
        TrainingSettings,
        TransitionArrays,
    )


@attrs.frozen
class TransitionTableRecommender:
    """What follows what, over a wide window and the whole history, popularity-corrected; it has no layers.

    Its knobs are chosen on the validation examples, as those of the baseline of the same name are, and nothing is
    trained. For data where it is not beaten, for requests that must be cheap, and to fall back on.
    """

    depth: ClassVar[int] = 0
    blocks: ClassVar[str] = "layers"
    uses_transitions: ClassVar[bool] = True

    def training(self) -> TrainingSettings:
        from lwa_core import TrainingSettings

        return TrainingSettings(epochs=0, batch=1, learning_rate=1.0)

    def build(self, catalogue: Catalogue, report: Reporter) -> torch.nn.Module:
        from lwa_plugins.recommenders.transitions.model import TransitionsConfig, TransitionsModel

        return cast("torch.nn.Module", TransitionsModel(TransitionsConfig(items=len(catalogue))))

    def with_transitions(
        self, model: torch.nn.Module, table: FittedTransitions, sequences: Sequence[History]
    ) -> torch.nn.Module:
        from lwa_plugins.recommenders._transitions import facts_of
        from lwa_plugins.recommenders.transitions.model import TransitionsConfig, TransitionsModel

        made: Any = TransitionsModel(TransitionsConfig(items=len(table.shares), transitions=facts_of(table)))
        made.table.fill(table)
        return cast("torch.nn.Module", made)

    def weigh_network(self, model: torch.nn.Module, factor: float) -> None:
        """There is none."""

    def load(self, folder: Path) -> torch.nn.Module:
        from lwa_core import load_pretrained
        from lwa_plugins.recommenders.transitions.model import TransitionsModel

        return load_pretrained(TransitionsModel, folder)

    def training_windows(self, sequences: Sequence[History]) -> list[History]:
        return [sequence for sequence in sequences if len(sequence) > 1]

    def training_batch(self, windows: Sequence[History]) -> Batch:
        from lwa_plugins.recommenders._sequences import next_item_batch

        return next_item_batch(windows)

    def example_batch(self, histories: Sequence[History], targets: NDArray[np.int64] | None = None) -> Batch:
        import torch

        from lwa_plugins.recommenders._sequences import asking_batch, padded

        return asking_batch(torch.from_numpy(padded(histories)), targets)

    def loss(self, model: torch.nn.Module, batch: Batch) -> Losses:
        import torch.nn.functional as F

        from lwa_plugins.recommenders._sequences import losses_by_example

        hidden, targets = self.encode(model, batch)
        losses = F.cross_entropy(self.head(model, hidden), targets, reduction="none")
        return losses_by_example(losses, batch["labels"] > 0)

    def scores(self, model: torch.nn.Module, batch: Batch) -> torch.Tensor:
        import torch

        rows = torch.arange(len(batch["last"]), device=batch["last"].device)
        return cast("torch.Tensor", model(_last(model, batch)[rows, batch["last"]]))

    def encode(self, model: torch.nn.Module, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        from lwa_plugins.recommenders._transitions import with_ids

        valid = batch["labels"] > 0
        ids = _last(model, batch)[valid]
        return with_ids(ids.new_zeros(len(ids), 0).float(), ids), batch["labels"][valid] - 1

    def head(self, model: torch.nn.Module, hidden: torch.Tensor) -> torch.Tensor:
        from lwa_plugins.recommenders._transitions import split_ids

        inner = cast(Any, model)
        return cast("torch.Tensor", inner(split_ids(hidden, 0, inner.config.items)[1]))

    def parts(self, model: torch.nn.Module) -> TransitionArrays:
        from lwa_plugins.recommenders._transitions import arrays_of

        return arrays_of(cast(Any, model).table, logits=False)


def _last(model: Any, batch: Batch) -> torch.Tensor:
    """Catalogue indices of the last items up to every place (examples, time, seen)."""
    from lwa_plugins.recommenders._transitions import last_items, to_catalogue

    return last_items(to_catalogue(batch["input_ids"], 1), model.table.seen)
