"""The Laplace posterior of layers against closed forms, loops over examples, and laplace-torch."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar
from scipy.stats import multivariate_normal
from softmax_model import Chain, fitted_regression, softmax_probe
from torch import nn
from wrapped import FAMILIES, made, one_by_one, wrapped_probe

from lwa_core.errors import LwaError, ModelError
from lwa_core.modeling.gradients.taps import tapped
from lwa_core.modeling.layers.layered import LayeredModel
from lwa_core.modeling.posterior.curvature import Curvature
from lwa_core.modeling.posterior.laplace import Posterior, best_prior_precision, fit_laplace
from lwa_core.modeling.posterior.posterior_predictive import posterior_predictive
from lwa_core.testing import tiny_probe, tiny_recommender

STRUCTURES = ("kfac", "diagonal")


def probe_of(targets=1000, **settings):
    probe = tiny_probe(tiny_recommender(**{"width": 8, **settings}))
    probe.training_targets = targets
    return probe


def blocks_of(model, outputs, structure):
    """The Fisher of a Gaussian with unit variance around `outputs`, a function of nothing: one pass an output."""
    layered = LayeredModel(model, "blocks")
    curvature = Curvature(layered, structure)
    for place in range(outputs().shape[1]):
        with tapped(layered, curvature.visit) as tap:
            found = outputs()
            tap.backward(found[:, place].sum())
            curvature.count = len(found)  # a mean over the examples, a sum over the outputs
    return curvature, curvature.close()


def jacobians(model, scalars):
    """∂ scalar_n / ∂ weights of each layer, one example at a time: a matrix (examples, weights) a layer."""
    rows = []
    for scalar in scalars():
        model.zero_grad()
        scalar.backward(retain_graph=True)
        rows.append([torch.cat([p.grad.flatten() for p in layer.parameters()]) for layer in model.blocks])
    model.zero_grad()
    return [torch.stack(column).double() for column in zip(*rows, strict=True)]


def variances_of(model, scalars, curvature, posterior):
    """By the blocks, for a scalar of each example."""
    found = torch.zeros(len(scalars()), posterior.depth, dtype=torch.double)

    def visit(layers, use, matrix):
        block = curvature.block(use)
        if block is not None:
            found[:, block.layer] += block.quadratic(use, matrix, posterior.precision(block))

    with tapped(LayeredModel(model, "blocks"), visit) as tap:
        tap.backward(scalars().sum())
    return found


# Linear regression: everything is known


def regression(examples=40, width=3, seed=0):
    torch.manual_seed(seed)
    x = torch.randn(examples, 1, width, dtype=torch.double)
    return x, x[:, 0] @ torch.randn(width, dtype=torch.double) + 0.5 + torch.randn(examples, dtype=torch.double)


def test_one_linear_layer_is_bayesian_linear_regression():
    x, _ = regression()
    model = Chain(3, 1)
    curvature, blocks = blocks_of(model, lambda: model(x)[:, 0], "kfac")
    posterior = Posterior(blocks, 1, targets=40, prior_precision=0.7)

    found = variances_of(model, lambda: model(x)[:, 0, 0], curvature, posterior)

    design = torch.cat([x[:, 0], torch.ones(40, 1, dtype=torch.double)], dim=1)  # with the intercept
    covariance = torch.linalg.inv(design.T @ design + 0.7 * torch.eye(4, dtype=torch.double))
    torch.testing.assert_close(found[:, 0], ((design @ covariance) * design).sum(dim=1), rtol=1e-10, atol=0)


@pytest.mark.parametrize("sizes", [(3, 1), (3, 4, 1), (2, 3, 3, 1)], ids=str)
def test_kfac_is_the_exact_block_of_every_layer_of_a_linear_chain(sizes):
    """With one output the gradient at a layer's output is the same for all examples: A ⊗ G is no estimate."""
    torch.manual_seed(1)
    model, x = Chain(*sizes), torch.randn(30, 1, sizes[0], dtype=torch.double)
    curvature, blocks = blocks_of(model, lambda: model(x)[:, 0], "kfac")
    posterior = Posterior(blocks, len(sizes) - 1, targets=500, prior_precision=2.0)

    found = variances_of(model, lambda: model(x)[:, 0, 0], curvature, posterior)

    for layer, j in enumerate(jacobians(model, lambda: model(x)[:, 0, 0])):
        precision = 500 * j.T @ j / len(j) + 2.0 * torch.eye(j.shape[1], dtype=torch.double)
        expected = (j @ torch.linalg.inv(precision) * j).sum(dim=1)
        torch.testing.assert_close(found[:, layer], expected, rtol=1e-9, atol=0)


