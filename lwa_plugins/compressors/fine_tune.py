"""`fine-tune`: train the kept layers on the next item, without the teacher."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from lwa_core import CompressionJob, TrainingOptions, redefined

if TYPE_CHECKING:
    import torch

    from lwa_core import Batch


@attrs.frozen
class FineTune(TrainingOptions):
    """The recommender's own loss on the training part: what distillation has to beat.

    Same start, same loop, same early stopping on validation NDCG@10 as `distill`, but no teacher.
    """

    epochs: int = redefined(TrainingOptions, "epochs", 30, minimum=1)
    learning_rate: float = redefined(TrainingOptions, "learning_rate", 5e-4)
    patience: int = redefined(TrainingOptions, "patience", 5)

    def compress(self, job: CompressionJob) -> torch.nn.Module:
        def loss(model: torch.nn.Module, batch: Batch) -> torch.Tensor:
            return job.subject.loss(model, batch).overall

        return job.train(job.cut().model, loss, self.training())
