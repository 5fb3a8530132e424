"""`distill`: train the kept layers to answer as the teacher does."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from lwa_core import CompressionJob, TrainingOptions, redefined, setting

if TYPE_CHECKING:
    import torch

    from lwa_core import Batch


@attrs.frozen
class Distill(TrainingOptions):
    """Knowledge distillation into a student that starts from the kept layers.

    Loss: (1 − soft) · cross-entropy of the next item
          + soft · T² · KL(teacher ‖ student) at temperature T over the full catalogue
          + hidden · relative squared error of the states.
    The state that leaves student layer i is matched with the one that the teacher hands to the next kept layer (after
    the last one: to the final norm), so that each layer learns to stand in for those that were removed behind it.
    Trained on the training part only, with early stopping on validation NDCG@10.
    """

    soft: float = setting(
        0.7, help="share of the teacher's answers in the loss; the rest is the next item", minimum=0, maximum=1
    )
    temperature: float = setting(2.0, help="T: softens both distributions", above=0)
    hidden: float = setting(0.1, help="weight of matching hidden states", minimum=0)
    epochs: int = redefined(TrainingOptions, "epochs", 30, minimum=1)
    learning_rate: float = redefined(TrainingOptions, "learning_rate", 5e-4)
    patience: int = redefined(TrainingOptions, "patience", 5)

    def compress(self, job: CompressionJob) -> torch.nn.Module:
        from lwa_core import LayeredModel
        from lwa_plugins.compressors._losses import HiddenTargets, soft_cross_entropy

        student = job.cut()
        targets = HiddenTargets(job.kept, job.teacher.depth)

        def loss(model: torch.nn.Module, batch: Batch) -> torch.Tensor:
            import torch

            with torch.no_grad(), job.teacher.observe() as taught:
                wanted, labels = job.subject.encode(job.teacher.model, batch)
            with LayeredModel(model, student.path).observe() as seen:
                given, _ = job.subject.encode(model, batch)
            answer = soft_cross_entropy(
                job.subject, model, job.teacher.model, given, wanted, labels, self.soft, self.temperature
            )
            return answer + self.hidden * targets.error(seen, taught, batch["labels"] > 0)

        return job.train(student.model, loss, self.training())
