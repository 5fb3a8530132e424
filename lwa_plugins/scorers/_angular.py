"""Angular distances between all block boundaries, shared by the scorer `angular` and the selector `contiguous`."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

    from lwa_core import Observation


def angular_distances(seen: Observation) -> torch.Tensor:
    """(1/π) arccos cos(h_l, h_{l+n}) at the last real position of each example (Gromov et al. 2024, equation 4).

    Every block length comes from one Gram matrix of the depth + 1 states. Gives (examples, layers, layers), double,
    within [0, 1]: entry [:, n − 1, l] is the distance over the n layers that start at layer l, and infinite where
    there are no n layers from there. `seen` must hold `states`.
    """
    import torch

    assert seen.states is not None
    states = torch.stack([seen.at_last(state) for state in seen.states], dim=1).double()
    states = states / states.norm(dim=2, keepdim=True).clamp(min=torch.finfo(torch.double).tiny)
    angles = (states @ states.transpose(1, 2)).clamp(-1, 1).arccos() / torch.pi  # (examples, depth + 1, depth + 1)
    depth = len(seen.states) - 1
    start, length = torch.arange(depth)[None], torch.arange(1, depth + 1)[:, None]
    inside = (start + length <= depth).to(angles.device)
    return torch.where(inside, angles[:, start, (start + length).clamp(max=depth)], torch.inf)
