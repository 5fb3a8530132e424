"""`weight-magnitude`: how large a layer's weights are."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import attrs

from lwa_core import setting

if TYPE_CHECKING:
    import torch

    from lwa_core import Probe


@attrs.frozen
class WeightMagnitude:
    """(mean |w|^p)^(1/p) over all parameters of the layer, 4- and 8-bit ones decoded. Looks at no data: a baseline."""

    unit: ClassVar[str] = "weight"

    power: float = setting(2.0, help="exponent p: 1 is the mean magnitude, 2 the root mean square", above=0)

    def score(self, probe: Probe) -> torch.Tensor:
        import torch

        from lwa_core.modeling import layer_weights

        with torch.no_grad():
            sizes = [
                torch.cat([weight.flatten() for weight in layer_weights(layer)]).double().abs().pow(self.power).mean()
                for layer in probe.model.layers
            ]
            return torch.stack(sizes).pow(1 / self.power)[None, :]
