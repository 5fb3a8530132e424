"""`qlora`: 4-bit weights, with low-rank adapters trained on top."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from lwa_core.plugins.protocols import CompressionJob
from lwa_core.settings import setting

if TYPE_CHECKING:
    import torch

    from lwa_core.types import Batch


@attrs.frozen
class QLoRA:
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
    epochs: int = setting(10, help="most epochs; early stopping may end before; 0 only quantises", minimum=0)
    batch: int = setting(128, help="training sequences in one batch", minimum=1)
    learning_rate: float = setting(1e-3, help="first learning rate of AdamW; it falls linearly to zero", above=0)
    patience: int = setting(3, help="epochs without a better validation NDCG@10 before training stops", minimum=1)

    def compress(self, job: CompressionJob) -> torch.nn.Module:
        from lwa_core.modeling.files.adapters import with_adapters
        from lwa_core.types import TrainingSettings
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

        settings = TrainingSettings(
            epochs=self.epochs, batch=self.batch, learning_rate=self.learning_rate, patience=self.patience
        )
        return job.train(model, loss, settings)
