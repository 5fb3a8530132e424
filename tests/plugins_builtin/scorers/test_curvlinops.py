"""The scorers of the Fisher against curvlinops, where it is installed.

It asks for torchvision, which brings another build of torch. Without: pip install --no-deps curvlinops-for-pytorch
backpack-for-pytorch einconv einops unfoldNd linear_operator opt_einsum jaxtyping
"""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from lwa_core.modeling.probing.probe import Probe
from lwa_core.testing import tiny_probe, tiny_recommender
from lwa_core.testing.conformance import score
from lwa_plugins.scorers.fisher import Fisher
from lwa_plugins.scorers.fisher_saliency import FisherSaliency
from lwa_plugins.scorers.kfac_trace import KfacTrace

curvlinops = pytest.importorskip("curvlinops", reason="curvlinops is not installed")


@pytest.fixture
def probe():
    """Histories of one length, since the library weighs positions alike and not examples."""
    made = tiny_probe(tiny_recommender(layers=2, width=4), items=9)
    made.model.model.double()
    histories = [np.resize(history, 5) for history in made.histories]
    return Probe(made.model, made.subject, histories, made.targets, batch=7)


class Logits(nn.Module):
    def __init__(self, probe):
        super().__init__()
        self.probe, self.model = probe, probe.model.model

    def forward(self, batch):
        return self.probe.logits(dict(batch))


def operator(kind, probe, parameters, **settings):
    (batch,) = probe.part(range(probe.examples)).batches(size=probe.examples)
    return kind(
        Logits(probe),
        nn.CrossEntropyLoss(),
        list(parameters),
        [(batch, batch["targets"])],
        batch_size_fn=lambda batch: len(batch["targets"]),
        **settings,
    )


def diagonal_of(found):
    return torch.from_numpy(np.diag(found.to_scipy() @ np.eye(found.shape[1])).copy())


def test_fisher_and_saliency_are_trace_and_diagonal_of_the_empirical_fisher(probe):
    traces, saliencies = [], []
    for layer in probe.model.layers:
        parameters = list(layer.parameters())
        with sdpa_kernel(SDPBackend.MATH):  # forward derivatives of fused attention are not there
            diagonal = diagonal_of(operator(curvlinops.EFLinearOperator, probe, parameters))
        weights = torch.cat([p.detach().flatten() for p in parameters])
        traces.append(float(diagonal.sum()))
        saliencies.append(float((0.5 * weights.square() * diagonal).sum()))

    np.testing.assert_allclose(score(Fisher(), probe).mean(dim=0), traces, rtol=1e-5)
    np.testing.assert_allclose(score(FisherSaliency(), probe).mean(dim=0), saliencies, rtol=1e-5)


def test_kfac_trace_is_that_of_kfac_expand(probe):
    expected = []
    for layer in probe.model.layers:
        maps = [p for module in layer.modules() if isinstance(module, nn.Linear) for p in module.parameters()]
        found = operator(
            curvlinops.KFACLinearOperator,
            probe,
            maps,
            fisher_type="empirical",
            kfac_approx="expand",
            separate_weight_and_bias=False,
        )
        expected.append(float(diagonal_of(found).sum()))

    np.testing.assert_allclose(score(KfacTrace(), probe).mean(dim=0), expected, rtol=1e-5)
