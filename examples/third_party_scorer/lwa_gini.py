"""Layer importance by the Gini coefficient of the weights."""

import attrs

from lwa_core import Component, hookimpl, setting


@attrs.frozen
class Gini:
    """A layer matters more when few of its weights carry most of its mass."""

    power: float = setting(1.0, help="exponent put on |w|", minimum=0.1)

    def score(self, probe):
        import torch

        from lwa_core.modeling import layer_weights

        def gini(layer):
            w = torch.cat([p.flatten() for p in layer_weights(layer)]).double().abs().pow(self.power).sort().values
            rank = torch.arange(1, len(w) + 1, device=w.device)
            return 2 * (rank * w).sum() / (len(w) * w.sum()) - (len(w) + 1) / len(w)

        return torch.stack([gini(layer) for layer in probe.model.layers])[None, :]


@hookimpl
def lwa_scorers():
    return [Component("gini", Gini, reference="Hurley & Rickard 2009, Comparing measures of sparsity")]
