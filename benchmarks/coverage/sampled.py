"""Scores whose samples are drawings (subsets or orders of layers) over a game whose exact values are known."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from scipy import stats
from simulate import Draw, Floats

from lwa_core.statistics.semivalues import marginal_weights, shapley_weights
from lwa_core.statistics.subsets import every_subset, row_of
from lwa_core.types import LayerScores
from lwa_plugins.scorers.banzhaf import Banzhaf
from lwa_plugins.scorers.kernel_shap import KernelShap
from lwa_plugins.scorers.shapley import Shapley

SCORERS: dict[str, Callable[[int], Any]] = {
    "kernel-shap": lambda pairs: KernelShap(pairs=pairs),
    "shapley": lambda pairs: Shapley(pairs=pairs),
    "banzhaf": lambda subsets: Banzhaf(subsets=subsets),
}


class Game:
    """What a scorer asks of a probe, answered from a table of all subsets (2^layers,)."""

    def __init__(self, values: Floats, rng: np.random.Generator) -> None:
        self.values, self.generator, self.depth = values, rng, len(values).bit_length() - 1

    def evaluate(self, keeps: Sequence[tuple[int, ...]], utility: str | None = None) -> Floats:
        return np.array([[self.values[row_of(kept)]] for kept in keeps])

    def tell(self, name: str, value: Any) -> None:
        """What a scorer tells besides is not looked at."""


def game(depth: int) -> Floats:
    """Utilities that saturate, with pairs of layers that help or hinder each other (2^layers,)."""
    rng = np.random.default_rng(depth)
    alone, pairs = rng.exponential(size=depth), np.triu(rng.normal(0, 0.3, (depth, depth)), 1)
    held = np.array([[layer in kept for layer in range(depth)] for kept in every_subset(depth)], dtype=np.float64)
    return np.asarray(-6 * np.exp(-0.5 * held @ alone) + np.einsum("si,ij,sj->s", held, pairs, held))


def scorer_draws(scorer: str, size: int, depth: int) -> Callable[..., Iterator[Draw]]:
    """The scores of all layers of one game; every layer is a draw."""
    values = game(depth)
    weights = marginal_weights(depth, lambda _: 0.5 ** (depth - 1)) if scorer == "banzhaf" else shapley_weights(depth)
    truth = weights @ values

    def draws(rng: np.random.Generator, count: int) -> Iterator[Draw]:
        for _ in range(-(-count // depth)):
            scores = LayerScores(scorer, SCORERS[scorer](size).score(Game(values, rng)).numpy())
            found = scores.interval()
            error = scores.standard_error
            assert error is not None
            half = stats.t.ppf(0.975, scores.count - 1) * error
            for layer in range(depth):
                mean = scores.mean[layer]
                none = found is None or np.isnan(found[0][layer])
                now = None if none or found is None else (float(found[0][layer]), float(found[1][layer]))
                yield Draw(float(truth[layer]), now, (mean - half[layer], mean + half[layer]))

    return draws
