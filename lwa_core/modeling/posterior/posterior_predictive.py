"""What a model predicts under draws from the posterior of its layers' weights."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.autograd import forward_ad
from torch.func import functional_call
from torch.nn.attention import SDPBackend, sdpa_kernel

from lwa_core.errors import ModelError
from lwa_core.modeling.posterior.laplace import Posterior
from lwa_core.modeling.probing.probe import Probe
from lwa_core.statistics.means import mean_estimate, standard_error
from lwa_core.statistics.predictive import BINS, calibration_error, decompose, decomposition_summary, joined
from lwa_core.types import Batch

METHODS = ("linearised", "sampled")
AT_ONCE = 2**23
"""Probabilities that may be held at once."""


def posterior_predictive(
    probe: Probe, posterior: Posterior, samples: int, method: str = "linearised"
) -> dict[str, Any]:
    """Uncertainty of the predictions for the calibration examples, and whether the mean prediction is the better one.

    Args:
        probe: The model and the examples.
        posterior: Of its layers' weights.
        samples: Draws S; the same ones for every example.
        method: `linearised`, softmax(f + J (θ_s − θ*)), under which the posterior is what it claims to be (Immer et al.
            2021); `sampled`, the model itself at θ_s, which at the distance of a draw is often not near its optimum.

    Returns:
        `total`, `aleatoric`, `epistemic` in nats with standard errors; `nll` of the items that followed by the `plain`
        prediction and by the `mean` one, with their paired `difference`; `ece`, the expected calibration error of both.

    Raises:
        ModelError: An operation of the model has no forward-mode derivative, so that it cannot be linearised.
    """
    drawn = Draws(probe, posterior, method)
    with torch.no_grad():
        items = probe.logits(next(probe.batches(size=1))).shape[1]
    size = max(1, min(probe.batch, AT_ONCE // (items * samples)))
    parts, plain, mean = [], [], []
    for batch in probe.batches(size=size):
        own, others = drawn.log_probabilities(batch, samples)
        parts.append(decompose(np.exp(others)))
        targets = batch["targets"].cpu().numpy()
        plain.append(_judged(own, targets))
        mean.append(_judged(np.logaddexp.reduce(others, axis=0) - np.log(samples), targets))
    probe.count_passes(samples * (2 if method == "linearised" else 1) + 1)
    return {
        **decomposition_summary(joined(parts)),
        "method": method,
        **_calibration(np.concatenate(plain), np.concatenate(mean)),
    }


class Draws:
    """The predictions of draws from the posterior; nothing is written into the model."""

    def __init__(self, probe: Probe, posterior: Posterior, method: str) -> None:
        self.probe, self.posterior, self.method = probe, posterior, method
        self.whole = _Logits(probe)
        self.weights = dict(self.whole.named_parameters())

    def log_probabilities(self, batch: Batch, samples: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Of the model as it is (examples, items), and of S draws (S, examples, items)."""
        generator = torch.Generator().manual_seed(self.probe.seed + 2)  # no labels are drawn with it
        with torch.no_grad():
            own = self.probe.logits(batch)
            logits = [self.logits(batch, generator) for _ in range(samples)]
        return _log_softmax(own), np.stack([_log_softmax(one) for one in logits])

    def logits(self, batch: Batch, generator: torch.Generator) -> torch.Tensor:
        """Logits of one draw (examples, items)."""
        changes = self.posterior.draw(generator)
        if self.method == "sampled":
            moved = {name: p + changes[id(p)] for name, p in self.weights.items() if id(p) in changes}
            return cast(torch.Tensor, functional_call(self.whole, moved, (batch,)))
        return self._linearised({name: changes.get(id(p)) for name, p in self.weights.items()}, batch)

    def _linearised(self, changes: Mapping[str, torch.Tensor | None], batch: Batch) -> torch.Tensor:
        # Gradients are on, so that no one takes a path that has no derivative, and no weight wants one. The fused
        # kernels of attention have no forward-mode derivative.
        with torch.enable_grad(), forward_ad.dual_level(), sdpa_kernel(SDPBackend.MATH):
            held = {name: p.detach() for name, p in self.weights.items()}
            duals = {n: p if changes[n] is None else forward_ad.make_dual(p, changes[n]) for n, p in held.items()}
            try:
                value, derivative = forward_ad.unpack_dual(functional_call(self.whole, duals, (batch,)))
            except NotImplementedError as error:
                raise _not_linear(str(error)) from error
            if derivative is None:
                raise _not_linear("its logits come without a forward-mode derivative")
            return cast(torch.Tensor, value.detach() + derivative.detach())


class _Logits(nn.Module):
    """Logits of a batch as a module's output, so that other weights can be put in for one pass."""

    def __init__(self, probe: Probe) -> None:
        super().__init__()
        self.model = probe.model.model
        self.__dict__["probe"] = probe

    def forward(self, batch: Batch) -> torch.Tensor:
        probe: Probe = self.__dict__["probe"]
        return probe.logits(batch)


def _not_linear(why: str) -> ModelError:
    return ModelError(f"the model cannot be linearised: {why}", 'set predictive = "sampled", or samples = 0 for none')


def _log_softmax(logits: torch.Tensor) -> NDArray[np.float64]:
    return logits.double().log_softmax(dim=1).cpu().numpy()


def _judged(log_odds: NDArray[np.float64], targets: NDArray[np.int64]) -> NDArray[np.float64]:
    """Loss, confidence, and whether the first item was the one (examples, 3)."""
    rows, first = np.arange(len(log_odds)), log_odds.argmax(axis=1)
    return np.stack([-log_odds[rows, targets], np.exp(log_odds[rows, first]), first == targets], axis=1)


def _calibration(plain: NDArray[np.float64], mean: NDArray[np.float64]) -> dict[str, Any]:
    gain = mean[:, 0] - plain[:, 0]
    found = mean_estimate(gain)
    error = float(standard_error(gain)) if len(gain) > 1 else None
    told = {"plain": plain, "mean": mean}
    return {
        "nll": {
            **{name: float(judged[:, 0].mean()) for name, judged in told.items()},
            "difference": {"mean": found.mean, "standard_error": error, "low": found.low, "high": found.high},
        },
        "ece": {name: calibration_error(j[:, 1], j[:, 2].astype(bool)) for name, j in told.items()} | {"bins": BINS},
    }
