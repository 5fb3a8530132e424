"""`cka`: how unlike the states before and after a layer are, as representations of the examples."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import attrs

from lwa_core.settings import setting

if TYPE_CHECKING:
    import torch

    from lwa_core.modeling.observation import Observation
    from lwa_core.modeling.probe import Probe


@attrs.frozen
class Cka:
    """1 − linear CKA of the states before and after the layer (Kornblith et al. 2019), with debiased HSIC.

    One state an example, at its last real position, so that the rows of the two matrices are independent. A sample is a
    group of examples, in whose size the unbiased estimator of HSIC (Song et al. 2012, equation 5; Nguyen et al. 2021)
    is not inflated, as the plain one is where there are hardly more examples than dimensions. Blind to rotations and to
    the scale of the states; dominated by directions of high variance (Davari et al. 2023).
    """

    observes: ClassVar[frozenset[str]] = frozenset({"states"})
    unit: ClassVar[str] = "1 − CKA"

    group: int = setting(64, help="examples in one sample; the last group may be larger", minimum=8)

    def observe(self, seen: Observation) -> torch.Tensor:
        import torch

        assert seen.states is not None  # it was asked for above
        return torch.stack([seen.at_last(state) for state in seen.states], dim=1)

    def finish(self, rows: torch.Tensor, probe: Probe) -> torch.Tensor:
        import torch

        groups = max(1, len(rows) // self.group)
        order = torch.from_numpy(probe.generator.permutation(len(rows)))
        table = [_distances(part) for part in rows[order].double().tensor_split(groups)]
        probe.tell("examples_in_a_sample", len(rows) // groups)
        return torch.stack(table)


def _distances(states: torch.Tensor) -> torch.Tensor:
    """1 − CKA between every two neighbouring boundaries: (examples, depth + 1, width) -> (depth,)."""
    import torch

    own = [unbiased_hsic(state, state) for state in states.unbind(dim=1)]
    pairs = range(states.shape[1] - 1)
    likeness = [
        unbiased_hsic(states[:, i], states[:, i + 1]) / (own[i] * own[i + 1]).clamp(min=0).sqrt() for i in pairs
    ]
    return 1 - torch.nan_to_num(torch.stack(likeness), nan=0.0, posinf=0.0, neginf=0.0)


def unbiased_hsic(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """HSIC₁ of linear kernels (Song et al. 2012, equation 5), from features (examples, width), at least four."""
    import torch

    count = len(x)
    kernels = [states @ states.T for states in (x, y)]
    k, m = (kernel - torch.diag(kernel.diagonal()) for kernel in kernels)
    cross = (k * m).sum() + k.sum() * m.sum() / ((count - 1) * (count - 2))
    return (cross - 2 / (count - 2) * (k.sum(dim=0) @ m.sum(dim=0))) / (count * (count - 3))
