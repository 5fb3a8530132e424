"""`kernel-shap`: Shapley values as the weights of a linear model of layer subsets."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from lwa_core import setting
from lwa_plugins.scorers._values import (
    UNITS,
    UTILITIES,
    UTILITY_HELP,
    by_example,
    tell_sampling_of_examples,
    tell_sum,
    utilities,
)

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray

    from lwa_core import Probe


@attrs.frozen
class KernelShap:
    """Shapley values φ by least squares: v(S) ≈ v(none) + Σ_{l in S} φ_l over random subsets S of the layers.

    Subsets are drawn by the Shapley kernel, (L − 1) / (C(L, |S|) |S| (L − |S|)), of which the exact values are the
    solution (Lundberg & Lee 2017, theorem 2); each with its complement, and the values are held to add up to
    v(all) − v(none) (Covert & Lee 2021, Improving KernelSHAP, equation 7 and section 4.2). No penalty makes small
    values zero. A row is one pair: the solution, plus what the pair moved it by (its influence), so that mean and
    standard error of the rows are those of the regression, whose noise is what the linear model leaves unexplained.
    Unbiased only in the limit. All rows are of the same examples; the standard error over examples is told besides.
    """

    pairs: int = setting(128, help="pairs of a layer subset and its complement", minimum=8)
    utility: str = setting("", help=UTILITY_HELP, choices=UTILITIES)

    @property
    def unit(self) -> str:
        """Of the scores."""
        return UNITS[self.utility]

    def score(self, probe: Probe) -> torch.Tensor:
        import numpy as np
        import torch

        from lwa_core import LwaError

        depth = probe.depth
        ends = [(), tuple(range(depth))]
        if depth == 1:
            return torch.from_numpy(np.diff(utilities(probe, ends, self.utility), axis=0).T)
        first = self._subsets(probe)  # (pairs, layers)
        holds = np.stack([first, ~first], axis=1).reshape(-1, depth).astype(np.float64)  # (2 pairs, layers)
        if self.pairs < depth or np.linalg.matrix_rank(holds) < depth:
            raise LwaError(f"{self.pairs} pairs do not tell {depth} layers apart", "raise pairs")
        keeps = [tuple(np.flatnonzero(row).tolist()) for row in holds]
        none, full, *values = utilities(probe, [*ends, *keeps], self.utility)
        gains = np.stack(values) - none  # (2 pairs, examples)
        inverse = np.linalg.inv(holds.T @ holds / len(holds))
        spread = inverse.sum(axis=1) / inverse.sum()  # how the layers share what the regression leaves over
        within = inverse - np.outer(spread, inverse.sum(axis=0))  # columns add up to 0
        alone = by_example(within @ holds.T / len(holds), gains) + np.outer(full - none, spread)
        scores = alone.mean(axis=0)
        unexplained = gains.mean(axis=1) - holds @ scores  # (2 pairs,)
        influence = ((holds * unexplained[:, None]) @ within).reshape(self.pairs, 2, depth).mean(axis=1)
        # Residuals of a fit are smaller than the errors: each pair is one equation for L − 1 unknowns.
        freedom = (self.pairs / (self.pairs - depth + 1)) ** 0.5
        tell_sampling_of_examples(probe, alone)
        tell_sum(probe, scores, full.mean(), none.mean())
        return torch.from_numpy(scores + freedom * influence)

    def _subsets(self, probe: Probe) -> NDArray[np.bool_]:
        """Subsets drawn by the Shapley kernel (pairs, layers): a size first, then any subset of that size."""
        import numpy as np

        sizes = np.arange(1, probe.depth)
        odds = 1 / (sizes * (probe.depth - sizes))
        drawn = probe.generator.choice(sizes, size=self.pairs, p=odds / odds.sum())
        order = np.argsort(probe.generator.random((self.pairs, probe.depth)), axis=1)
        return order < drawn[:, None]
