"""Losses that the compressors share."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F

from lwa_core import Subject

CHUNK = 1024


def soft_cross_entropy(
    subject: Subject,
    student: torch.nn.Module,
    teacher: torch.nn.Module,
    given: torch.Tensor,
    wanted: torch.Tensor,
    labels: torch.Tensor,
    soft: float,
    temperature: float,
) -> torch.Tensor:
    """(1 − soft) · CE(labels) + soft · T² · KL(teacher ‖ student), averaged over the targets (Hinton et al. 2015).

    given, wanted: hidden states of student and teacher (targets, width); labels (targets,). T² keeps the size of the
    gradients when the temperature changes. In chunks, as `lwa_core.modeling.kernels.cross_entropy.cross_entropy` is.
    """
    total = given.new_zeros(())
    for g, w, label in zip(given.split(CHUNK), wanted.split(CHUNK), labels.split(CHUNK), strict=True):
        logits = _single(subject.head(student, g))
        total = total + (1 - soft) * F.cross_entropy(logits, label, reduction="sum")
        if soft:
            with torch.no_grad():
                target = F.log_softmax(_single(subject.head(teacher, w)) / temperature, dim=-1)
            answer = F.log_softmax(logits / temperature, dim=-1)
            total = total + soft * temperature**2 * F.kl_div(answer, target, reduction="sum", log_target=True)
    return total / max(1, len(labels))


def _single(logits: torch.Tensor) -> torch.Tensor:
    """Half precision as float32: a sum over many targets would lose most of what each adds."""
    return logits if logits.element_size() >= 4 else logits.float()


class HiddenTargets:
    """Which of the teacher's states each of the student's states is to match."""

    def __init__(self, kept: Sequence[int], depth: int) -> None:
        # Boundary states are numbered by the layer they enter; the last one enters the final norm.
        self.boundaries = [*kept[1:], depth]

    def error(self, seen: Sequence[torch.Tensor], taught: Sequence[torch.Tensor], valid: torch.Tensor) -> torch.Tensor:
        """Mean over the layers of ‖student − teacher‖² / ‖teacher‖², over valid positions.

        seen, taught: boundary states (examples, time, width); valid (examples, time).
        """
        errors = []
        for state, boundary in zip(seen[1:], self.boundaries, strict=True):
            wanted = taught[boundary][valid].detach()
            errors.append((state[valid] - wanted).square().sum() / wanted.square().sum().clamp(min=1e-12))
        return torch.stack(errors).mean()