def test_kfac_is_exact_for_one_linear_layer_with_several_outputs():
    torch.manual_seed(2)
    model, x = Chain(4, 3), torch.randn(25, 1, 4, dtype=torch.double)
    curvature, blocks = blocks_of(model, lambda: model(x)[:, 0], "kfac")
    # A and G were each added up once for every output: their product holds the sum over outputs once too often.
    posterior = Posterior(blocks, 1, targets=100 / 3, prior_precision=1.5)

    found = variances_of(model, lambda: model(x)[:, 0, 1], curvature, posterior)

    design = torch.cat([x[:, 0], torch.ones(25, 1, dtype=torch.double)], dim=1)
    precision = 100 * design.T @ design / 25 + 1.5 * torch.eye(5, dtype=torch.double)
    torch.testing.assert_close(found[:, 0], (design @ torch.linalg.inv(precision) * design).sum(dim=1))


@pytest.mark.parametrize("precision", [0.05, 1.0, 30.0])
def test_the_evidence_is_the_closed_form_of_linear_regression(precision):
    """At the weights that are best under this prior; the evidence is then exact."""
    x, y = regression()
    posterior, log_likelihood = map_regression(x, y, precision)

    found = posterior.log_evidence + log_likelihood

    marginal = np.eye(40) + (x[:, 0] @ x[:, 0].T).numpy() / precision
    assert multivariate_normal(np.zeros(40), marginal).logpdf(y) == pytest.approx(found, rel=1e-10)


def map_regression(x, y, precision):
    model = Chain(3, 1, bias=False)
    design = x[:, 0]
    with torch.no_grad():
        best = torch.linalg.solve(design.T @ design + precision * torch.eye(3, dtype=torch.double), design.T @ y)
        model.blocks[0].weight.copy_(best[None])
        rest = y - design @ best
    _, blocks = blocks_of(model, lambda: model(x)[:, 0], "kfac")
    log_likelihood = -0.5 * float(rest.square().sum()) - 0.5 * len(y) * np.log(2 * np.pi)
    return Posterior(blocks, 1, len(y), precision), log_likelihood


def test_the_best_prior_precision_is_where_the_closed_form_is_highest():
    """The weights that are best under a prior and the prior that is best for the weights, in turns (MacKay 1992)."""
    x, y = regression()
    gram = (x[:, 0] @ x[:, 0].T).numpy()

    def minus_evidence(log_precision):
        return -multivariate_normal(np.zeros(40), np.eye(40) + gram / np.exp(log_precision)).logpdf(y)

    expected = np.exp(minimize_scalar(minus_evidence, bounds=(-6, 6), method="bounded", options={"xatol": 1e-9}).x)

    precision = 1.0
    for _ in range(50):
        posterior, _ = map_regression(x, y, precision)
        precision = best_prior_precision(posterior.blocks, 1, 40)

    assert expected == pytest.approx(precision, rel=1e-5)


@settings(max_examples=40, deadline=None)
@given(
    eigenvalues=st.lists(st.floats(1e-6, 1e3), min_size=1, max_size=8),
    distance=st.floats(1e-3, 1e3),
    targets=st.integers(1, 10**6),
)
def test_no_prior_precision_has_a_higher_evidence_than_the_best(eigenvalues, distance, targets):
    blocks = [MadeUp(torch.tensor(eigenvalues, dtype=torch.double), distance)]

    best = best_prior_precision(blocks, 1, targets)

    evidence = Posterior(blocks, 1, targets, best).log_evidence
    for factor in (1e-3, 0.5, 0.99, 1.01, 2, 1e3):
        assert Posterior(blocks, 1, targets, best * factor).log_evidence <= evidence + 1e-9 * abs(evidence)


class MadeUp:
    def __init__(self, values, squared_distance):
        self.values, self.squared_distance, self.layer = values, squared_distance, 0


def test_the_evidence_is_that_of_the_dense_matrix():
    probe = probe_of()
    fitted = fit_laplace(probe, prior_precision=3.0)
    dense = 0.0
    for block in fitted.posterior.blocks:
        eigenvalues = 1000 * block.values.flatten() + 3.0
        dense += 0.5 * len(eigenvalues) * np.log(3.0) - 0.5 * float(eigenvalues.log().sum())
    norm = sum(
        float((p.detach().double() - (1.0 if "norm.weight" in name else 0.0)).square().sum())
        for name, p in probe.model.layers.named_parameters()
    )

    assert dense - 0.5 * 3.0 * norm == pytest.approx(fitted.posterior.log_evidence, rel=1e-9)


