"""`distill`: train the kept layers to answer as the teacher does."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np

from lwa_core import CompressionJob, LwaError, TrainingOptions, redefined, setting

if TYPE_CHECKING:
    import torch

    from lwa_core import Batch
    from lwa_core.modeling import LayeredModel


SCORED = ("scores", "reversed", "shuffled")
SHUFFLES = 1_000_003
"""What apart the seeds of two shuffles are."""


@attrs.frozen
class Distill(TrainingOptions):
    """Knowledge distillation into a student that starts from the kept layers.

    Loss: (1 − soft) · cross-entropy of the next item
          + soft · T² · KL(teacher ‖ student) at temperature T over the full catalogue, or with `top` soft · the
            list-wise loss of the teacher's best items (Kang et al. 2020, DE-RRD)
          + hidden · Σᵢ wᵢ errorᵢ, of the state that leaves student layer i, with Σᵢ wᵢ = 1.
    That state is matched by default with the one that the teacher hands to the next kept layer (after the last one: to
    the final norm), so that each layer learns to stand in for those that were removed behind it. Its error is relative
    and squared, or the divergence of the relations between the states of an example, or of what the heads look at.
    Trained on the training part only, with early stopping on validation NDCG@10.
    """

    soft: float = setting(
        0.7, help="share of the teacher's answers in the loss; the rest is the next item", minimum=0, maximum=1
    )
    temperature: float = setting(2.0, help="T: softens both distributions", above=0)
    top: int = setting(
        0,
        help="match the order of the teacher's so many best items, before others drawn at random, in place of its "
        "distribution over all; 0: the distribution",
        minimum=0,
    )
    hidden: float = setting(0.1, help="weight of matching hidden states", minimum=0)
    compare: str = setting("states", help="what of them is compared", choices=("states", "relations", "attention"))
    matches: str = setting(
        "next-kept",
        help="the teacher's state that each layer's is held to: that which the next kept layer gets, that which the "
        "same layer gives in the teacher, or evenly spaced ones",
        choices=("next-kept", "same", "uniform"),
    )
    layer_weights: str = setting(
        "uniform",
        help="how much each layer's state counts, at the same sum: alike, only the last, by the scores of `of` (those "
        "below 0 count as 0), or by these reversed or shuffled, to see whether the scores matter",
        choices=("uniform", "last", *SCORED),
    )
    shuffle: int = setting(0, help="which of the shuffles, where the scores are shuffled", minimum=0)
    of: tuple[str, ...] = setting((), help="the scorer whose scores are the layers' weights", names="score")
    epochs: int = redefined(TrainingOptions, "epochs", 30, minimum=1)
    learning_rate: float = redefined(TrainingOptions, "learning_rate", 5e-4)
    patience: int = redefined(TrainingOptions, "patience", 5)

    def compress(self, job: CompressionJob) -> torch.nn.Module:
        from lwa_core import LayeredModel
        from lwa_plugins.compressors._losses import HiddenTargets, soft_cross_entropy

        weights = self._weights(job)
        student = job.cut()
        targets = HiddenTargets(job.kept, job.teacher.depth, self.matches, weights)

        def loss(model: torch.nn.Module, batch: Batch) -> torch.Tensor:
            import torch

            layered, real = LayeredModel(model, student.path), batch["attention_mask"].bool()
            with torch.no_grad(), self._watched(job.teacher) as taught:
                wanted, labels = job.subject.encode(job.teacher.model, batch)
            with layered.observe() as states:
                given, _ = job.subject.encode(model, batch)
            answer = soft_cross_entropy(
                job.subject, model, job.teacher.model, given, wanted, labels, self.soft, self.temperature, self.top
            )
            if self.compare == "states":
                return answer + self.hidden * targets.error(states, taught, batch["labels"] > 0)
            if self.compare == "relations":
                return answer + self.hidden * targets.relation_error(states, taught, real)
            model.eval()  # dropout of attention is drawn where nobody sees it: another pass, without
            with self._watched(layered) as looked:
                job.subject.encode(model, batch)
            model.train()
            return answer + self.hidden * targets.attention_error(list(looked), list(taught), real)

        return job.train(student.model, loss, self.training())

    def _watched(self, model: LayeredModel) -> AbstractContextManager[list[Any]]:
        """What of a model is compared, after its next pass."""
        from lwa_core.modeling import attention_probabilities

        return attention_probabilities(model, differentiable=True) if self.compare == "attention" else model.observe()

    def _weights(self, job: CompressionJob) -> list[float] | None:
        """One for each kept layer; None: all alike."""
        if self.layer_weights in SCORED and len(self.of) != 1:
            raise LwaError(
                f"layer_weights = {self.layer_weights!r} takes the scores of one scorer, and `of` names {len(self.of)}",
                'name one, for example of = ["fisher"], or take layer_weights = "uniform"',
            )
        if self.layer_weights == "uniform":
            return None
        if self.layer_weights == "last":
            return [0.0] * (len(job.kept) - 1) + [1.0]
        scores = job.board[self.of[0]].mean[list(job.kept)].clip(min=0)
        if not scores.sum() > 0:
            job.report.note(f"no score of '{self.of[0]}' is above 0 for the layers {list(job.kept)}: all count alike")
            return None
        if self.layer_weights == "shuffled":
            scores = np.random.default_rng(job.seed + SHUFFLES * self.shuffle).permutation(scores)
        elif self.layer_weights == "reversed":
            rising = scores.argsort(kind="stable")
            scores[rising] = scores[rising[::-1]]
        return list(map(float, scores))
