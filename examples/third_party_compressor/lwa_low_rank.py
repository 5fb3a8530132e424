"""Low-rank factors in the place of the linear maps of a model's layers."""

import attrs

from lwa_core import Component, LayeredModel, hookimpl, load_weights, save_weights, setting


@attrs.frozen
class LowRank:
    """Two thin linear maps for each: the truncated singular value decomposition of its weights."""

    rank: int = setting(8, help="rank of the factors", minimum=1)

    def compress(self, job):
        return self.factorised(job.cut())

    def save(self, model, folder):
        save_weights(model, folder)

    def restore(self, model, folder):
        return load_weights(self.factorised(LayeredModel(model)), folder)

    def factorised(self, student):
        import torch

        for layer in student.layers:
            for name, module in list(layer.named_modules()):
                if isinstance(module, torch.nn.Linear) and self.rank < min(module.weight.shape):
                    layer.set_submodule(name, self.factors(module))
        return student.model

    def factors(self, module):
        import torch

        u, s, v = torch.linalg.svd(module.weight.detach(), full_matrices=False)
        down = torch.nn.Linear(module.in_features, self.rank, bias=False)
        up = torch.nn.Linear(self.rank, module.out_features, bias=module.bias is not None)
        with torch.no_grad():
            down.weight.copy_(v[: self.rank])
            up.weight.copy_(u[:, : self.rank] * s[: self.rank])
            if module.bias is not None:
                up.bias.copy_(module.bias)
        return torch.nn.Sequential(down, up)


@hookimpl
def lwa_compressors():
    return [Component("low-rank", LowRank, reference="Eckart & Young 1936")]
