"""Laplace approximation to the posterior of the layers' weights, one Gaussian a layer.

Around the trained weights θ* the posterior of layer l is N(θ*_l, Σ_l) with Σ_l = (N F̄_l + λI)⁻¹ (MacKay 1992, A
practical Bayesian framework for backpropagation networks; Ritter et al. 2018; Daxberger et al. 2021, Laplace redux):
F̄_l is the Fisher per training target, N the number of training targets, λ the precision of a Gaussian prior around 0
(around 1 for the scales of norms). Layers are taken to be independent of each other; embeddings and head are held
fixed. Two approximations come on top of Laplace's own: F̄ is estimated on the calibration examples and stands for the
mean over the training targets, and θ*, where early stopping ended, for the mode.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import attrs
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from lwa_core.errors import LwaError
from lwa_core.modeling.gradients.taps import GradientTap, LoopTap, ParameterGradient, Visit, Weights, looped, tapped
from lwa_core.modeling.posterior.curvature import Curvature, FisherBlock
from lwa_core.modeling.probing.observation import one_at_a_time
from lwa_core.modeling.probing.probe import Probe
from lwa_core.types import Batch

Floats = NDArray[np.float64]

LABELS = ("sampled", "observed")
QUANTITIES = ("target", "drawn", "margin")


@attrs.frozen(eq=False)
class Posterior:
    """N(θ*, Σ) of the layers' weights, Σ = (N F̄ + λI)⁻¹ block by block.

    Args:
        blocks: The Fisher per training target.
        depth: How many layers there are.
        targets: N.
        prior_precision: λ.
    """

    blocks: Sequence[FisherBlock]
    depth: int
    targets: int
    prior_precision: float

    def precision(self, block: FisherBlock) -> torch.Tensor:
        """Σ⁻¹ in the coordinates of the block's eigenvalues."""
        return self.targets * block.values + self.prior_precision

    @property
    def parameters(self) -> list[int]:
        """How many weights each layer has (layers,)."""
        return [sum(block.values.numel() for block in self._of(layer)) for layer in range(self.depth)]

    @property
    def effective_parameters(self) -> list[float]:
        """γ_l = Σ_i N d_i / (N d_i + λ): how many weights of each layer the data determine (layers,); MacKay 1992."""

        def determined(block: FisherBlock) -> float:
            told = self.targets * block.values
            return float((told / (told + self.prior_precision)).sum())

        return [sum(determined(block) for block in self._of(layer)) for layer in range(self.depth)]

    @property
    def squared_distance(self) -> float:
        """‖θ* − μ‖², of the weights from the prior's mean."""
        return sum(block.squared_distance for block in self.blocks)

    @property
    def log_evidence(self) -> float:
        """The evidence log p(D | λ) less the log-likelihood at θ*, which does not depend on λ (nats).

        ½ P log λ − ½ λ ‖θ* − μ‖² − ½ log det(N F̄ + λI).
        """
        ratios = (torch.log1p(self.targets * block.values / self.prior_precision).sum() for block in self.blocks)
        return -0.5 * self.prior_precision * self.squared_distance - 0.5 * sum(map(float, ratios))

    def draw(self, generator: torch.Generator) -> dict[int, torch.Tensor]:
        """θ − θ* of one draw, by `id` of the parameter. Drawn on the CPU: a seed draws the same on every device."""
        changes = {}
        for block in self.blocks:
            noise = torch.randn(block.values.shape, generator=generator, dtype=torch.double).to(block.values.device)
            for parameter, change in block.shaped(noise / self.precision(block).sqrt()):
                changes[id(parameter)] = change.to(parameter.dtype)
        return changes

    def _of(self, layer: int) -> list[FisherBlock]:
        return [block for block in self.blocks if block.layer == layer]


def best_prior_precision(blocks: Sequence[FisherBlock], depth: int, targets: int) -> float:
    """The λ that maximises the marginal likelihood.

    Its derivative by log λ is ½ (γ(λ) − λ ‖θ* − μ‖²), MacKay's fixed point. γ falls with λ and the other term rises, so
    that there is one root; it lies below P / ‖θ* − μ‖².

    Raises:
        LwaError: The weights are all at the prior's mean, or the Fisher is zero: no λ is best.
    """
    from scipy.optimize import brentq

    flat = Posterior(blocks, depth, targets, 1.0)
    distance = flat.squared_distance
    if distance <= 0 or not any(float(block.values.max()) > 0 for block in blocks):
        raise LwaError(
            "the marginal likelihood has no highest point: the layers' weights are all 0, or their gradients are",
            "set prior_precision",
        )

    def slope(log_precision: float) -> float:
        at = attrs.evolve(flat, prior_precision=float(np.exp(log_precision)))
        return sum(at.effective_parameters) - at.prior_precision * distance

    high = float(np.log(sum(flat.parameters) / distance))
    low = high - 5.0
    while slope(low) < 0:
        low -= 5.0
    return float(np.exp(brentq(slope, low, high, xtol=1e-12, rtol=1e-12)))


