"""Dropout and attention of training on a CPU, against their definitions and torch's own."""

import pytest
import torch
import torch.nn.functional as F

from lwa_plugins.recommenders.sequential import dropout as module
from lwa_plugins.recommenders.sequential.dropout import Dropout, causal_attention, dropout_factors


@pytest.mark.parametrize("rate", [0.0, 0.1, 0.2, 0.5, 0.9])
def test_factors_are_zero_at_the_rate_and_have_mean_one(rate):
    torch.manual_seed(0)
    elements = 400_000

    factors = dropout_factors(torch.empty(elements), rate)

    dropped = float((factors == 0).double().mean())
    assert dropped == pytest.approx(rate, abs=4 * (rate * (1 - rate) / elements) ** 0.5 + 2**-17)
    assert len(factors[factors != 0].unique()) == 1
    assert float(factors.max()) == pytest.approx(1 / (1 - rate), rel=1e-4)


def test_each_of_the_four_parts_of_a_drawn_number_drops_on_its_own():
    torch.manual_seed(0)
    kept = (dropout_factors(torch.empty(100_000, 4), 0.3) > 0).double()

    assert kept.mean(dim=0).tolist() == pytest.approx([0.7] * 4, abs=0.01)
    correlation = torch.corrcoef(kept.T) - torch.eye(4)
    assert float(correlation.abs().max()) < 0.02


@pytest.mark.parametrize("shape", [(1,), (3, 5), (2, 7, 3)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_factors_have_shape_and_type_of_what_they_drop(shape, dtype):
    factors = dropout_factors(torch.empty(shape, dtype=dtype), 0.5)

    assert (factors.shape, factors.dtype) == (torch.Size(shape), dtype)


def test_the_seed_decides_what_is_dropped():
    def dropped(seed):
        torch.manual_seed(seed)
        return Dropout(0.5)(torch.ones(1000))

    assert torch.equal(dropped(1), dropped(1))
    assert not torch.equal(dropped(1), dropped(2))


def test_nothing_is_dropped_in_eval_mode():
    assert torch.equal(Dropout(0.5).eval()(torch.ones(1000)), torch.ones(1000))


@pytest.mark.parametrize("time", [1, 49, 50, 51, 120])
def test_attention_with_nothing_dropped_is_causal_attention(monkeypatch, time):
    monkeypatch.setattr(module, "dropout_factors", lambda like, rate: torch.ones_like(like))
    torch.manual_seed(0)
    inputs = torch.randn(3, 2, 2, time, 8, dtype=torch.float64, requires_grad=True)
    weights = torch.randn(2, 2, time, 8, dtype=torch.float64)

    given = causal_attention(*inputs, 0.5)
    wanted = F.scaled_dot_product_attention(*inputs, is_causal=True)

    torch.testing.assert_close(given, wanted)
    gradients = [torch.autograd.grad((mixed * weights).sum(), inputs)[0] for mixed in (given, wanted)]
    torch.testing.assert_close(*gradients)


def test_attention_drops_probabilities_and_keeps_their_mean():
    """With values that pick out the keys, the result is the matrix of dropped probabilities itself."""
    torch.manual_seed(0)
    time, rate = 60, 0.25
    q, k = torch.randn(2, 1, 1, time, 8)
    q, k = q.expand(500, 1, -1, -1), k.expand(500, 1, -1, -1)
    values = torch.eye(time).expand(500, 1, -1, -1)
    probabilities = F.scaled_dot_product_attention(q[:1], k[:1], values[:1], is_causal=True)[0, 0]

    matrices = causal_attention(q, k, values, rate)[:, 0]

    kept = matrices / (probabilities / (1 - rate)).clamp(min=1e-30)
    below = torch.ones(time, time).tril() > 0
    assert torch.equal(matrices[:, ~below], torch.zeros(500, int((~below).sum())))
    kept = kept[:, below & (probabilities > 1e-6)]
    assert bool(((kept - kept.round()).abs() < 1e-3).all())
    assert kept.round().unique().tolist() == [0.0, 1.0]
    assert float(kept.mean()) == pytest.approx(1 - rate, abs=0.002)


def test_without_dropout_attention_is_torchs_own_function(monkeypatch):
    """Scorers that look at attention watch for calls of it."""
    called = []
    monkeypatch.setattr(F, "scaled_dot_product_attention", lambda *a, **k: called.append(k) or a[0])

    causal_attention(*torch.randn(3, 1, 1, 4, 2), 0.0)

    assert [{"is_causal": True, "dropout_p": 0.0}] == called
