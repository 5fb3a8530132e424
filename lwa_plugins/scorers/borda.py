"""`borda`: one order out of the orders of several scorers, by Borda's count."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import attrs

from lwa_core import setting

if TYPE_CHECKING:
    import torch

    from lwa_core import ScoreBoard


@attrs.frozen
class Borda:
    """From each combined scorer a layer gets as many points as it is ranked above other layers: 0 to layers − 1.

    Tied layers share the average (Borda 1781; Dwork et al. 2001). Only ranks count, never how far scores lie apart, so
    that units do not matter; every scorer counts alike, also those that measure nearly the same. One sample is one
    scorer: the interval says how far the scorers differ, not how far other examples could move the scores.
    """

    unit: ClassVar[str] = "rank points"

    of: tuple[str, ...] = setting((), help="the scorers to combine; all but baselines where left out", names="score")

    def combine(self, board: ScoreBoard) -> torch.Tensor:
        import torch

        from lwa_core.statistics import borda_points

        return torch.from_numpy(borda_points(board.means(board.names)))
