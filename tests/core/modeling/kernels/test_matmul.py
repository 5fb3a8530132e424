"""Products by oneDNN, and the linear maps made by them, against float64 and torch's own autograd."""

import pytest
import torch
from torch import nn

from lwa_core.modeling.kernels import matmul as module
from lwa_core.modeling.kernels.matmul import SMALLEST, fast_linear_maps, product


def laid_out_by_columns(matrix):
    return matrix.T.contiguous().T


@pytest.mark.parametrize(
    ("rows", "columns", "inner"), [(1, 1, 1), (3, 5, 4), (0, 5, 4), (256, 3416, 64), (64, 99, 256)]
)
@pytest.mark.parametrize("layout", [torch.Tensor.contiguous, laid_out_by_columns])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_a_product_is_the_matrix_product(rows, columns, inner, layout, dtype):
    torch.manual_seed(0)
    left, right = (layout(torch.randn(n, inner, dtype=dtype)) for n in (rows, columns))

    given = product(left, right)

    assert (given.dtype, given.shape) == (dtype, (rows, columns))
    error = (given.double() - left.double() @ right.double().T).abs() / inner**0.5
    assert bool((error < {torch.float64: 1e-14, torch.float32: 1e-5, torch.bfloat16: 0.05}[dtype]).all())


def network(bias=True):
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(16, 40, bias=bias), nn.GELU(), nn.Linear(40, 8, bias=bias))


def inputs():
    torch.manual_seed(1)
    return torch.randn(90, 30, 16)


def made_fast(monkeypatch):
    """The sizes of the inputs that oneDNN's product is called with."""
    sizes, real = [], module.product
    monkeypatch.setattr(module, "product", lambda left, *rest: sizes.append(left.numel()) or real(left, *rest))
    return sizes


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("frozen", ["", "0.weight", "2.weight", "input"])
def test_outputs_and_gradients_are_torchs_own_in_float64(bias, frozen):
    model, states = network(bias), inputs().requires_grad_(frozen != "input")
    exact, wanted = network(bias).double(), inputs().double().requires_grad_(frozen != "input")
    for net in (model, exact):
        for name, parameter in net.named_parameters():
            parameter.requires_grad_(name != frozen)

    with fast_linear_maps():
        given = model(states)
    given.square().sum().backward()
    expected = exact(wanted)
    expected.square().sum().backward()

    torch.testing.assert_close(given.double(), expected, rtol=1e-4, atol=1e-5)
    pairs = [(states, wanted), *zip(model.parameters(), exact.parameters(), strict=True)]
    for one, other in pairs:
        assert (one.grad is None) is (other.grad is None)
        if one.grad is not None:
            torch.testing.assert_close(one.grad.double(), other.grad, rtol=1e-4, atol=1e-3)


@pytest.mark.skipif(module._onednn_product() is None, reason="this torch has no oneDNN product")
def test_large_linear_maps_are_caught_and_small_ones_are_not(monkeypatch):
    sizes = made_fast(monkeypatch)
    large = inputs()
    small = large[:1]

    with fast_linear_maps(), torch.no_grad():
        network()(small)
        assert [] == sizes
        network()(large)

    assert large.numel() >= SMALLEST > small.numel()
    assert [large.numel(), large.numel() // 16 * 40] == sizes


def test_other_types_are_left_to_torch(monkeypatch):
    sizes = made_fast(monkeypatch)

    with fast_linear_maps():
        network().double()(inputs().double()).sum().backward()

    assert [] == sizes


def test_outside_the_context_nothing_is_caught(monkeypatch):
    sizes = made_fast(monkeypatch)
    with fast_linear_maps():
        pass

    network()(inputs())

    assert [] == sizes


def test_without_onednn_the_results_are_the_same(monkeypatch):
    with torch.no_grad(), fast_linear_maps():
        fast = network()(inputs())
    monkeypatch.setattr(module, "_onednn_product", lambda: None)
    with torch.no_grad(), fast_linear_maps():
        torch.testing.assert_close(network()(inputs()), fast, rtol=1e-5, atol=1e-5)


def test_what_it_gives_may_be_changed_in_place():
    """Some families add to the output of a linear map in place (RoCBert)."""
    torch.manual_seed(0)
    states = torch.randn(4, 64, 128, requires_grad=True)
    linear = torch.nn.Linear(128, 32)

    def loss():
        out = linear(states)
        out += 1.0
        return out.square().sum()

    expected = torch.autograd.grad(loss(), [states, linear.weight, linear.bias])
    with fast_linear_maps():
        total = loss()
    found = torch.autograd.grad(total, [states, linear.weight, linear.bias])

    for mine, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-4)
