"""`leave-one-out`: what is lost when one layer is skipped and all others stay."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import attrs

if TYPE_CHECKING:
    import torch

    from lwa_core.modeling.probe import Probe


@attrs.frozen
class LeaveOneOut:
    """v(all) − v(all without layer l), paired example by example; v is the recipe's utility.

    With the utility `loss` it is the rise of the cross-entropy. Negative where the model is better off without it.
    """

    unit: ClassVar[str] = "utility"

    def score(self, probe: Probe) -> torch.Tensor:
        import torch

        layers = range(probe.depth)
        values = torch.from_numpy(
            probe.evaluate([tuple(layers), *(tuple(j for j in layers if j != i) for i in layers)])
        )
        return (values[0] - values[1:]).T  # (examples, layers)
