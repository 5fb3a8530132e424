"""`robust-rank-aggregation`: layers that several scorers rank higher than chance would."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import attrs

from lwa_core import setting

if TYPE_CHECKING:
    import torch

    from lwa_core import ScoreBoard


@attrs.frozen
class RobustRankAggregation:
    """−log10 of the p-value that a layer's ranks are as high as they are by chance (Kolde et al. 2012).

    The p-value is that of the paper's ρ, exactly instead of by its Bonferroni bound, and is not corrected for the
    number of layers. Robust: a layer can stand out by the scorers that rank it high, whatever the others say. It is
    made to find the layers at the top; among those that no scorer ranks high the values are near 0 and say little.
    """

    unit: ClassVar[str] = "−log10 p"

    of: tuple[str, ...] = setting((), help="the scorers to combine; all but baselines where left out", names="score")

    def combine(self, board: ScoreBoard) -> torch.Tensor:
        import numpy as np
        import torch

        from lwa_core.statistics import robust_rank_aggregation

        p = robust_rank_aggregation(board.means(board.names))
        return torch.from_numpy(0.0 - np.log10(p))[None, :]
