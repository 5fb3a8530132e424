"""Predictions under draws from the posterior."""

import copy

import numpy as np
import pytest
import torch
from softmax_model import fitted_regression, softmax_probe
from torch import nn

from lwa_core.errors import ModelError
from lwa_core.modeling.posterior.laplace import fit_laplace
from lwa_core.modeling.posterior.posterior_predictive import METHODS, Draws, posterior_predictive
from lwa_core.testing import tiny_probe, tiny_recommender


def small_probe(targets=1000, **settings):
    probe = tiny_probe(tiny_recommender(**{"width": 8, "layers": 2, **settings}))
    probe.training_targets, probe.batch = targets, 64
    return probe


@pytest.mark.parametrize("block", ["pre-norm", "gated"])
def test_linearised_logits_are_the_model_s_tangent(block):
    """Against central differences, in double precision."""
    probe = small_probe(block=block)
    probe.model.model.double()
    posterior = fit_laplace(probe).posterior
    batch = next(probe.batches())
    change = posterior.draw(torch.Generator().manual_seed(3))

    found = Draws(probe, posterior, "linearised").logits(batch, torch.Generator().manual_seed(3))

    def moved(step):
        model = copy.deepcopy(probe.model.model)
        for own, moved in zip(probe.model.model.parameters(), model.parameters(), strict=True):
            moved.data += step * change.get(id(own), 0.0)
        with torch.no_grad():
            return probe.subject.head(model, probe.subject.encode(model, batch)[0])

    expected = moved(0.0) + (moved(1e-5) - moved(-1e-5)) / 2e-5
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("structure", ["kfac", "diagonal"])
def test_the_layers_parts_add_up_to_the_variance_over_draws(structure):
    """Of log p of the target, under the model that is linear in the weights; not by way of its gradients."""
    probe = small_probe()
    fitted = fit_laplace(probe, structure=structure, prior_precision=20.0)
    expected = fitted.variances(probe).sum(axis=1)
    draws = Draws(probe, fitted.posterior, "linearised")
    generator, seen, done = torch.Generator().manual_seed(0), np.zeros(probe.examples), 0
    for batch in probe.batches():
        with torch.no_grad():
            logits = probe.logits(batch)
        rows = []
        for _ in range(200):
            change = draws.logits(batch, generator) - logits
            own = change.gather(1, batch["targets"][:, None])[:, 0]
            rows.append((own - (logits.softmax(dim=1) * change).sum(dim=1)).double())
        seen[probe.order[done : done + len(logits)]] = torch.stack(rows).var(dim=0)
        done += len(logits)

    # The variance of 200 normal draws has a relative standard error of √(2 / 200).
    assert np.abs(seen / expected - 1).max() < 4.5 * np.sqrt(2 / 200)


def test_sampled_predictions_are_those_of_the_model_with_the_drawn_weights():
    probe = small_probe()
    posterior = fit_laplace(probe).posterior
    batch = next(probe.batches())
    change = posterior.draw(torch.Generator().manual_seed(3))

    found = Draws(probe, posterior, "sampled").logits(batch, torch.Generator().manual_seed(3))

    with torch.no_grad():
        for parameter in probe.model.layers.parameters():
            parameter.add_(change[id(parameter)])
        torch.testing.assert_close(found, probe.logits(batch), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("method", METHODS)
def test_a_narrow_posterior_leaves_the_prediction_as_it_is(method):
    probe = small_probe(targets=10**12)
    fitted = fit_laplace(probe, prior_precision=1e12)

    told = posterior_predictive(probe, fitted.posterior, 3, method)

    assert told["epistemic"]["mean"] < 1e-6
    with torch.no_grad():
        logits = torch.cat([probe.logits(batch) for batch in probe.batches()]).double()
    plain = torch.distributions.Categorical(logits=logits).entropy().mean()
    assert float(plain) == pytest.approx(told["total"]["mean"], rel=1e-4)
    assert -probe.evaluate([(0, 1)]).mean() == pytest.approx(told["nll"]["plain"], rel=1e-6)
    assert told["nll"]["plain"] == pytest.approx(told["nll"]["mean"], abs=1e-4)


def test_the_information_is_half_the_variance_of_drawn_items_where_the_posterior_is_narrow():
    """I(y; θ) ≈ ½ tr F_x Σ (Kirsch & Gal 2022): the layers' parts and the predictive decomposition meet."""
    probe = tiny_probe(tiny_recommender(width=8, layers=2), examples=30)
    probe.training_targets, probe.batch = 10**5, 64
    fitted = fit_laplace(probe, prior_precision=1000.0)
    variance = fitted.variances(probe, "drawn", draws=30).sum(axis=1).mean()

    told = posterior_predictive(probe, fitted.posterior, 50)["epistemic"]["mean"]

    assert variance / 2 == pytest.approx(told * 50 / 49, rel=0.08)


def test_epistemic_uncertainty_falls_with_data_and_aleatoric_does_not():
    told = {}
    for count in (300, 4800):
        model, (x, y), (new, labels) = fitted_regression(count)
        posterior = fit_laplace(
            softmax_probe(model, x, y, training_targets=count), draws=8, prior_precision=1e-3
        ).posterior
        told[count] = posterior_predictive(softmax_probe(model, new, labels, training_targets=count), posterior, 40)

    assert told[300]["epistemic"]["mean"] / told[4800]["epistemic"]["mean"] == pytest.approx(16, rel=0.4)
    assert told[300]["aleatoric"]["mean"] == pytest.approx(told[4800]["aleatoric"]["mean"], rel=0.1)


def test_nothing_is_left_in_the_model():
    probe = small_probe()
    before = copy.deepcopy(probe.model.model.state_dict())
    posterior = fit_laplace(probe).posterior

    told = [posterior_predictive(probe, posterior, 3, method) for method in METHODS]

    after = probe.model.model.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert all(p.requires_grad and p.grad is None for p in probe.model.model.parameters())
    assert told == [posterior_predictive(probe, posterior, 3, method) for method in METHODS]


def test_small_micro_batches_give_the_same(monkeypatch):
    probe = small_probe()
    posterior = fit_laplace(probe).posterior
    together = posterior_predictive(probe, posterior, 3)

    monkeypatch.setattr("lwa_core.modeling.posterior.posterior_predictive.AT_ONCE", 200)  # two examples at a time

    apart = posterior_predictive(probe, posterior, 3)
    for part in ("total", "aleatoric", "epistemic"):
        assert together[part]["mean"] == pytest.approx(apart[part]["mean"], rel=1e-5)
    assert together["nll"]["mean"] == pytest.approx(apart["nll"]["mean"], rel=1e-5)


class Doubling(torch.autograd.Function):
    @staticmethod
    def forward(context, value):
        return value * 2

    @staticmethod
    def backward(context, gradient):
        return gradient * 2


class Odd(nn.Module):
    """A block around an operation that has a backward derivative only."""

    def __init__(self, block, operation):
        super().__init__()
        self.block, self.operation = block, operation

    def forward(self, hidden_states):
        return self.operation(self.block(hidden_states))


@pytest.mark.parametrize("operation", [Doubling.apply, lambda value: value.detach()], ids=["no jvp", "cut off"])
def test_a_model_without_a_forward_derivative_is_refused_and_can_be_sampled(operation):
    probe = small_probe()
    posterior = fit_laplace(probe).posterior
    probe.model.layers[1] = Odd(probe.model.layers[1], operation)

    with pytest.raises(ModelError, match="cannot be linearised"):
        posterior_predictive(probe, posterior, 2)

    assert posterior_predictive(probe, posterior, 2, "sampled")["epistemic"]["mean"] >= 0
