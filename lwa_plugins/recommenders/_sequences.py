"""Batches and losses that the recommenders over item ids share.

Inside their models item i of the catalogue has id i + first, and 0 is padding, on the right. A label is item + 1, and 0
where there is no target.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

PADDING, MASK = 0, 1
"""Ids of no item; the second one only where masked items are learnt."""

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray

    from lwa_core import Batch, History, Losses


def next_item_batch(windows: Sequence[History], last_alone: bool = False) -> Batch:
    """Inputs are all items but the last, and the target at each position is the item after it.

    With `last_alone`, a window's last item is its only target.
    """
    import torch

    ids = torch.from_numpy(padded(windows))
    real = ids[:, 1:] > 0
    labels = ids[:, 1:].contiguous()
    return {
        "input_ids": torch.where(real, ids[:, :-1], 0),
        "attention_mask": real,
        "labels": torch.where(_last(real), labels, 0) if last_alone else labels,
    }


def masked_batch(windows: Sequence[History], share: float, last_alone: bool = False) -> Batch:
    """Each item is replaced by the mask with the chance `share`, and is the target there; of no item, the last is.

    With `last_alone`, the last item always is, and no other.
    """
    import torch

    ids = torch.from_numpy(padded(windows, first=MASK + 1))
    real = ids != PADDING
    if last_alone:
        hidden = _last(real)
    else:
        hidden = real & (torch.rand(ids.shape) < share)
        hidden[torch.arange(len(ids)), real.sum(dim=1) - 1] |= ~hidden.any(dim=1)
    return {
        "input_ids": torch.where(hidden, MASK, ids),
        "attention_mask": real,
        "labels": torch.where(hidden, ids - MASK, 0),
    }


def _last(real: torch.Tensor) -> torch.Tensor:
    """Of each row that is real up to some place (rows, time) that place alone."""
    import torch

    return torch.arange(real.shape[1]) == real.sum(dim=1, keepdim=True) - 1


def asking_by_mask(histories: Sequence[History], length: int, targets: NDArray[np.int64] | None) -> Batch:
    """A batch that asks with a mask behind the newest items of each history, `length` ids together."""
    import numpy as np
    import torch

    mask = np.array([-1], dtype=np.int32)  # the place before the first item's
    asked = [np.concatenate([history[max(0, len(history) + 1 - length) :], mask]) for history in histories]
    return asking_batch(torch.from_numpy(padded(asked, first=MASK + 1)), targets)


def asking_batch(inputs: torch.Tensor, targets: NDArray[np.int64] | None) -> Batch:
    """A batch that asks at the last position of each row of ids (examples, time) that is no padding."""
    import torch

    # An empty history is one padding token, whose embedding is zero: the model answers from its position alone.
    last = (inputs > 0).sum(dim=1).sub(1).clamp(min=0)
    mask = torch.arange(inputs.shape[1]) <= last[:, None]
    batch = {"input_ids": inputs, "attention_mask": mask, "last": last}
    if targets is not None:
        batch["labels"] = torch.zeros_like(inputs)
        batch["labels"][torch.arange(len(inputs)), last] = torch.from_numpy(targets) + 1
    return batch


def losses_by_example(losses: torch.Tensor, valid: torch.Tensor) -> Losses:
    """Sum up the losses of all targets (targets,), which lie at the `valid` positions (examples, time), in order."""
    from lwa_core import Losses

    count = valid.sum(dim=1)
    return Losses(losses.new_zeros(len(count)).index_add(0, valid.nonzero()[:, 0], losses), count)


def padded(sequences: Sequence[NDArray[np.integer[Any]]], first: int = 1) -> NDArray[np.int64]:
    """Item ids of the model (sequences, time), 0 behind the end of each; the catalogue's first item is `first`."""
    import numpy as np

    lengths = np.array([len(sequence) for sequence in sequences], dtype=np.int64)
    ids = np.zeros((len(sequences), max(1, *lengths)), dtype=np.int64)
    ids[np.arange(ids.shape[1]) < lengths[:, None]] = np.concatenate(sequences) + np.int64(first)
    return ids
