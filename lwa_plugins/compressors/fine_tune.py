"""`fine-tune`: train the kept layers on the next item, without the teacher."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from lwa_core.plugins.protocols import CompressionJob
from lwa_core.settings import setting

if TYPE_CHECKING:
    import torch

    from lwa_core.types import Batch


@attrs.frozen
class FineTune:
    """The recommender's own loss on the training part: what distillation has to beat.

    Same start, same loop, same early stopping on validation NDCG@10 as `distill`, but no teacher.
    """

    epochs: int = setting(30, help="most epochs; early stopping may end before", minimum=1)
    batch: int = setting(128, help="training sequences in one batch", minimum=1)
    learning_rate: float = setting(5e-4, help="first learning rate of AdamW; it falls linearly to zero", above=0)
    weight_decay: float = setting(0.0, help="weight decay of AdamW", minimum=0)
    patience: int = setting(5, help="epochs without a better validation NDCG@10 before training stops", minimum=1)

    def compress(self, job: CompressionJob) -> torch.nn.Module:
        from lwa_core.types import TrainingSettings

        def loss(model: torch.nn.Module, batch: Batch) -> torch.Tensor:
            return job.subject.loss(model, batch).overall

        settings = TrainingSettings(
            epochs=self.epochs,
            batch=self.batch,
            learning_rate=self.learning_rate,
            weight_decay=self.weight_decay,
            patience=self.patience,
        )
        return job.train(job.cut().model, loss, settings)