# Softmax: the generalised Gauss-Newton matrix


def test_the_fisher_of_logistic_regression_is_x_s_x():
    """Both labels, each weighted with its probability, in place of drawn ones."""
    torch.manual_seed(3)
    x = torch.randn(50, 1, 4, dtype=torch.double)
    model = Chain(4, 1, bias=False)
    layered = LayeredModel(model, "blocks")
    curvature = Curvature(layered, "diagonal")
    for sign in (1, -1):
        with tapped(layered, curvature.visit) as tap:
            log_odds = nn.functional.logsigmoid(sign * model(x)[:, 0, 0])
            tap.backward((log_odds.exp().detach().sqrt() * log_odds).sum())
    curvature.count = 50
    (block,) = curvature.close()

    with torch.no_grad():
        p = model(x)[:, 0, 0].sigmoid()
    design = x[:, 0]
    expected = design.T @ (design * (p * (1 - p))[:, None]) / 50
    torch.testing.assert_close(block.values[0], expected.diagonal())


def test_kfac_of_logistic_regression_is_x_s_x_where_s_is_the_same_for_all():
    """Two items with equal odds everywhere: S = ¼ and the gradients at the logits are ±(½, −½)."""
    torch.manual_seed(4)
    x = torch.randn(60, 3, dtype=torch.double)
    model = Chain(3, 2, bias=False)
    nn.init.zeros_(model.blocks[0].weight)
    probe = softmax_probe(model, x, [0] * 60, training_targets=60)

    fitted = fit_laplace(probe, prior_precision=0.5)
    found = fitted.variances(probe, "margin")[:, 0]

    # The difference of the two rows, whose prior precision is half a row's, is the weight of logistic regression.
    precision = x.T @ x / 4 + 0.25 * torch.eye(3, dtype=torch.double)
    np.testing.assert_allclose(found, (x @ torch.linalg.inv(precision) * x).sum(dim=1), rtol=1e-9)


def test_drawn_labels_give_the_gauss_newton_matrix_in_the_mean():
    model, (x, y), _ = fitted_regression(80)
    probe = softmax_probe(model, x, y, training_targets=80)

    drawn = fit_laplace(probe, structure="diagonal", draws=400, prior_precision=1.0).posterior.blocks[0].values

    with torch.no_grad():
        p = model(x[:, None])[:, 0].softmax(dim=1)
    expected = ((p * (1 - p)).T @ x.square()) / 80  # (items, width): the diagonal of (diag p − p pᵀ) ⊗ x xᵀ
    torch.testing.assert_close(drawn, expected, rtol=0.05, atol=1e-4)


def test_epistemic_variance_falls_as_one_over_the_number_of_targets():
    """New data each time; the labels' own entropy stays."""
    told = {}
    for count in (300, 1200, 4800):
        model, (x, y), (new, labels) = fitted_regression(count)
        curved = softmax_probe(model, x, y, training_targets=count)
        looked = softmax_probe(model, new, labels, training_targets=count)
        told[count] = fit_laplace(curved, draws=8, prior_precision=1e-3).variances(looked, "drawn", draws=8).mean()

    assert told[300] / told[1200] == pytest.approx(4, rel=0.35)
    assert told[1200] / told[4800] == pytest.approx(4, rel=0.35)


# Transformers


@pytest.mark.parametrize("block", ["pre-norm", "gated"])
def test_diagonal_variance_is_that_of_a_loop(block):
    probe = probe_of(block=block)
    found = fit_laplace(probe, structure="diagonal", labels="observed", prior_precision=2.0).variances(probe)

    for layer, j in enumerate(log_probability_jacobians(probe)):
        expected = (j.square() / (1000 * j.square().mean(dim=0) + 2.0)).sum(dim=1)
        np.testing.assert_allclose(found[:, layer], expected, rtol=2e-4)


def log_probability_jacobians(probe):
    """∂ log p(target) of each layer's weights, one example at a time."""

    def scalars():
        for n in range(probe.examples):
            batch = probe.subject.example_batch([probe.histories[n]], probe.targets[n : n + 1])
            yield -probe.subject.loss(probe.model.model, batch).mean.sum()

    return jacobians(probe.model.model, scalars)


def test_observed_labels_make_the_mean_variance_the_effective_parameters_over_n():
    """tr F̄ (N F̄ + λ)⁻¹ = γ / N."""
    probe = probe_of()
    fitted = fit_laplace(probe, structure="diagonal", labels="observed", prior_precision=0.3)

    found = fitted.variances(probe).mean(axis=0)

    np.testing.assert_allclose(found, np.array(fitted.posterior.effective_parameters) / 1000, rtol=1e-5)


