"""`cka`: how unlike the states before and after a layer are, as representations of the examples."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import attrs

from lwa_core import LwaError, setting

if TYPE_CHECKING:
    import torch

    from lwa_core import Observation, Probe

FEWEST = 8


@attrs.frozen
class Cka:
    """1 − linear CKA of the states before and after the layer (Kornblith et al. 2019), with debiased HSIC.

    One state an example, at its last real position, so that the rows of the two matrices are independent. HSIC is
    estimated without bias (Song et al. 2012, equation 5; Nguyen et al. 2021), as the plain estimator makes all states
    alike where there are hardly more examples than dimensions. A sample is a random group of `group` examples or more;
    CKA is the ratio of the groups' mean HSICs, and the rows are its linearisation around them (the delta method). Blind
    to rotations and to the scale of the states; dominated by directions of high variance (Davari et al. 2023).
    """

    observes: ClassVar[frozenset[str]] = frozenset({"states"})
    unit: ClassVar[str] = "1 − CKA"

    group: int = setting(64, help="fewest examples in one sample, where there are as many", minimum=8)

    def observe(self, seen: Observation) -> torch.Tensor:
        import torch

        assert seen.states is not None  # it was asked for above
        return torch.stack([seen.at_last(state) for state in seen.states], dim=1)

    def finish(self, rows: torch.Tensor, probe: Probe) -> torch.Tensor:
        import torch

        if len(rows) < FEWEST:
            raise LwaError(f"{len(rows)} calibration examples are too few for CKA", f"give it {FEWEST} or more")
        groups = max(1, len(rows) // self.group)
        order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(probe.seed))
        probe.tell("examples_in_a_sample", len(rows) // groups)
        parts = [kernels(part.double()) for part in rows[order].tensor_split(groups)]
        return 1 - likeness(
            torch.stack([unbiased_hsic(k[:-1], k[1:]) for k in parts]),
            torch.stack([unbiased_hsic(k, k) for k in parts]),
        )


def likeness(cross: torch.Tensor, own: torch.Tensor) -> torch.Tensor:
    """CKA of neighbouring boundaries as rows whose mean it is (groups, depth).

    Args:
        cross: HSIC of each boundary and the next (groups, depth).
        own: HSIC of each boundary and itself (groups, depth + 1).
    """
    import torch

    mean = own.mean(dim=0).clamp_min(torch.finfo(torch.double).tiny)
    scale = (mean[:-1] * mean[1:]).sqrt()
    cka = cross.mean(dim=0) / scale
    return cross / scale - cka * ((own[:, :-1] / mean[:-1] + own[:, 1:] / mean[1:]) / 2 - 1)


def kernels(states: torch.Tensor) -> torch.Tensor:
    """Linear kernels with a diagonal of zeros, one a boundary: (examples, boundaries, width) -> (boundaries, n, n)."""
    import torch

    columns = (states - states.mean(dim=0)).transpose(0, 1)  # the estimator knows no mean, but rounding does
    made = columns @ columns.mT
    return made - torch.diag_embed(made.diagonal(dim1=1, dim2=2))


def unbiased_hsic(k: torch.Tensor, m: torch.Tensor) -> torch.Tensor:
    """HSIC₁ (Song et al. 2012, equation 5) of kernels with a diagonal of zeros: (…, n, n) twice -> (…); n ≥ 4."""
    count = k.shape[-1]
    over_k, over_m = k.sum(dim=-1), m.sum(dim=-1)
    cross = (k * m).sum(dim=(-2, -1)) + over_k.sum(dim=-1) * over_m.sum(dim=-1) / ((count - 1) * (count - 2))
    return (cross - 2 / (count - 2) * (over_k * over_m).sum(dim=-1)) / (count * (count - 3))
