"""`angular`: the angle by which a layer turns the state at the last position."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import attrs

from lwa_plugins.scorers._angular import angular_distances

if TYPE_CHECKING:
    import torch

    from lwa_core import Observation, Probe


@attrs.frozen
class Angular:
    """(1/π) arccos cos(h_l, h_{l+1}) at the last real position (Gromov et al. 2024, equation 4); within [0, 1].

    The mean is that of the angles, not the angle of a mean. The distances over blocks of every length come from the
    same Gram matrix and are told besides, as `block_distances`: row n − 1 holds those over n layers from each start.
    The selector `contiguous` chooses by them.
    """

    observes: ClassVar[frozenset[str]] = frozenset({"states"})
    unit: ClassVar[str] = "angle / π"

    def observe(self, seen: Observation) -> torch.Tensor:
        return angular_distances(seen)

    def finish(self, rows: torch.Tensor, probe: Probe) -> torch.Tensor:
        means = rows.mean(dim=0).tolist()
        told = [[value for value in row if value != float("inf")] for row in means]
        probe.tell("block_distances", told)
        return rows[:, 0]