def test_without_correlations_the_variance_is_overstated_and_by_the_diagonal_most():
    probe = tiny_probe(tiny_recommender(width=4, heads=1), examples=120, items=12)
    probe.training_targets = 3000
    exact = []
    for j in log_probability_jacobians(probe):
        precision = 3000 * j.T @ j / len(j) + 1.0 * torch.eye(j.shape[1], dtype=torch.double)
        exact.append(float((j @ torch.linalg.inv(precision) * j).sum(dim=1).mean()))

    kfac, diagonal = (
        fit_laplace(probe, structure=structure, labels="observed", prior_precision=1.0).variances(probe).mean(axis=0)
        for structure in STRUCTURES
    )

    assert (kfac > exact).all()
    assert (kfac < 4 * np.array(exact)).all()
    assert (diagonal > kfac).all()


@pytest.mark.parametrize("structure", STRUCTURES)
@pytest.mark.parametrize("quantity", ["target", "margin"])
def test_a_row_is_the_same_in_any_batch(structure, quantity):
    probe = probe_of()
    fitted = fit_laplace(probe, structure=structure)

    together = fitted.variances(probe, quantity)

    for n in range(probe.examples):
        alone = fitted.variances(probe.part([n]), quantity)
        np.testing.assert_allclose(together[n], alone[0], rtol=1e-4)


@pytest.mark.parametrize("structure", STRUCTURES)
def test_draws_have_the_posterior_as_their_covariance(structure):
    """Seen through random directions of every layer, and through the quadratic form of the blocks."""
    probe = probe_of(layers=1)
    fitted = fit_laplace(probe, structure=structure, prior_precision=5.0)
    jacobian = log_probability_jacobians(probe)[0]
    expected = fitted.variances(probe)[:, 0]

    generator = torch.Generator().manual_seed(0)
    draws = [fitted.posterior.draw(generator) for _ in range(2000)]
    order = [id(p) for p in probe.model.layers[0].parameters()]
    moved = torch.stack([jacobian @ torch.cat([draw[key].flatten() for key in order]).double() for draw in draws])

    # The variance of 2,000 normal draws has a relative standard error of √(2 / 2000).
    assert np.abs(moved.var(dim=0).numpy() / expected - 1).max() < 5 * np.sqrt(2 / 2000)
    assert float(moved.mean(dim=0).abs().max()) < 5 * float(np.sqrt(expected.max() / 2000))


def test_a_transposed_map_has_the_same_posterior_as_its_linear_twin():
    from transformers.pytorch_utils import Conv1D

    torch.manual_seed(5)
    x = torch.randn(20, 3, 4, dtype=torch.double)
    plain, turned = Chain(4, 2), Chain(4, 2)
    turned.blocks[0] = Conv1D(2, 4).double()
    with torch.no_grad():
        turned.blocks[0].weight.copy_(plain.blocks[0].weight.T)
        turned.blocks[0].bias.copy_(plain.blocks[0].bias)
    found, draws = [], []
    for model in (plain, turned):
        curvature, blocks = blocks_of(model, lambda model=model: model(x).sum(dim=1), "kfac")
        posterior = Posterior(blocks, 1, 50, 1.0)
        found.append(variances_of(model, lambda model=model: model(x).sum(dim=1)[:, 0], curvature, posterior))
        draw = posterior.draw(torch.Generator().manual_seed(0))
        draws.append([draw[id(model.blocks[0].weight)], draw[id(model.blocks[0].bias)]])

    torch.testing.assert_close(*found)
    torch.testing.assert_close(draws[0], [draws[1][0].T, draws[1][1]])


class Scaled(nn.Module):
    """A block whose weight no hook knows."""

    def __init__(self):
        super().__init__()
        self.gain = nn.Parameter(torch.ones(3, dtype=torch.double))

    def forward(self, hidden_states):
        return hidden_states * self.gain


@pytest.mark.parametrize("structure", STRUCTURES)
def test_weights_of_unknown_modules_are_taken_one_example_at_a_time(structure):
    torch.manual_seed(6)
    x = torch.randn(12, 3, dtype=torch.double)
    model = Chain(3, 3)
    model.blocks[0] = Scaled()
    probe = softmax_probe(model, x, [0, 1, 2] * 4, training_targets=100)

    found = fit_laplace(probe, structure=structure, labels="observed", prior_precision=1.0).variances(probe)[:, 0]

    p = x.softmax(dim=1)
    j = (nn.functional.one_hot(torch.tensor([0, 1, 2] * 4), 3) - p) * x
    np.testing.assert_allclose(found, (j.square() / (100 * j.square().mean(dim=0) + 1)).sum(dim=1), rtol=1e-9)


