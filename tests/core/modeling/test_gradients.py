"""Per-example gradient norms equal those of a loop that takes one example at a time."""

import pytest
import torch
from torch import nn

from lwa_core.modeling.gradients import _by_hooks, _by_loop, squared_gradient_norms
from lwa_core.modeling.layered import LayeredModel
from lwa_core.testing import tiny_probe, tiny_recommender


def one_at_a_time(probe, batch):
    """The definition: one example, one backward pass, the squares of all gradients of a layer added up."""
    model, rows = probe.model, []
    for n in range(len(batch["input_ids"])):
        model.model.zero_grad()
        one = {name: value[n : n + 1] for name, value in batch.items()}
        probe.recommender.loss(model.model, one).mean.sum().backward()
        rows.append([sum(float(p.grad.double().square().sum()) for p in layer.parameters()) for layer in model.layers])
    model.model.zero_grad()
    return torch.tensor(rows, dtype=torch.double)


@pytest.mark.parametrize(("width", "max_length"), [(8, 12), (32, 4)], ids=["matrix form", "ghost form"])
def test_equals_one_example_at_a_time(width, max_length):
    probe = tiny_probe(tiny_recommender(width=width, max_length=max_length))
    for batch in probe.batches():
        expected = one_at_a_time(probe, batch)
        losses = lambda batch=batch: probe.recommender.loss(probe.model.model, batch).mean  # noqa: E731

        torch.testing.assert_close(squared_gradient_norms(probe.model, losses), expected, rtol=1e-5, atol=1e-12)
        torch.testing.assert_close(_by_loop(probe.model, losses).double(), expected, rtol=1e-5, atol=1e-12)


def test_is_not_the_square_of_the_batch_gradient():
    probe = tiny_probe()
    batch = next(iter(probe.batches()))
    probe.recommender.loss(probe.model.model, batch).mean.mean().backward()
    of_the_mean = [sum(float(p.grad.square().sum()) for p in layer.parameters()) for layer in probe.model.layers]
    probe.model.model.zero_grad()

    norms = _by_hooks(probe.model, lambda: probe.recommender.loss(probe.model.model, batch).mean)

    assert all(norms.mean(dim=0)[i] > 1.5 * of_the_mean[i] for i in range(probe.depth))


def test_linear_regression_has_a_closed_form():
    """One Linear block, squared error: the gradient of example n is 2 (w·x − y) xᵀ."""

    class Regression(nn.Module):
        def __init__(self):
            super().__init__()
            self.blocks = nn.ModuleList([nn.Linear(3, 1, bias=False)])

        def forward(self, x):
            return self.blocks[0](x)

    torch.manual_seed(0)
    model, x, y = Regression(), torch.randn(5, 1, 3), torch.randn(5)

    def losses():
        return (model(x)[:, 0, 0] - y).square()

    norms = squared_gradient_norms(LayeredModel(model), losses)

    with torch.no_grad():
        expected = (2 * (model(x)[:, 0, 0] - y)).square() * x[:, 0].square().sum(dim=1)
    torch.testing.assert_close(norms[:, 0], expected.double(), rtol=1e-5, atol=1e-8)
