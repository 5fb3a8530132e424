"""`info-nce`: a lower bound on what the states after a layer tell of the next item, beyond those before it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, ClassVar

import attrs

from lwa_core.settings import setting
from lwa_plugins.scorers._probing import Ridge, halves, states_and_targets

if TYPE_CHECKING:
    import torch

    from lwa_core.modeling.observation import Observation
    from lwa_core.modeling.probe import Probe

STEPS = 20
FITTED_AT_ONCE = 256


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
            critics = [fitted_critic(guess, centered[fit]) for guess in made.left_out.unbind(dim=1)]
            for group in measure.tensor_split(math.ceil(len(measure) / self.negatives)):
                sizes.append(len(group))
                guesses = made.predict(states[group]).unbind(dim=1)
                told = [bound(g, centered[group], scales) for g, scales in zip(guesses, critics, strict=True)]
                bounds[group] = torch.stack(told, dim=1)
        probe.tell("bound", bounds.mean(dim=0).tolist())
        probe.tell("cap", math.log(min(sizes)))
        return bounds[:, 1:] - bounds[:, :-1]


def bound(guessed: torch.Tensor, wanted: torch.Tensor, scales: torch.Tensor) -> torch.Tensor:
    """InfoNCE of examples that are each other's negatives, as rows whose mean is the bound (examples,).

    Example n adds log p(y_n | h_n) + log N as a positive, and 1 − Σ_m p(y_n | h_m) as a negative, to first order; the
    latter has mean 0.
    """
    critic = features(guessed, wanted) @ scales
    log_p = critic.log_softmax(dim=1)
    return log_p.diagonal() + math.log(len(wanted)) + 1 - log_p.exp().sum(dim=0)


def features(guessed: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
    """What a critic weighs, of every pair (guessed, wanted, 2): ŷ·y and −‖y‖²/2."""
    import torch

    inner = guessed @ wanted.T
    return torch.stack([inner, (-0.5 * wanted.square().sum(dim=1)).expand_as(inner)], dim=2)


def fitted_critic(guessed: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
    """The two weights (2,) of the greatest bound, by Newton's method: the bound is concave in them.

    Both are 0, and so is the bound, where guesses tell nothing or less of the targets.
    """
    import torch

    pairs = features(guessed[:FITTED_AT_ONCE], wanted[:FITTED_AT_ONCE])
    unit = pairs.abs().mean(dim=(0, 1)).clamp_min(torch.finfo(torch.double).tiny)
    pairs, own = pairs / unit, torch.arange(len(pairs))
    at = torch.zeros(2, dtype=pairs.dtype)

    def value(point: torch.Tensor) -> float:
        return float((pairs @ point).log_softmax(dim=1).diagonal().mean())

    best = value(at)
    for _ in range(STEPS):
        p = (pairs @ at).softmax(dim=1)[:, :, None]
        mean = (p * pairs).sum(dim=1)
        slope = (pairs[own, own] - mean).mean(dim=0)
        bend = ((p * pairs).mT @ pairs).mean(dim=0) - mean.T @ mean / len(mean)
        step = torch.linalg.solve(bend + 1e-6 * torch.eye(2, dtype=bend.dtype), slope)
        while (gain := value(at + step) - best) < 0 and step.abs().max() > 1e-6:
            step = step / 2
        if gain <= 1e-9:
            break
        at, best = at + step, best + gain
    return at / unit if at[0] > 0 else torch.zeros_like(at)