@pytest.mark.parametrize("family", FAMILIES)
def test_other_families(family):
    """The diagonal against a loop; K-FAC the same on either side of the padding; both parts of a prediction there."""
    name, settings = FAMILIES[family]
    left, right = (wrapped_probe(made(name, **settings), width=16, padding=side) for side in ("left", "right"))
    left.training_targets = right.training_targets = 500

    found = fit_laplace(right, structure="diagonal", labels="observed", prior_precision=1.0).variances(right)

    rows = one_by_one(right)
    for layer in range(3):
        mine = torch.stack([torch.cat([g.flatten() for g in row[layer].values()]) for row in rows])
        expected = (mine.square() / (500 * mine.square().mean(dim=0) + 1.0)).sum(dim=1)
        np.testing.assert_allclose(found[:, layer], expected, rtol=1e-5)
    tables = [fit_laplace(probe, prior_precision=1.0).variances(probe) for probe in (left, right)]
    np.testing.assert_allclose(*tables, rtol=1e-5)
    told = posterior_predictive(right, fit_laplace(right, prior_precision=100.0).posterior, 3)
    assert min(told["aleatoric"]["mean"], told["epistemic"]["mean"]) > 0


# What cannot be


def test_the_number_of_training_targets_must_be_known():
    with pytest.raises(LwaError, match="number of training targets"):
        fit_laplace(probe_of(targets=0))


def test_layers_that_share_weights_are_refused():
    probe = probe_of(layers=2)
    probe.model.layers[1].up_proj = probe.model.layers[0].up_proj

    with pytest.raises(ModelError, match="layers 0, 1 share weights"):
        fit_laplace(probe)


def test_no_prior_precision_is_best_where_no_weight_moves_anything():
    blocks = [MadeUp(torch.zeros(3, dtype=torch.double), 1.0)]

    with pytest.raises(LwaError, match="no highest point"):
        best_prior_precision(blocks, 1, 10)


# Another implementation


class Curved(Chain):
    """With a nonlinearity between the two maps."""

    def forward(self, x):
        return self.blocks[1](torch.tanh(self.blocks[0](x)))


@pytest.mark.parametrize(("structure", "theirs"), [("kfac", "kron"), ("diagonal", "diag")])
def test_equals_laplace_torch(structure, theirs):
    """All weights of a small network, the Gauss-Newton matrix without drawing labels in both."""
    laplace = pytest.importorskip("laplace", reason="laplace-torch is not installed")
    torch.manual_seed(7)
    model, x, y = Curved(3, 4, 5, bias=False), torch.randn(30, 3, dtype=torch.double), torch.randint(5, (30,))
    reference = laplace.Laplace(Flat(model), "classification", "all", theirs, prior_precision=0.8)
    reference.fit(torch.utils.data.DataLoader(torch.utils.data.TensorDataset(x, y), batch_size=30))
    _, covariance = reference._glm_predictive_distribution(x)  # (examples, items, items)

    layered = LayeredModel(model, "blocks")
    curvature = Curvature(layered, structure)
    for item in range(5):
        with tapped(layered, curvature.visit) as tap:
            log_odds = model(x[:, None])[:, 0].log_softmax(dim=1)[:, item]
            tap.backward((0.5 * log_odds).exp().detach() @ log_odds)
            curvature.count = 30
    # K-FAC's A was added up once an item.
    posterior = Posterior(curvature.close(), 2, 30 / 5 if structure == "kfac" else 30, 0.8)
    apart = torch.tensor([1.0, 0, 0, -1, 0], dtype=torch.double)
    found = variances_of(model, lambda: model(x[:, None])[:, 0] @ apart, curvature, posterior)

    margin = covariance[:, 0, 0] + covariance[:, 3, 3] - 2 * covariance[:, 0, 3]
    torch.testing.assert_close(found.sum(dim=1), margin.double(), rtol=1e-5, atol=0)
    log_likelihood = -nn.functional.cross_entropy(model(x[:, None])[:, 0], y, reduction="sum").item()
    evidence = float(reference.log_marginal_likelihood())
    assert evidence == pytest.approx(posterior.log_evidence + log_likelihood, rel=1e-5)


class Flat(nn.Module):
    """Features (examples, in) -> logits (examples, items), with the weights of a chain."""

    def __init__(self, chain):
        super().__init__()
        self.chain = chain

    def forward(self, x):
        return self.chain(x[:, None])[:, 0]
