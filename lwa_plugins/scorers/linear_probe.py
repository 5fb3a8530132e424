"""`linear-probe`: how much better a linear map reads the next item from the states after a layer than before it."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import attrs

from lwa_plugins.scorers._probing import halves, predicted, states_and_targets

if TYPE_CHECKING:
    import torch

    from lwa_core.modeling.observation import Observation
    from lwa_core.modeling.probe import Probe


@attrs.frozen
class LinearProbe:
    """Gain in explained variance of the target item's vector, by a cross-fitted ridge probe (Alain & Bengio 2016).

    The probe is fitted on one half of the examples and measured on the other, then the other way round: usable
    information (Xu et al. 2020) of a linear reader, which unlike mutual information can grow with depth. One row an
    example: its squared error before the layer less that after it, over the mean squared distance of the targets from
    their mean on the fitting half. Told besides: the explained variance at every boundary, and that of a probe on
    shuffled targets, which shows what the probe makes up by itself (Hewitt & Liang 2019, control tasks).
    """

    observes: ClassVar[frozenset[str]] = frozenset({"states", "target_vectors"})
    unit: ClassVar[str] = "explained variance"

    def observe(self, seen: Observation) -> torch.Tensor:
        return states_and_targets(seen)

    def finish(self, rows: torch.Tensor, probe: Probe) -> torch.Tensor:
        import numpy as np
        import torch

        table = rows.double().numpy()
        states, wanted = table[:, :-1], table[:, -1]
        shuffled = wanted[probe.generator.permutation(len(wanted))]
        errors, control = np.empty((2, *states.shape[:2]))
        for fit, measure in halves(len(table), probe.generator):
            for errors_of, targets in ((errors, wanted), (control, shuffled)):
                scale = ((targets[measure] - targets[fit].mean(axis=0)) ** 2).sum(axis=1).mean()
                for place in range(states.shape[1]):
                    made = predicted(states[:, place], targets, fit)
                    errors_of[measure, place] = ((made - targets)[measure] ** 2).sum(axis=1) / scale
        probe.tell("explained_variance", (1 - errors.mean(axis=0)).tolist())
        probe.tell("explained_variance_of_shuffled_targets", (1 - control.mean(axis=0)).tolist())
        return torch.from_numpy(errors[:, :-1] - errors[:, 1:])
