"""What scoring and selecting need of a model: the narrow side of a recommender, a language model, a classifier."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray

    from lwa_core.types import Batch, History


class Subject(Protocol):
    """What can be asked about with layers left out.

    An example is a history and its one target out of a catalogue: items after a user's items, a token after a text cut
    there, a class of a text. No two examples of a batch may influence each other.
    """

    def example_batch(self, histories: Sequence[History], targets: NDArray[np.int64] | None = None) -> Batch:
        """A batch that asks for the target of each history; with `targets` (examples,), also for its loss."""

    def encode(self, model: torch.nn.Module, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        """Hidden states at every position that has a target (targets, width), and the targets (targets,).

        In the order of the `labels` of the batch.
        """

    def head(self, model: torch.nn.Module, hidden: torch.Tensor) -> torch.Tensor:
        """Full-catalogue logits of hidden states: (targets, width) -> (targets, items)."""


@runtime_checkable
class FastTail(Protocol):
    """What a subject may offer besides, so that asking about many layer subsets costs less.

    Both give the hidden states at the targets (targets, width), as `encode` does, without running the whole model.
    """

    def has_fast_tail(self, model: torch.nn.Module) -> bool:
        """Whether it works for this model (not, for example, with an adapter around it)."""

    def tail(self, model: torch.nn.Module, states: torch.Tensor, batch: Batch) -> torch.Tensor:
        """From the states after the last block (examples, time, width)."""

    def last_layer(
        self, model: torch.nn.Module, layer: torch.nn.Module, states: torch.Tensor, batch: Batch
    ) -> torch.Tensor:
        """From the states before the last block, of which only the targets' positions are computed."""


@runtime_checkable
class NamesBlocks(Protocol):
    """What a subject may have besides, as an attribute or a setting, where several lists could be the layers."""

    blocks: str | None
    """Dotted path of the list of blocks in the model; None: it is found."""


def named_blocks(subject: object) -> str | None:
    """Where a subject says that the layers are; None where it says nothing."""
    return subject.blocks if isinstance(subject, NamesBlocks) else None
