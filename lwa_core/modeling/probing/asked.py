"""A layered model together with the examples that it is asked about."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray

from lwa_core.errors import LwaError, ModelError
from lwa_core.modeling.layers.layered import LayeredModel
from lwa_core.modeling.probing.batches import checked, moved
from lwa_core.modeling.probing.batching import Batching, batching_of, chunked
from lwa_core.modeling.probing.example_metrics import at_least_single
from lwa_core.modeling.probing.subject import Subject, named_blocks
from lwa_core.types import Batch, History, Reporter

BROKEN = "lower the learning rate that trained it, or take precision = 'float32'"
"""What to do about a full model whose answers are not finite."""


class AskedModel:
    """A layered model, the subject that says what it answers, and calibration examples.

    Args:
        model: The full model; put into eval mode.
        subject: Makes the batches, and says what the model answers.
        histories: Calibration histories.
        targets: The item that followed each history (examples,).
        batch: Examples in one micro-batch.
        seed: Of `generator`, for scorers that draw.
        report: Gets the progress.
        training_targets: How many targets the model was trained on, for scorers that need the size of the evidence.
        batching: Which examples may share a micro-batch; seen by asking, where left out.
    """

    def __init__(
        self,
        model: LayeredModel,
        subject: Subject,
        histories: Sequence[History],
        targets: NDArray[np.int64],
        *,
        batch: int = 64,
        seed: int = 0,
        report: Reporter | None = None,
        training_targets: int = 0,
        batching: Batching | None = None,
    ) -> None:
        self.model = model
        self.subject = subject
        self.batch = batch
        self.seed = seed
        self.report = report
        self.training_targets = training_targets
        self.generator = np.random.default_rng(seed)
        self.histories = histories
        self._targets = targets
        model.model.eval()
        # Micro-batches of similar length waste no work on padding; answers come back in the original order.
        self._order = np.argsort([len(history) for history in histories], kind="stable")
        self._vectors: torch.Tensor | None = None
        self._batching = batching

    @property
    def depth(self) -> int:
        return self.model.depth

    @property
    def examples(self) -> int:
        """How many calibration examples there are."""
        return len(self.histories)

    @property
    def targets(self) -> NDArray[np.int64]:
        """The item that followed each history (examples,)."""
        return self._targets

    @property
    def order(self) -> NDArray[np.int64]:
        """Which example each row of the micro-batches is, in the order of `batches` (examples,)."""
        return self._order

    def batches(self, size: int | None = None) -> Iterator[Batch]:
        """The calibration examples with their targets, a micro-batch at a time, on the model's device.

        Besides what the subject puts in, a batch holds `targets` (examples,).
        """
        for chunk in self._chunks(size or self.batch):
            yield self.batch_of(chunk)

    def batch_of(self, rows: Sequence[int] | NDArray[np.int64]) -> Batch:
        """Some of the examples as one micro-batch."""
        chosen = np.asarray(rows)
        targets = torch.from_numpy(self._targets[chosen])
        made = self.subject.example_batch([self.histories[i] for i in chosen], self._targets[chosen])
        batch = {**checked(made, self.subject, len(chosen), targets), "targets": targets}
        return moved(batch, self.model.model)

    def logits(self, batch: Batch) -> torch.Tensor:
        """Full-catalogue logits of the next item after each history, of the model as it stands (examples, items)."""
        hidden, _ = self.subject.encode(self.model.model, batch)
        return at_least_single(self.subject.head(self.model.model, hidden))

    @property
    def precision(self) -> torch.dtype:
        """That of the model's states: of its first weights that are not packed codes."""
        kinds = (weight.dtype for weight in self.model.model.parameters() if weight.dtype.itemsize > 1)
        return next((kind for kind in kinds if kind.is_floating_point), torch.float32)

    @cached_property
    def width(self) -> int:
        """Numbers in a hidden state."""
        with torch.no_grad():
            batch = next(self.batches(size=1))
            return int(self.subject.encode(self.model.model, batch)[0].shape[1])

    def item_vectors(self) -> torch.Tensor:
        """What the head multiplies a hidden state with to score each item (items, width)."""
        if self._vectors is None:
            with torch.no_grad():
                unit = torch.eye(self.width, device=self._device, dtype=self.precision)
                none = torch.zeros_like(unit[:1])
                head = self.subject.head
                self._vectors = (head(self.model.model, unit) - head(self.model.model, none)).T
        return self._vectors

    @property
    def batching(self) -> Batching:
        """Which examples may share a micro-batch, by this model's own answers; the reporter is told if not any.

        Raises:
            ModelError: The model gives another answer each time.
        """
        if self._batching is None:
            name = type(self.model.base).__name__
            self._batching = batching_of(self._ask, self._lengths, name, self.precision)
            if self._batching is not Batching.ANY and self.report is not None:
                self.report.note(f"{name}: {self._batching.value}")
        return self._batching

    def _ask(self, rows: NDArray[np.int64]) -> torch.Tensor:
        batch = self.batch_of(rows)
        with own_words(self, "with these examples"):
            return self.logits(batch)

    @property
    def _lengths(self) -> list[int]:
        return [len(history) for history in self.histories]

    def _chunks(self, size: int) -> list[NDArray[np.int64]]:
        return list(chunked(self._order, self._lengths, size, self.batching))

    @property
    def _device(self) -> torch.device:
        return next(self.model.model.parameters()).device


@contextmanager
def own_words(asked: AskedModel, how: str) -> Iterator[None]:
    """What a network of somebody else raises when it is asked, as a ModelError that names it."""
    try:
        yield
    except (LwaError, MemoryError, torch.OutOfMemoryError):
        raise
    except Exception as error:  # every family has its own
        said = f"{type(error).__name__}: {' '.join(str(error).split())}"
        raise ModelError(f"{type(asked.model.base).__name__} cannot be asked {how}: {said}") from error


def layered(model: torch.nn.Module, subject: object) -> LayeredModel:
    """The model's layers: found by themselves, or where the subject says that they are."""
    return LayeredModel(model, named_blocks(subject))
