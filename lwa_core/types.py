"""Values that travel between the stages of a run. All are frozen; arrays are numpy, never torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

import attrs
import numpy as np
from numpy.typing import NDArray

from lwa_core.statistics.means import FEWEST, mean_interval, standard_error

if TYPE_CHECKING:
    import torch

Floats = NDArray[np.float64]


@attrs.frozen
class Event:
    """Something that happened in a run.

    `kind` is one of: `run-started`, `run-finished`, `stage-started`, `stage-finished`, `stage-reused`, `progress`,
    `message`, `warning`. `data` is JSON-ready; for `progress` it holds `done` and `total`.
    """

    kind: str
    stage: str | None = None
    message: str = ""
    data: Mapping[str, Any] = attrs.field(factory=dict)


@attrs.frozen
class RunContext:
    """The run that an event belongs to."""

    name: str
    folder: Path


@attrs.frozen(eq=False)
class LayerScores:
    """How much each layer matters according to one scorer. Higher means: keep.

    `samples` is the table (samples, layers) that the scorer filled. A sample is whatever the estimator averages over:
    a calibration example, a permutation pair. A table with one row has no sampling error. `facts` is what the scorer
    told besides, JSON-ready: a completeness error, the passes that it took.

    Raises:
        ValueError: A value of the table is not finite: there would be no order of the layers by it.
    """

    scorer: str
    samples: Floats = attrs.field()
    unit: str = ""
    facts: Mapping[str, Any] = attrs.field(factory=dict)

    @samples.validator
    def _check(self, _: Any, value: Floats) -> None:
        if not np.isfinite(value).all():
            raise ValueError(f"the scores of {self.scorer} are not finite")

    @property
    def depth(self) -> int:
        return int(self.samples.shape[1])

    @property
    def count(self) -> int:
        """How many samples the scores average over."""
        return int(self.samples.shape[0])

    @property
    def mean(self) -> Floats:
        """The score of each layer (layers,)."""
        return np.asarray(self.samples.mean(axis=0), dtype=np.float64)

    @property
    def standard_error(self) -> Floats | None:
        """Standard error of each mean (layers,), or None where one row leaves nothing to estimate it from."""
        if self.count < 2:
            return None
        return standard_error(self.samples)

    def interval(self, confidence: float = 0.95) -> tuple[Floats, Floats] | None:
        """Confidence interval of each mean, corrected for skewness, as (low, high); None for fewer than 40 samples.

        NaN for a layer where nearly all samples are equal: they do not show how far it could be from there.
        """
        return None if self.count < FEWEST else mean_interval(self.samples, confidence)

    def order(self) -> list[int]:
        """Layers from the least to the most important; equal scores keep the order of the layers."""
        return [int(layer) for layer in np.argsort(self.mean, kind="stable")]

    def stability(self, splits: int = 100, seed: int = 0) -> float | None:
        """Mean Spearman correlation of the scores from two disjoint random halves of the samples.

        None where there are fewer than four samples or two layers. Near 1: the ranking does not depend on which
        examples were looked at. It is the stability of *half* the samples, so it errs on the careful side.
        """
        from lwa_core.statistics.stability import stability_at

        if self.count < 4 or self.depth < 2:
            return None
        return stability_at(self.samples, [self.count // 2], splits, seed)[0]

    def stability_curve(self, splits: int = 100, seed: int = 0) -> list[tuple[int, float]]:
        """Mean Spearman correlation of the scores from two disjoint random sets of n samples, as (n, correlation).

        n = 8, 16, 32 … up to half the samples.
        """
        from lwa_core.statistics.stability import stability_curve

        return stability_curve(self.samples, splits, seed)

    def bottom(self, k: int, seed: int = 0) -> Floats | None:
        """Probability of each layer to be among the k lowest (layers,), by bootstrap; None with one row."""
        from lwa_core.statistics.stability import bottom_probability

        return bottom_probability(self.samples, k, seed=seed)


@attrs.frozen(eq=False)
class ScoreBoard:
    """The scores of every scorer of a recipe, by the name that the recipe gives it.

    `baselines` names those that look at nothing (random scores, positions) and are there to be beaten, or that measure
    something else than importance; `combined` those that are made of the others' scores.
    """

    scores: Mapping[str, LayerScores]
    baselines: frozenset[str] = frozenset()
    combined: frozenset[str] = frozenset()

    def __getitem__(self, name: str) -> LayerScores:
        return self.scores[name]

    def __len__(self) -> int:
        return len(self.scores)

    @property
    def names(self) -> list[str]:
        return list(self.scores)

    def means(self, names: Sequence[str]) -> Floats:
        """The scores of these scorers (scorers, layers)."""
        return np.stack([self.scores[name].mean for name in names])


def _tiers(value: Sequence[Sequence[int]]) -> tuple[tuple[int, ...], ...]:
    return tuple(tuple(int(layer) for layer in tier) for tier in value)


@attrs.frozen
class DepthPlan:
    """Which layers stay: one or more tiers, each the kept layers in their order (0-based).

    Every tier becomes one student. `trace` is the selector's JSON-ready account of how it chose.
    """

    depth: int
    tiers: tuple[tuple[int, ...], ...] = attrs.field(converter=_tiers)
    trace: Mapping[str, Any] = attrs.field(factory=dict)

    @tiers.validator
    def _check(self, _: Any, value: tuple[tuple[int, ...], ...]) -> None:
        if not value:
            raise ValueError("a depth plan needs at least one tier")
        for tier in value:
            if list(tier) != sorted(set(tier)) or any(not 0 <= layer < self.depth for layer in tier):
                raise ValueError(f"a tier must be distinct layers of 0..{self.depth - 1} in order, not {tier}")


@attrs.frozen
class LayerCosts:
    """What each layer costs, measured on this machine, and what the model costs without any layer.

    `kind` is `parameters`, `megabytes` (10^6 bytes of parameters and buffers in memory) or `milliseconds` (median of
    one request at batch 1).
    """

    kind: str
    layers: tuple[float, ...]
    base: float

    def of(self, kept: Sequence[int]) -> float:
        """Cost of the model with just these layers."""
        return self.base + sum(self.layers[layer] for layer in kept)


@attrs.frozen
class Trace:
    """How an answer came about.

    Args:
        model: First digits of the sha256 of the file that describes the model or bundle; None where it has none.
        milliseconds: What scoring and ranking took, of all the histories that were answered together.
        layers: How many layers were computed; None where that is not known.
        tier: Which of the model's tiers answered, from 0.
        tiers: How many it has; where that is 1, all modes are the same.
        exact: Whether every item was scored, rather than those that an index found.
        fell_back: Why the answer is by popularity and not the model's; None where it is the model's.
        device: What the request said of where the answer is for.
        mode: What it said of how good or fast it is to be.
    """

    model: str | None
    milliseconds: float
    layers: int | None = None
    tier: int = 0
    tiers: int = 1
    exact: bool = True
    fell_back: str | None = None
    device: str | None = None
    mode: str = "balanced"


@attrs.frozen
class Recommendations:
    """The best items for one history, best first.

    `unknown` lists the ids of the history that the model never saw, and `known` says of how many it did: where it is 0,
    the answer is what the model ranks highest after nothing. `trace` says how the answer came about; answers are equal
    without it.
    """

    items: tuple[str, ...]
    scores: tuple[float, ...]
    unknown: tuple[str, ...] = ()
    known: int = 0
    trace: Trace | None = attrs.field(default=None, eq=False, repr=False)


Batch: TypeAlias = "dict[str, torch.Tensor]"
"""Examples as tensors, as a subject makes them, padded on either side. No two examples may influence each other.

