"""`qlora`: 4-bit weights, with low-rank adapters trained on top."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from lwa_core import CompressionJob, TrainingOptions, redefined, setting

if TYPE_CHECKING:
    import torch

    from lwa_core import Batch


@attrs.frozen
class QLoRA(TrainingOptions):
    """NF4 weights with double quantisation (bitsandbytes) in the layers, LoRA adapters (peft) on all their linear maps.

    The item table, norms and position embeddings stay as they are: of a model over item ids they are most of the size.
    On a CPU 4-bit weights save memory and cost time. Layers whose 4-bit weights this machine would decode wrongly are
    left in full precision, with a warning. Saved as the 4-bit model plus `adapter/`; never merged, which would move the
    outputs.
    """

    rank: int = setting(8, help="rank of the adapters", minimum=1)
    alpha: float = setting(16.0, help="adapters are scaled by alpha / rank", above=0)
    dropout: float = setting(0.0, help="dropout before the adapters", minimum=0, maximum=0.9)
    soft: float = setting(
        0.7, help="share of the teacher's answers in the loss; the rest is the next item", minimum=0, maximum=1
    )
    temperature: float = setting(2.0, help="softens the teacher's and the student's distribution", above=0)
    epochs: int = redefined(
        TrainingOptions, "epochs", 10, help="most epochs; early stopping may end before; 0 only quantises"
    )
    patience: int = redefined(TrainingOptions, "patience", 3)

    def compress(self, job: CompressionJob) -> torch.nn.Module:
        from lwa_core.modeling import with_adapters
        from lwa_plugins.compressors._losses import soft_cross_entropy

        model = with_adapters(
            job.cut(), report=job.report, rank=self.rank, alpha=self.alpha, dropout=self.dropout, four_bit=True
        )

        def loss(model: torch.nn.Module, batch: Batch) -> torch.Tensor:
            import torch

            with torch.no_grad():
                wanted, labels = job.subject.encode(job.teacher.model, batch)
            given, _ = job.subject.encode(model, batch)
            return soft_cross_entropy(
                job.subject, model, job.teacher.model, given, wanted, labels, self.soft, self.temperature
            )

        return job.train(model, loss, self.training())
