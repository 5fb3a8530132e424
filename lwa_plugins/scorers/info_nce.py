"""`info-nce`: a lower bound on what the states after a layer tell of the next item, beyond those before it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, ClassVar

import attrs

from lwa_core import setting
from lwa_plugins.scorers._probing import Ridge, halves, states_and_targets

if TYPE_CHECKING:
    import torch

    from lwa_core import Observation, Probe

STEPS = 20
ENOUGH = 1e-9
FITTED_AT_ONCE = 128


@attrs.frozen
class InfoNce:
    """Difference of the InfoNCE bounds on I(h; y) after and before the layer (van den Oord et al. 2018; Poole 2019).

    h is the state at the last real position, y the target's vector. The critic is bilinear, plus a bias of the target:
    s ŷ·y − c ‖y‖²/2 with ŷ a ridge map of the state, all fitted on one half of the examples, s and c to predictions
    that left the example out. The bound is measured on the other half, whose own targets are the negatives, and cannot
    exceed the logarithm of their number, told as `cap`: near it, it says little (McAllester & Stratos 2020). The
    difference of two lower bounds bounds nothing: it grows where a layer gathers information at the last position, and
    also where it only makes it easier to read. Rows hold what an example adds as a positive and as a negative, so that
    the standard error is right although examples share their negatives; the critics count as given.
    """

    observes: ClassVar[frozenset[str]] = frozenset({"states", "target_vectors"})
    unit: ClassVar[str] = "nats"

    negatives: int = setting(
        512, help="most targets that one is told apart from; their logarithm is the cap", minimum=2
    )

    def observe(self, seen: Observation) -> torch.Tensor:
        return states_and_targets(seen)

    def finish(self, rows: torch.Tensor, probe: Probe) -> torch.Tensor:
        import torch

        states, wanted = rows[:, :-1].double(), rows[:, -1].double()
        bounds, sizes = torch.empty(states.shape[:2], dtype=torch.double), []
        for fit, measure in halves(len(rows), probe.seed):
            made = Ridge.on(states[fit]).fit(wanted[fit])
            centered = wanted - made.center
            scales = fitted_critics(made.left_out.transpose(0, 1), centered[fit])
            for group in measure.tensor_split(math.ceil(len(measure) / self.negatives)):
                sizes.append(len(group))
                guessed = made.predict(states[group]).transpose(0, 1)
                bounds[group] = bound(guessed, centered[group], scales).T
        probe.tell("bound", bounds.mean(dim=0).tolist())
        probe.tell("cap", math.log(min(sizes)))
        return bounds[:, 1:] - bounds[:, :-1]


def bound(guessed: torch.Tensor, wanted: torch.Tensor, scales: torch.Tensor) -> torch.Tensor:
    """InfoNCE of examples that are each other's negatives, as rows whose mean is the bound (places, examples).

    Example n adds log p(y_n | h_n) + log N as a positive, and 1 − Σ_m p(y_n | h_m) as a negative, to first order; the
    latter has mean 0.

    Args:
        guessed: ŷ (places, examples, width).
        wanted: y (examples, width).
        scales: s and c of each critic (places, 2).
    """
    log_p = critic(guessed @ wanted.T, lengths(wanted), scales).log_softmax(dim=2)
    return log_p.diagonal(dim1=1, dim2=2) + math.log(len(wanted)) + 1 - log_p.exp().sum(dim=1)


def critic(inner: torch.Tensor, length: torch.Tensor, scales: torch.Tensor) -> torch.Tensor:
    """What the critics give to all pairs, s ŷ·y − c ‖y‖²/2 (places, guessed, wanted)."""
    return inner * scales[:, 0, None, None] + (scales[:, 1, None] * length)[:, None]


def lengths(wanted: torch.Tensor) -> torch.Tensor:
    """−‖y‖²/2 (examples,)."""
    return -0.5 * wanted.square().sum(dim=1)


def fitted_critics(guessed: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
    """Weights s and c of the greatest bound at each place (places, 2), by Newton's method: it is concave in them.

    Both are 0, and so is the bound, where guesses tell nothing or less of the targets.
    """
    import torch

    inner = guessed[:, :FITTED_AT_ONCE] @ wanted[:FITTED_AT_ONCE].T
    length, tiny = lengths(wanted[:FITTED_AT_ONCE]), torch.finfo(torch.double).tiny
    unit = torch.stack([inner.abs().mean(dim=(1, 2)), length.abs().mean().expand(len(inner))], dim=1).clamp_min(tiny)
    inner, length = inner / unit[:, 0, None, None], length / unit[0, 1]
    own = torch.stack([inner.diagonal(dim1=1, dim2=2), length.expand(inner.shape[:2])], dim=2)

    def log_odds(point: torch.Tensor) -> torch.Tensor:
        return critic(inner, length, point).log_softmax(dim=2)

    def value(log_p: torch.Tensor) -> torch.Tensor:
        return log_p.diagonal(dim1=1, dim2=2).mean(dim=1)

    at = torch.zeros(len(inner), 2, dtype=inner.dtype)
    log_p = log_odds(at)
    for _ in range(STEPS):
        p = log_p.exp()
        weighted = p * inner
        means = torch.stack([weighted.sum(dim=2), p @ length], dim=2)  # (places, examples, 2)
        mixed = (weighted @ length).mean(dim=1)
        squares = [(weighted * inner).sum(dim=2).mean(dim=1), mixed, mixed, (p @ length.square()).mean(dim=1)]
        bend = torch.stack(squares, dim=1).view(-1, 2, 2) - means.mT @ means / means.shape[1]
        slope = (own - means).mean(dim=1)
        step = torch.linalg.solve(bend + 1e-6 * torch.eye(2, dtype=bend.dtype), slope)
        if (slope * step).sum(dim=1).max() < ENOUGH:
            break
        before = value(log_p)
        log_p = log_odds(at + step)
        while (worse := value(log_p) < before - ENOUGH).any():
            step = torch.where(worse[:, None], step / 2, step)
            log_p = log_odds(at + step)
        at = at + step
    return torch.where(at[:, :1] > 0, at / unit, 0.0)