Every batch holds `attention_mask` (examples, time), true or 1 where a position is real. Where there are targets, it
holds `labels` (examples, time), integers: the index of the target + 1 at every position that has one, 0 elsewhere.
There are as many as `encode` gives rows, in the same order: example by example, and in each from left to right. Where
the target of an example is asked for elsewhere than at its last real position, `places` (examples,) says where. All
else is the subject's own affair; the core adds `targets` (examples,) to the batches that it asks about.
"""


History: TypeAlias = "NDArray[np.int32]"
"""Item indices, oldest first (events,); a `lwa_core.data.TimedHistory` for recommenders that use times."""


class Reporter(Protocol):
    """Where a long job says how far it is. The command line shows it, the run's event log keeps it."""

    def progress(self, done: int, total: int, message: str = "") -> None:
        """`done` of `total` units of this job are finished."""

    def warn(self, code: str, message: str) -> None:
        """Say something about the result that the user must know; it is kept with it and ends up in the report."""

    def note(self, message: str) -> None:
        """Say something about this execution (a damaged checkpoint passed over); it changes no result."""


class Quiet:
    """A reporter that says nothing."""

    def progress(self, done: int, total: int, message: str = "") -> None:
        """Nothing is shown."""

    def warn(self, code: str, message: str) -> None:
        """Nothing is shown."""

    def note(self, message: str) -> None:
        """Nothing is shown."""


@attrs.frozen
class TrainingSettings:
    """How to train: AdamW, a rate that falls linearly to zero over the epochs, gradient norm clipped at 1."""

    epochs: int
    batch: int
    learning_rate: float
    weight_decay: float = 0.0
    patience: int = 10


@attrs.frozen(eq=False)
class Losses:
    """Loss of every example: `total` is the sum over its targets (examples,), `count` how many there were."""

    total: torch.Tensor
    count: torch.Tensor

    @property
    def mean(self) -> torch.Tensor:
        """Mean loss of each example (examples,)."""
        return self.total / self.count.clamp(min=1)

    @property
    def overall(self) -> torch.Tensor:
        """Mean over all targets, a scalar."""
        return self.total.sum() / self.count.sum().clamp(min=1)