@attrs.frozen(eq=False)
class FittedLaplace:
    """A posterior with what it was made from.

    Args:
        posterior: Of the layers' weights.
        curvature: Knows whose block a gradient belongs to.
        loss: Mean cross-entropy of the calibration examples (nats).
    """

    posterior: Posterior
    curvature: Curvature
    loss: float

    def variances(self, probe: Probe, quantity: str = "target", draws: int = 1) -> Floats:
        """J_l(x) Σ_l J_l(x)ᵀ of every example and layer (examples, layers), from one forward and one backward pass.

        J is the gradient of a scalar of the logits; the layers' parts add up to its variance under the linearised
        model (Immer et al. 2021, Improving predictions of Bayesian neural nets via local linearization).

        Args:
            probe: The examples.
            quantity: `target`, log p of the item that followed; `drawn`, log p of an item drawn from the model's own
                prediction, averaged over `draws` of them; `margin`, the logit of the first item less that of the
                second. All three stay the same when a constant is added to all logits, as a single logit does not.
            draws: Items drawn for each example; each takes another backward pass.
        """
        rounds = draws if quantity == "drawn" else 1
        generator = torch.Generator().manual_seed(probe.seed + 1)  # not the labels that the Fisher was made of
        table, done = np.zeros((probe.examples, probe.depth)), 0
        rows = torch.empty(0)
        precisions = {id(block): self.posterior.precision(block) for block in self.posterior.blocks}

        def visit(_: tuple[int, ...], use: ParameterGradient, matrix: torch.Tensor | None) -> None:
            block = self.curvature.block(use)
            if block is not None:
                rows[:, block.layer] += block.quadratic(use, matrix, precisions[id(block)])

        for batch, tap in _passes(probe, visit):
            logits = probe.logits(batch)
            rows = torch.zeros(len(logits), probe.depth, dtype=torch.double, device=logits.device)
            for left in reversed(range(rounds)):
                tap.backward(_quantity(logits, batch, quantity, generator).sum(), again=left > 0)
            table[probe.order[done : done + len(rows)]] = (rows / rounds).cpu().numpy()
            done += len(rows)
        probe.count_passes(1 + rounds)
        return table


def fit_laplace(
    probe: Probe,
    *,
    structure: str = "kfac",
    labels: str = "sampled",
    draws: int = 1,
    prior_precision: float | None = None,
) -> FittedLaplace:
    """The posterior of a model's layers, from one forward pass and `draws` backward passes.

    Args:
        probe: The model, the calibration examples, and the number of training targets.
        structure: Of each layer's Fisher: `kfac` or `diagonal`.
        labels: `sampled` from the model's own predictions (the Fisher, which for a softmax is the generalised
            Gauss-Newton matrix) or `observed` (the empirical Fisher).
        draws: Labels drawn for each example.
        prior_precision: λ; left out: by marginal likelihood.

    Raises:
        LwaError: The probe does not know how many targets the model was trained on.
        ModelError: Layers share weights.
    """
    if probe.training_targets < 1:
        raise LwaError("the posterior needs the number of training targets, and it is not known for this model")
    curvature = Curvature(probe.model, structure)
    generator = torch.Generator().manual_seed(probe.seed)
    rounds, loss = draws if labels == "sampled" else 1, 0.0
    for batch, tap in _passes(probe, curvature.visit):
        logits = probe.logits(batch)
        loss += float(F.cross_entropy(logits.detach().double(), batch["targets"], reduction="sum"))
        curvature.mask = batch["attention_mask"].bool()
        for left in reversed(range(rounds)):
            chosen = drawn_labels(logits, generator) if labels == "sampled" else batch["targets"]
            tap.backward(F.cross_entropy(logits, chosen, reduction="sum"), again=left > 0)
            curvature.count += len(logits)
    probe.count_passes(1 + rounds)
    blocks, targets = curvature.close(), probe.training_targets
    precision = best_prior_precision(blocks, probe.depth, targets) if prior_precision is None else prior_precision
    return FittedLaplace(Posterior(blocks, probe.depth, targets, precision), curvature, loss / probe.examples)


def drawn_labels(logits: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """An item for each example, drawn from the model's own prediction (examples,)."""
    odds = logits.detach().double().softmax(dim=1).cpu()
    return torch.multinomial(odds, 1, generator=generator)[:, 0].to(logits.device)


def _quantity(logits: torch.Tensor, batch: Batch, quantity: str, generator: torch.Generator) -> torch.Tensor:
    if quantity == "margin":
        chosen = logits.gather(1, logits.detach().topk(2, dim=1).indices)
        return chosen[:, 0] - chosen[:, 1]
    items = batch["targets"] if quantity == "target" else drawn_labels(logits, generator)
    return -F.cross_entropy(logits, items, reduction="none")


def _passes(probe: Probe, visit: Visit) -> Iterator[tuple[Batch, GradientTap | LoopTap]]:
    """The micro-batches, each with what catches the gradients of the backward passes made from it."""
    with _tap(probe, visit) as tap:
        for batch in probe.batches(size=1 if isinstance(tap, LoopTap) else None):
            tap.forget()
            yield batch, tap


@contextmanager
def _tap(probe: Probe, visit: Visit) -> Iterator[GradientTap | LoopTap]:
    weights = Weights(probe.model)
    if one_at_a_time(probe, weights):
        with torch.enable_grad(), looped(probe.model, visit, weights) as tap:
            yield tap
    else:
        with tapped(probe.model, visit, weights) as tap:
            yield tap
