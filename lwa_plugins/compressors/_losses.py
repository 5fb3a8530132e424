"""Losses that the compressors share."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F

from lwa_core import Subject
from lwa_core.modeling import Attention

CHUNK = 1024
TINY = 1e-12


def soft_cross_entropy(
    subject: Subject,
    student: torch.nn.Module,
    teacher: torch.nn.Module,
    given: torch.Tensor,
    wanted: torch.Tensor,
    labels: torch.Tensor,
    soft: float,
    temperature: float,
    listed: int = 0,
) -> torch.Tensor:
    """(1 − soft) · CE(labels) + soft · T² · KL(teacher ‖ student), averaged over the targets (Hinton et al. 2015).

    given, wanted: hidden states of student and teacher (targets, width); labels (targets,). T² keeps the size of the
    gradients when the temperature changes. With `listed` the second term is `list_loss` of the teacher's so many best
    items, which knows no temperature. In chunks, as `lwa_core.modeling.kernels.cross_entropy.cross_entropy` is.
    """
    total = given.new_zeros(())
    for g, w, label in zip(given.split(CHUNK), wanted.split(CHUNK), labels.split(CHUNK), strict=True):
        logits = _single(subject.head(student, g))
        total = total + (1 - soft) * F.cross_entropy(logits, label, reduction="sum")
        if soft and listed:
            with torch.no_grad():
                best = _single(subject.head(teacher, w))
            total = total + soft * list_loss(logits, best, listed).sum()
        elif soft:
            with torch.no_grad():
                target = F.log_softmax(_single(subject.head(teacher, w)) / temperature, dim=-1)
            answer = F.log_softmax(logits / temperature, dim=-1)
            total = total + soft * temperature**2 * F.kl_div(answer, target, reduction="sum", log_target=True)
    return total / max(1, len(labels))


def list_loss(logits: torch.Tensor, taught: torch.Tensor, top: int, others: int = 256) -> torch.Tensor:
    """How unlikely the teacher's list is when items are drawn one after the other by the student's scores (targets,).

    The relaxed Plackett-Luce likelihood (Kang et al. 2020, DE-RRD, equation 8): each of the teacher's `top` items is
    drawn before those behind it and before `others` items drawn at random, which have no order. Places are weighted by
    1 / log2(1 + place), as in a discounted gain, at a sum of 1.

    Args:
        logits: The student's (targets, items).
        taught: The teacher's (targets, items).
        top: Items of the list; at most as many as there are.
        others: Items drawn from torch's generator, the same for all targets; of a target, those of its list drop out.
    """
    best = taught.topk(min(top, taught.shape[1]), dim=1).indices
    drawn = torch.randint(taught.shape[1], (others,), device=logits.device)
    in_list = (drawn[None, :, None] == best[:, None, :]).any(dim=2)
    rest = logits[:, drawn].masked_fill(in_list, -torch.inf).logsumexp(dim=1)
    scores = logits.gather(1, best)
    behind = scores.flip(1).logcumsumexp(dim=1).flip(1)  # of this place and all behind it
    weights = 1 / torch.log2(2 + torch.arange(best.shape[1], device=logits.device, dtype=logits.dtype))
    likely = scores - torch.logaddexp(behind, rest[:, None])
    return -(likely * (weights / weights.sum())).sum(dim=1)


def _single(logits: torch.Tensor) -> torch.Tensor:
    """Half precision as float32: a sum over many targets would lose most of what each adds."""
    return logits if logits.element_size() >= 4 else logits.float()


class HiddenTargets:
    """Which of the teacher's states each of the student's states is to match, and how much that counts.

    Args:
        kept: The teacher's layers that the student has.
        depth: How many the teacher has.
        matches: Which of the teacher's states that leaving a student's layer is held to: what the teacher hands to the
            next kept layer (`next-kept`), what the same layer hands on in it (`same`), or of M layers that of layer
            round(i L / M) (`uniform`).
        weights: Of the student's layers (layers,), not negative; made to add up to 1. Uniform where left out.
    """

    def __init__(
        self, kept: Sequence[int], depth: int, matches: str = "next-kept", weights: Sequence[float] | None = None
    ) -> None:
        # Boundary states are numbered by the layer they enter; the last one enters the final norm.
        self.boundaries = {
            "next-kept": [*kept[1:], depth],
            "same": [layer + 1 for layer in kept],
            "uniform": [round((place + 1) * depth / len(kept)) for place in range(len(kept))],
        }[matches]
        given = [1.0] * len(kept) if weights is None else list(weights)
        self.weights = [weight / sum(given) for weight in given]

    def error(self, seen: Sequence[torch.Tensor], taught: Sequence[torch.Tensor], valid: torch.Tensor) -> torch.Tensor:
        """Weighted mean over the layers of ‖student − teacher‖² / ‖teacher‖², over valid positions.

        seen, taught: boundary states (examples, time, width); valid (examples, time).
        """
        errors = []
        for state, boundary, weight in zip(seen[1:], self.boundaries, self.weights, strict=True):
            wanted = taught[boundary][valid].detach()
            errors.append(weight * (state[valid] - wanted).square().sum() / wanted.square().sum().clamp(min=1e-12))
        return torch.stack(errors).sum()

    def relation_error(
        self, seen: Sequence[torch.Tensor], taught: Sequence[torch.Tensor], valid: torch.Tensor
    ) -> torch.Tensor:
        """Weighted mean over the layers of KL(teacher ‖ student) of the relations of the states of each example.

        The relation of a position is the softmax of its state's products with the states of the example's valid
        positions, over √width, averaged over valid positions (Wang et al. 2020, MiniLM, whose relations are of values).
        Widths may differ.
        """
        hidden = ~valid[:, None, :]
        errors = []
        for state, boundary, weight in zip(seen[1:], self.boundaries, self.weights, strict=True):
            student, teacher = (_relations(each, hidden) for each in (state, taught[boundary].detach()))
            divergence = (teacher.exp() * (teacher - student)).masked_fill(hidden, 0.0).sum(dim=2)
            errors.append(weight * divergence[valid].sum() / valid.sum().clamp(min=1))
        return torch.stack(errors).sum()

    def attention_error(
        self, seen: Sequence[Attention], taught: Sequence[Attention], valid: torch.Tensor
    ) -> torch.Tensor:
        """Weighted mean over the layers of KL(teacher ‖ student) of what heads look at, averaged over valid queries.

        seen, taught: by layer, of as many heads. That of student layer i is compared with that of the teacher's layer
        which made the state that i is held to.
        """
        errors = []
        for own, boundary, weight in zip(seen, self.boundaries, self.weights, strict=True):
            wanted = taught[boundary - 1].probabilities.detach()
            student, teacher = (each.clamp(min=TINY) for each in (own.probabilities, wanted))
            divergence = (teacher * (teacher.log() - student.log())).sum(dim=3).mean(dim=1)  # (examples, queries)
            errors.append(weight * divergence[valid].sum() / valid.sum().clamp(min=1))
        return torch.stack(errors).sum()


def _relations(states: torch.Tensor, hidden: torch.Tensor) -> torch.Tensor:
    """Log-probabilities (examples, time, time), finite in place of those that are hidden."""
    logits = states @ states.transpose(1, 2) * states.shape[2] ** -0.5
    shown: torch.Tensor = logits.masked_fill(hidden, torch.finfo(logits.dtype).min)
    return shown.log_softmax(dim=2)
