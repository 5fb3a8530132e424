"""`linear-probe`: how much better a linear map reads the next item from the states after a layer than before it."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import attrs

from lwa_plugins.scorers._probing import Ridge, halves, states_and_targets

if TYPE_CHECKING:
    import torch

    from lwa_core import Observation, Probe


@attrs.frozen
class LinearProbe:
    """Gain in explained variance of the target item's vector, by a cross-fitted ridge probe (Alain & Bengio 2016).

    The probe is fitted on one half of the examples, its penalty chosen by leave-one-out there, and measured on the
    other half; then the other way round. One row an example: its squared error before the layer less that after it,
    over the mean squared distance of the targets from their mean on the fitting half. It is usable information of a
    linear reader with Gaussian errors (Xu et al. 2020): computing can raise it, as it never raises mutual information,
    and a layer that prepares what only later layers make linear gains nothing. Rows of one half share a probe, and
    intervals say how far other examples could change the score, not other probes. Told besides: the explained variance
    at every boundary, and that of a probe on shuffled targets: what a probe makes up (Hewitt & Liang 2019).
    """

    observes: ClassVar[frozenset[str]] = frozenset({"states", "target_vectors"})
    unit: ClassVar[str] = "explained variance"

    def observe(self, seen: Observation) -> torch.Tensor:
        return states_and_targets(seen)

    def finish(self, rows: torch.Tensor, probe: Probe) -> torch.Tensor:
        import torch

        states, wanted = rows[:, :-1].double(), rows[:, -1].double()
        chance = torch.Generator().manual_seed(probe.seed + 1)
        shuffled = wanted[torch.randperm(len(wanted), generator=chance)]
        errors, control = torch.empty(2, *states.shape[:2], dtype=torch.double)
        for fit, measure in halves(len(rows), probe.seed):
            ridge = Ridge.on(states[fit])
            for found, targets in ((errors, wanted), (control, shuffled)):
                made = ridge.fit(targets[fit])
                centered = targets[measure] - made.center
                off = (made.predict(states[measure]) - centered[:, None]).square().sum(dim=2)
                scale = centered.square().sum(dim=1).mean()
                found[measure] = off / scale.clamp_min(torch.finfo(torch.double).tiny)
        probe.tell("explained_variance", (1 - errors.mean(dim=0)).tolist())
        probe.tell("explained_variance_of_shuffled_targets", (1 - control.mean(dim=0)).tolist())
        gain: torch.Tensor = errors[:, :-1] - errors[:, 1:]
        return gain
