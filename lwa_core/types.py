"""Values that travel between the stages of a run. All are frozen; arrays are numpy, never torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs
import numpy as np
from numpy.typing import NDArray

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
    a calibration example, a permutation pair. A table with one row has no sampling error.
    """

    scorer: str
    samples: Floats
    unit: str = ""

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
        return np.asarray(self.samples.std(axis=0, ddof=1) / np.sqrt(self.count), dtype=np.float64)

    def interval(self, confidence: float = 0.95) -> tuple[Floats, Floats] | None:
        """Student-t confidence interval of each mean, as (low, high), or None with one row."""
        error = self.standard_error
        if error is None:
            return None
        from scipy.stats import t

        half = t.ppf(0.5 + confidence / 2, self.count - 1) * error
        return self.mean - half, self.mean + half

    def order(self) -> list[int]:
        """Layers from the least to the most important; equal scores keep the order of the layers."""
        return [int(layer) for layer in np.argsort(self.mean, kind="stable")]

    def stability(self, splits: int = 100, seed: int = 0) -> float | None:
        """Mean Spearman correlation of the scores from two disjoint random halves of the samples.

        None where there are fewer than four samples or two layers. Near 1: the ranking does not depend on which
        examples were looked at. It is the stability of *half* the samples, so it errs on the careful side.
        """
        if self.count < 4 or self.depth < 2:
            return None
        rng = np.random.default_rng(seed)
        values = []
        for _ in range(splits):
            order = rng.permutation(self.count)
            half = self.count // 2
            first = self.samples[order[:half]].mean(axis=0)
            second = self.samples[order[half:]].mean(axis=0)
            values.append(spearman(first, second))
        return float(np.mean(values))


def spearman(a: Floats, b: Floats) -> float:
    """Spearman's rank correlation, ties given their average rank; 0 where one side is constant."""
    from scipy.stats import rankdata

    return _correlation(rankdata(a), rankdata(b))


def _correlation(a: Floats, b: Floats) -> float:
    a, b = a - a.mean(), b - b.mean()
    scale = float(np.sqrt((a @ a) * (b @ b)))
    return float(a @ b) / scale if scale > 0 else 0.0


@attrs.frozen(eq=False)
class ScoreBoard:
    """The scores of every scorer of a recipe, by the name that the recipe gives it."""

    scores: Mapping[str, LayerScores]

    def __getitem__(self, name: str) -> LayerScores:
        return self.scores[name]

    def __len__(self) -> int:
        return len(self.scores)

    @property
    def names(self) -> list[str]:
        return list(self.scores)

    def agreement(self) -> Floats:
        """Kendall's tau-b between every two scorers' scores (scorers, scorers)."""
        from scipy.stats import kendalltau

        means = [scores.mean for scores in self.scores.values()]
        table = np.eye(len(means))
        for i, a in enumerate(means):
            for j, b in enumerate(means[:i]):
                tau = kendalltau(a, b).statistic
                table[i, j] = table[j, i] = 0.0 if np.isnan(tau) else tau
        return table


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
class Estimate:
    """A mean with its confidence interval."""

    mean: float
    low: float
    high: float


@attrs.frozen
class Recommendations:
    """The best items for one history, best first. `unknown` lists the ids of the history that the model never saw."""

    items: tuple[str, ...]
    scores: tuple[float, ...]
    unknown: tuple[str, ...] = ()
