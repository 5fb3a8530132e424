"""What a batch of a subject must hold (`lwa_core.Batch` says it), seen to where the core gets one."""

from __future__ import annotations

import torch

from lwa_core.errors import PluginError
from lwa_core.types import Batch

HINT = "docs/plugins.md says what a batch holds"


def checked(batch: Batch, subject: object, examples: int, targets: torch.Tensor | None = None) -> Batch:
    """A batch with targets, as it came, once it was seen to keep to what every batch must hold.

    Args:
        batch: What the subject made.
        subject: Who is named where it does not.
        examples: How many there are.
        targets: The one target that was given for each example (examples,); None where they are the subject's choice.

    Raises:
        PluginError: A key is missing, or holds something else than it should.
    """
    wrong = _objection(batch, examples, targets)
    if wrong:
        kind = type(subject)
        raise PluginError(f"a batch that {kind.__module__}.{kind.__qualname__} made {wrong}", HINT)
    return batch


def moved(batch: Batch, model: torch.nn.Module) -> Batch:
    """A batch on the device where the model's weights are."""
    device = next(model.parameters()).device
    return {name: value.to(device) for name, value in batch.items()}


def _objection(batch: Batch, examples: int, targets: torch.Tensor | None) -> str | None:
    lacks = [name for name in ("attention_mask", "labels") if name not in batch]
    if lacks:
        return f"has no `{lacks[0]}`: it holds {', '.join(batch) or 'nothing'}"
    mask, labels = batch["attention_mask"], batch["labels"]
    if mask.dim() != 2 or len(mask) != examples:
        return f"has an `attention_mask` {tuple(mask.shape)}, not ({examples}, time)"
    if "places" in batch and batch["places"].shape != (examples,):
        return f"has `places` {tuple(batch['places'].shape)}, not ({examples},)"
    if labels.shape != mask.shape:
        return f"has `labels` {tuple(labels.shape)} and an `attention_mask` {tuple(mask.shape)}: not the same shape"
    return _objection_to_labels(labels, targets)


def _objection_to_labels(labels: torch.Tensor, targets: torch.Tensor | None) -> str | None:
    if labels.is_floating_point() or labels.dtype == torch.bool:
        return f"has `labels` of {labels.dtype}, not integers"
    if targets is not None and not _one_each(labels, targets):
        return "does not have the target + 1 in `labels` once for each example, and 0 elsewhere"
    return None


def _one_each(labels: torch.Tensor, targets: torch.Tensor) -> bool:
    alone = (labels != 0).sum(dim=1) == 1
    return bool((alone & (labels.sum(dim=1) == targets.to(labels.device) + 1)).all())
