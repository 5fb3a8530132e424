"""Chunked cross-entropy and its gradients, against float64 and finite differences."""

import pytest
import torch
from torch.autograd import gradcheck

from lwa_core.modeling.kernels import cross_entropy as module
from lwa_core.modeling.kernels.cross_entropy import cross_entropy


def case(targets, items=50, width=8, dtype=torch.float32):
    torch.manual_seed(0)
    hidden, table = torch.randn(targets, width, dtype=dtype), torch.randn(items, width, dtype=dtype)
    return hidden.requires_grad_(), table.requires_grad_(), torch.randint(0, items, (targets,))


def expected(hidden, table, targets, weights):
    """Losses and gradients of their weighted sum by the definition, in float64."""
    h, t = (x.detach().double().requires_grad_() for x in (hidden, table))
    losses = -(h @ t.T).log_softmax(dim=-1)[torch.arange(len(h)), targets]
    (losses * weights).sum().backward()
    return losses.detach(), h.grad, t.grad


def close(given, wanted):
    torch.testing.assert_close(given.double(), wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("targets", [0, 1, 256, 700])
@pytest.mark.parametrize("uniform", [True, False])
def test_losses_and_gradients_are_those_of_the_definition(targets, uniform):
    hidden, table, wanted = case(targets)
    weights = torch.full((targets,), 0.5) if uniform else torch.rand(targets)
    losses, into_hidden, into_table = expected(hidden, table, wanted, weights)

    given = cross_entropy(hidden, table, wanted)
    (given * weights).sum().backward()

    close(given.detach(), losses)
    close(hidden.grad, into_hidden)
    close(torch.zeros_like(table) if table.grad is None else table.grad, into_table)


@pytest.mark.parametrize("chunk", [1, 3, 100])
def test_gradients_pass_the_check_by_finite_differences(monkeypatch, chunk):
    monkeypatch.setattr(module, "CHUNK", chunk)
    hidden, table, wanted = case(7, items=5, width=3, dtype=torch.float64)

    assert gradcheck(lambda h, t: cross_entropy(h, t, wanted), (hidden, table))


@pytest.mark.parametrize("frozen", ["hidden", "table", "both"])
def test_what_is_frozen_gets_no_gradient(frozen):
    hidden, table, wanted = case(10)
    _, into_hidden, into_table = expected(hidden, table, wanted, torch.ones(10))
    hidden.requires_grad_(frozen == "table")
    table.requires_grad_(frozen == "hidden")

    losses = cross_entropy(hidden, table, wanted)

    assert losses.requires_grad is (frozen != "both")
    if losses.requires_grad:
        losses.sum().backward()
    for value, wanted_gradient in ((hidden, into_hidden), (table, into_table)):
        if value.requires_grad:
            close(value.grad, wanted_gradient)
        else:
            assert value.grad is None


def test_a_second_backward_pass_gives_the_same():
    hidden, table, wanted = case(10)
    losses = cross_entropy(hidden, table, wanted)

    first = torch.autograd.grad(losses.sum(), (hidden, table), retain_graph=True)
    second = torch.autograd.grad(losses.sum(), (hidden, table))

    assert all(torch.equal(one, other) for one, other in zip(first, second, strict=True))


def test_logits_far_apart_neither_overflow_nor_vanish():
    table = torch.tensor([[300.0], [-300.0], [0.0]])
    hidden, wanted = torch.tensor([[1.0], [1.0], [-1.0]]), torch.tensor([0, 1, 2])

    assert [0.0, 600.0, 300.0] == cross_entropy(hidden, table, wanted).tolist()
