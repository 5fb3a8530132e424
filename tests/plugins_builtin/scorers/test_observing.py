"""Scorers that look at one pass: each against its formula, computed naively in double precision, and known truths."""

import itertools
import math

import numpy as np
import pytest
import torch
from scipy.stats import special_ortho_group
from softmax_model import Chain, FeatureRecommender, softmax_probe
from torch import nn
from wrapped import alone, one_by_one

from lwa_core.modeling.layers.attention import Attention
from lwa_core.modeling.layers.layered import LayeredModel
from lwa_core.modeling.probing.observation import Observation, observe
from lwa_core.modeling.probing.probe import Probe
from lwa_core.testing import tiny_probe, tiny_recommender
from lwa_core.testing.conformance import score
from lwa_plugins.scorers._probing import PENALTIES, Ridge, halves
from lwa_plugins.scorers.angular import Angular
from lwa_plugins.scorers.attention_entropy import AttentionEntropy
from lwa_plugins.scorers.cka import Cka, kernels, unbiased_hsic
from lwa_plugins.scorers.fisher import Fisher
from lwa_plugins.scorers.fisher_saliency import FisherSaliency
from lwa_plugins.scorers.gate_fisher import GateFisher
from lwa_plugins.scorers.gate_taylor import GateTaylor
from lwa_plugins.scorers.info_nce import InfoNce
from lwa_plugins.scorers.kfac_trace import KfacTrace
from lwa_plugins.scorers.linear_probe import LinearProbe
from lwa_plugins.scorers.norm_ratio import NormRatio
from lwa_plugins.scorers.true_fisher import TrueFisher
from lwa_plugins.scorers.weight_taylor import WeightTaylor


class Notes:
    """What `finish` needs of a probe."""

    def __init__(self, seed=0):
        self.seed = seed
        self.generator = np.random.default_rng(seed)
        self.facts = {}

    def tell(self, name, value):
        self.facts[name] = value


@pytest.fixture
def probe():
    """A tiny model in double precision."""
    made = tiny_probe(examples=12)
    made.model.model.double()
    return made


def states_of(probe):
    """Of every example alone: its boundary states (depth + 1, time, width)."""
    rows = []
    for n in range(probe.examples):
        with probe.model.observe() as states, torch.no_grad():
            probe.logits(alone(probe, n))
        rows.append(np.stack([state[0].numpy() for state in states]))
    return rows


def test_angular_is_the_angle_of_the_last_states(probe):
    table, distances = [], np.zeros((4, 4))
    for states in states_of(probe):
        last = states[:, -1]
        angles = {
            (i, j): math.acos(last[i] @ last[j] / math.sqrt(last[i] @ last[i] * (last[j] @ last[j]))) / math.pi
            for i, j in itertools.combinations(range(5), 2)
        }
        table.append([angles[i, i + 1] for i in range(4)])
        for (i, j), angle in angles.items():
            distances[j - i - 1, i] += angle / probe.examples

    np.testing.assert_allclose(score(Angular(), probe), table, rtol=1e-6)

    for length, told in enumerate(probe.facts["block_distances"], start=1):
        np.testing.assert_allclose(told, distances[length - 1, : 4 - length + 1], rtol=1e-6)


def test_norm_ratio_is_what_is_added_over_what_comes_out(probe):
    table = [
        [
            np.mean([np.linalg.norm(b - a) / np.linalg.norm(b) for a, b in zip(before, after, strict=True)])
            for before, after in itertools.pairwise(states)
        ]
        for states in states_of(probe)
    ]

    np.testing.assert_allclose(score(NormRatio(), probe), table, rtol=1e-6)


# Gradients


def weighted(probe, term):
    """The sum of a term of weight and gradient over a layer's weights, one example at a time."""
    weights = [{name: p.detach().numpy() for name, p in layer.named_parameters()} for layer in probe.model.layers]
    return [
        [
            sum(term(w[name], g.numpy()).sum() for name, g in layer.items())
            for w, layer in zip(weights, row, strict=True)
        ]
        for row in one_by_one(probe)
    ]


@pytest.mark.parametrize(
    ("scorer", "term"),
    [
        (Fisher(), lambda w, g: g**2),
        (WeightTaylor(), lambda w, g: abs(w * g)),
        (WeightTaylor(form="signed"), lambda w, g: -w * g),
        (FisherSaliency(), lambda w, g: w**2 * g**2 / 2),
    ],
    ids=["fisher", "weight-taylor", "weight-taylor, signed", "fisher-saliency"],
)
def test_sums_over_the_weights_of_a_layer(probe, scorer, term):
    np.testing.assert_allclose(score(scorer, probe), weighted(probe, term), rtol=1e-6, atol=1e-9)


def test_fisher_for_each_parameter_is_the_trace_over_their_number(probe):
    sizes = [sum(p.numel() for p in layer.parameters()) for layer in probe.model.layers]

    np.testing.assert_allclose(score(Fisher(per="parameter"), probe), score(Fisher(), probe) / torch.tensor(sizes))


def test_gate_scores_are_of_the_derivative_by_a_gate_on_the_branch(probe):
    rows = []
    for n in range(probe.examples):
        gates = torch.ones(4, dtype=torch.double, requires_grad=True)
        batch = alone(probe, n)
        with probe.model.gated(gates):
            loss = nn.functional.cross_entropy(probe.logits(batch), batch["targets"])
        rows.append(torch.autograd.grad(loss, gates)[0].numpy())
    slopes = np.stack(rows)

    np.testing.assert_allclose(score(GateTaylor(), probe), -slopes, rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(score(GateTaylor(form="absolute"), probe), abs(slopes), rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(score(GateFisher(), probe), slopes**2, rtol=1e-6, atol=1e-12)


# The empirical Fisher and its common mistake


class Adds(nn.Module):
    """Adds w times one coordinate of the state to its last coordinate; w = 0."""

    def __init__(self, coordinate):
        super().__init__()
        self.coordinate, self.map = coordinate, nn.Linear(1, 1, bias=False)
        nn.init.zeros_(self.map.weight)

    def forward(self, states):
        added = self.map(states[..., self.coordinate, None])
        return states + nn.functional.pad(added, (2, 0))


class Adder(nn.Module):
    def __init__(self):
        super().__init__()
        self.blocks = nn.ModuleList([Adds(0), Adds(1)])
        self.double().eval()

    def forward(self, x):
        for block in self.blocks:
            x = block(x)
        return x


class Last(FeatureRecommender):
    """The logit of item 0 is the state's last coordinate, that of item 1 zero."""

    def head(self, model, hidden):
        return torch.stack([hidden[:, 2], torch.zeros_like(hidden[:, 2])], dim=1)


@pytest.fixture
def cancelling():
    """Layer 0 multiplies ±1, layer 1 always 0.3; at w = 0 the loss's slope in the logit is −1/2 for every example."""
    features = torch.zeros(16, 3, dtype=torch.double)
    features[:, 0], features[:, 1] = torch.tensor([1.0, -1.0]).repeat(8), 0.3
    histories = [np.array([row], dtype=np.int32) for row in range(16)]
    return Probe(LayeredModel(Adder()), Last(features), histories, np.zeros(16, dtype=np.int64), batch=4)


def test_squaring_batch_means_ranks_layers_wrongly_where_gradients_cancel(cancelling):
    per_example = score(Fisher(), cancelling).mean(dim=0)
    batch_squared = score(Fisher(estimator="batch-squared"), cancelling)

    assert batch_squared.shape == (4, 2)  # a row a micro-batch
    np.testing.assert_allclose(per_example, [1 / 4, 0.3**2 / 4], rtol=1e-9)
    np.testing.assert_allclose(batch_squared.mean(dim=0), [0, 0.3**2 / 4], atol=1e-12)

    # The truth: the same small noise on either weight moves what the model predicts by ½ F δ², more for layer 0.
    moved = []
    for block in cancelling.model.layers:
        with torch.no_grad():
            before = torch.cat([cancelling.logits(b) for b in cancelling.batches()]).log_softmax(dim=1)
            block.map.weight.fill_(1e-3)
            after = torch.cat([cancelling.logits(b) for b in cancelling.batches()]).log_softmax(dim=1)
            block.map.weight.zero_()
        moved.append(float((before.exp() * (before - after)).sum(dim=1).mean()))
    np.testing.assert_allclose(moved, 0.5 * per_example * 1e-6, rtol=1e-3)


def test_squared_batch_means_depend_on_the_batch_size(probe):
    tables = {}
    for batch in (1, 12):
        probe.batch = batch
        tables[batch] = score(Fisher(estimator="batch-squared"), probe).mean(dim=0)

    np.testing.assert_allclose(tables[1], score(Fisher(), probe).mean(dim=0))
    assert (tables[12] < 0.8 * tables[1]).all()


def test_true_fisher_is_the_empirical_one_where_the_labels_come_from_the_model():
    probe = tiny_probe(tiny_recommender(layers=2, width=8), examples=400, items=5)
    probe.batch = 100
    chances = torch.empty(400, 5)
    with torch.no_grad():
        chances[probe.order] = torch.cat([probe.logits(b) for b in probe.batches()]).softmax(dim=1)
    labels = torch.multinomial(chances, 1, generator=torch.Generator().manual_seed(3))[:, 0]
    probe = Probe(probe.model, probe.subject, probe.histories, labels.numpy(), batch=100)

    sampled, empirical = score(TrueFisher(draws=2), probe), score(Fisher(), probe)

    difference = (sampled - empirical).double()
    assert (difference.mean(dim=0).abs() < 4 * difference.std(dim=0) / 20).all()
    np.testing.assert_allclose(probe.facts["sampled"], sampled.mean(dim=0), rtol=1e-6)
    np.testing.assert_allclose(probe.facts["empirical"], empirical.mean(dim=0), rtol=1e-6)
    np.testing.assert_allclose(probe.facts["misfit"], empirical.mean(dim=0) / sampled.mean(dim=0), rtol=1e-6)
    np.testing.assert_allclose(probe.facts["standard_error"], sampled.std(dim=0) / 20, rtol=1e-6)


def test_the_gap_between_both_is_the_misfit():
    """Labels that the model thinks least likely have gradients larger than its own."""
    probe = tiny_probe(examples=40)
    with torch.no_grad():
        probe.model.model.item_embedding.weight.mul_(4)  # surer predictions
        worst = torch.empty(40, dtype=torch.long)
        worst[probe.order] = torch.cat([probe.logits(b) for b in probe.batches()]).argmin(dim=1)
    probe = Probe(probe.model, probe.subject, probe.histories, worst.numpy(), batch=10)

    score(TrueFisher(), probe)

    assert all(ratio > 1.2 for ratio in probe.facts["misfit"])


# Kronecker factors


def test_kfac_is_exact_for_one_map_and_one_position_where_inputs_do_not_tell_of_gradients():
    """A softmax regression with zero weights: every gradient at the logits is as long as any other."""
    torch.manual_seed(0)
    x, model = torch.randn(30, 4, dtype=torch.double), Chain(4, 5, bias=False)
    nn.init.zeros_(model.blocks[0].weight)
    probe = softmax_probe(model, x, np.arange(30) % 5, training_targets=30)
    closed = float(x.square().sum(dim=1).mean()) * ((1 - 1 / 5) ** 2 + 4 / 25)

    assert float(score(KfacTrace(), probe).mean()) == pytest.approx(closed, rel=1e-9)
    assert float(score(Fisher(), probe).mean()) == pytest.approx(closed, rel=1e-9)


def test_kfac_counts_a_bias_as_an_input_that_is_one():
    torch.manual_seed(0)
    x, model = torch.randn(30, 4, dtype=torch.double), Chain(4, 5)
    probe = softmax_probe(model, x, np.arange(30) % 5, training_targets=30)
    with torch.no_grad():
        g = (model(x[:, None])[:, 0].softmax(dim=1) - torch.eye(5)[np.arange(30) % 5]).square().sum(dim=1)
    closed = float((x.square().sum(dim=1) + 1).mean() * g.mean())

    assert float(score(KfacTrace(), probe).mean()) == pytest.approx(closed, rel=1e-9)


def test_the_error_of_kfac_is_that_of_the_bootstrap():
    probe = tiny_probe(examples=150)
    table = score(KfacTrace(), probe).numpy()
    factors = torch.cat([seen.factors for seen in observe(probe, ["factors"])]).numpy()
    rng = np.random.default_rng(0)
    estimates = []
    for _ in range(600):
        a, g = factors[rng.integers(0, 150, 150)].mean(axis=0).transpose(2, 0, 1)
        estimates.append((a * g).sum(axis=1))

    a, g = factors.mean(axis=0).transpose(2, 0, 1)
    np.testing.assert_allclose(table.mean(axis=0), (a * g).sum(axis=1), rtol=1e-6)
    np.testing.assert_allclose(table.std(axis=0, ddof=1) / math.sqrt(150), np.std(estimates, axis=0), rtol=0.15)


# CKA


def naive_hsic(x, y):
    """The U-statistic itself: a mean over quadruples of distinct examples (Song et al. 2012, section 2.2)."""
    k, m = x @ x.T, y @ y.T
    terms = [k[i, j] * (m[i, j] + m[q, r] - 2 * m[i, q]) for i, j, q, r in itertools.permutations(range(len(x)), 4)]
    return math.fsum(terms) / len(terms)


def test_hsic_is_the_u_statistic():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(2, 7, 3))
    y = y + x

    k = kernels(torch.from_numpy(np.stack([x, y], axis=1)))
    assert float(unbiased_hsic(k[0], k[1])) == pytest.approx(naive_hsic(x, y), rel=1e-9)


def test_cka_of_a_model_is_that_of_its_last_states(probe):
    last = np.stack([states[:, -1] for states in states_of(probe)])[:8]
    own = [naive_hsic(last[:, i], last[:, i]) for i in range(5)]
    expected = [1 - naive_hsic(last[:, i], last[:, i + 1]) / math.sqrt(own[i] * own[i + 1]) for i in range(4)]

    (row,) = score(Cka(), probe.part(range(8)))

    np.testing.assert_allclose(row, expected, rtol=1e-6)


def test_cka_of_several_groups_is_the_ratio_of_their_mean_hsics():
    rng = np.random.default_rng(0)
    x, noise = rng.normal(size=(2, 24, 3))
    y = x + noise
    groups = torch.randperm(24, generator=torch.Generator().manual_seed(0)).numpy().reshape(3, 8)
    cross, first, second = (
        np.mean([naive_hsic(a[rows], b[rows]) for rows in groups]) for a, b in ((x, y), (x, x), (y, y))
    )

    table = Cka(group=8).finish(torch.from_numpy(np.stack([x, y], axis=1)), Notes(0))

    assert table.shape == (3, 1)
    assert float(table.mean()) == pytest.approx(1 - cross / math.sqrt(first * second), rel=1e-6)


def test_cka_sees_no_rotation_and_no_scale():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(200, 6)) * np.arange(1, 7)
    turned = 3 * x @ special_ortho_group.rvs(6, random_state=1)
    rows = torch.from_numpy(np.stack([x, x, turned, turned + 10], axis=1))

    table = Cka(group=50).finish(rows, Notes())

    assert table.shape == (4, 3)
    np.testing.assert_allclose(table, 0, atol=1e-9)


def test_cka_of_states_that_have_nothing_in_common_is_nothing_though_there_are_few_examples():
    """The plain estimator would see a likeness in 16 examples of 16 dimensions."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(2, 1600, 16))
    centred = [z[:16] - z[:16].mean(axis=0) for z in (x, y)]
    k, m = (z @ z.T for z in centred)
    assert (k * m).sum() / math.sqrt((k * k).sum() * (m * m).sum()) > 0.4

    table = Cka(group=16).finish(torch.from_numpy(np.stack([x, y], axis=1)), Notes()).numpy()

    assert abs(table.mean() - 1) < 4 * table.std() / math.sqrt(len(table))


# Probes


def naive_ridge(x, y, fit):
    """Ridge on standardised columns; the penalty by leaving each example out and fitting again."""
    x = (x - x[fit].mean(axis=0)) / x[fit].std(axis=0)

    def made(rows, penalty, at):
        a, b = x[rows] - x[rows].mean(axis=0), y[rows] - y[rows].mean(axis=0)
        weights = np.linalg.solve(a.T @ a + penalty * np.eye(a.shape[1]), a.T @ b)
        return y[rows].mean(axis=0) + (x[at] - x[rows].mean(axis=0)) @ weights

    def error(penalty):
        return sum(((made(np.setdiff1d(fit, [i]), penalty, [i]) - y[i]) ** 2).sum() for i in fit)

    return made(fit, min(PENALTIES, key=error), np.arange(len(x)))


def test_the_ridge_map_is_chosen_by_leaving_one_out():
    rng = np.random.default_rng(0)
    x, fit = rng.normal(size=(40, 4)) * [1, 10, 0.1, 1], np.arange(20)
    y = x @ rng.normal(size=(4, 3)) + 2 * rng.normal(size=(40, 3))

    made = Ridge.on(torch.from_numpy(x[fit][:, None])).fit(torch.from_numpy(y[fit]))

    guessed = made.predict(torch.from_numpy(x[:, None]))[:, 0] + made.center
    np.testing.assert_allclose(guessed, naive_ridge(x, y, fit), rtol=1e-6)


def test_linear_probe_rows_are_differences_of_squared_errors():
    rng = np.random.default_rng(0)
    x0, x1, y = rng.normal(size=(3, 30, 3))
    y = y + x1
    expected = np.empty(30)
    for fit, measure in ((f.numpy(), m.numpy()) for f, m in halves(30, seed=0)):
        assert sorted([*fit, *measure]) == list(range(30))
        scale = ((y[measure] - y[fit].mean(axis=0)) ** 2).sum(axis=1).mean()
        before, after = (((naive_ridge(x, y, fit) - y)[measure] ** 2).sum(axis=1) / scale for x in (x0, x1))
        expected[measure] = before - after

    table = LinearProbe().finish(torch.from_numpy(np.stack([x0, x1, y], axis=1)), Notes(0))

    np.testing.assert_allclose(table[:, 0], expected, rtol=1e-6, atol=1e-9)


def test_linear_probe_finds_a_planted_map_and_nothing_in_shuffled_targets():
    rng = np.random.default_rng(0)
    noise, x = rng.normal(size=(2, 400, 6))
    y = x @ rng.normal(size=(6, 6)) + 0.05 * rng.normal(size=(400, 6))
    notes = Notes()

    table = LinearProbe().finish(torch.from_numpy(np.stack([noise, x, x, y], axis=1)), notes)

    told = notes.facts["explained_variance"]
    assert told[0] == pytest.approx(0, abs=0.05)
    assert told[1] == pytest.approx(1, abs=0.01)
    assert np.abs(notes.facts["explained_variance_of_shuffled_targets"]).max() < 0.06
    np.testing.assert_allclose(table.mean(dim=0), [told[1] - told[0], 0], atol=1e-9)


@pytest.mark.parametrize("rho", [0.3, 0.6, 0.9])
def test_info_nce_bounds_the_information_of_gaussians_from_below(rho):
    """I = −½ Σ log(1 − ρ²), over two independent pairs of coordinates; a state before that tells nothing."""
    rng = np.random.default_rng(0)
    nothing, x, noise = rng.normal(size=(3, 2000, 2))
    y = rho * x + math.sqrt(1 - rho**2) * noise
    exact = -math.log(1 - rho**2)
    notes = Notes()

    table = InfoNce().finish(torch.from_numpy(np.stack([nothing, x, y], axis=1)), notes)[:, 0]

    low, high = notes.facts["bound"]
    error = float(table.std()) / math.sqrt(2000)
    assert low == pytest.approx(0, abs=3 * error)
    assert 0.8 * exact < high < exact + 3 * error
    assert float(table.mean()) == pytest.approx(high - low)


def test_info_nce_cannot_pass_the_logarithm_of_the_number_of_negatives():
    rng = np.random.default_rng(0)
    noise, x = rng.normal(size=(2, 100, 8))
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    notes = Notes()

    table = InfoNce().finish(torch.from_numpy(np.stack([noise, x, x, x], axis=1)), notes)

    cap = math.log(50)
    assert notes.facts["cap"] == pytest.approx(cap)
    assert abs(notes.facts["bound"][0]) < 0.2
    assert 0.9 * cap < notes.facts["bound"][1] <= cap
    np.testing.assert_allclose(table.mean(dim=0), np.diff(notes.facts["bound"]), atol=1e-9)


# Attention


def looked(probabilities, mask=None):
    """What `attention-entropy` makes of the attention of one head (queries, keys)."""
    table = torch.tensor(probabilities, dtype=torch.double)[None, None]
    mask = torch.ones(1, table.shape[2], dtype=torch.bool) if mask is None else torch.tensor([mask])
    visible = torch.arange(1, table.shape[2] + 1)[None, None]
    seen = Observation(
        mask=mask,
        targets=torch.zeros(1, dtype=torch.long),
        losses=torch.zeros(1, dtype=torch.double),
        attention=(Attention(table, visible),),
    )
    return float(AttentionEntropy().observe(seen)[0, 0])


def test_attention_entropy_of_attention_made_by_hand():
    third = 1 / 3
    assert looked([[1, 0, 0], [0.5, 0.5, 0], [third, third, third]]) == pytest.approx(0)
    assert looked([[1, 0, 0], [0, 1, 0], [1, 0, 0]]) == pytest.approx(1)
    half = 1 - math.log(2) / math.log(3)  # at two of three
    assert looked([[1, 0, 0], [0.5, 0.5, 0], [0.5, 0.5, 0]]) == pytest.approx(half / 2)


def test_attention_entropy_leaves_padding_out():
    assert looked([[1, 0, 0], [0, 1, 0], [0.2, 0.3, 0.5]], mask=[True, True, False]) == pytest.approx(1)
    assert math.isnan(looked([[1, 0], [0.5, 0.5]], mask=[True, False]))  # no query sees two keys


def test_attention_entropy_of_a_model(probe):
    """By the projections of each block, one head and one query at a time."""
    rows = []
    for states in states_of(probe):
        if states.shape[1] == 1:  # one position sees only itself: no row
            continue
        row = []
        for block, before in zip(probe.model.layers, states[:-1], strict=True):
            normed = block.attention_norm(torch.from_numpy(before))
            q, k = (
                project(normed).detach().numpy().reshape(len(before), block.attention.heads, -1)
                for project in (block.attention.q_proj, block.attention.k_proj)
            )
            shares = []
            for head, query in itertools.product(range(q.shape[1]), range(1, len(before))):
                logits = k[: query + 1, head] @ q[query, head] / math.sqrt(q.shape[2])
                p = np.exp(logits - logits.max())
                p /= p.sum()
                shares.append(-(p * np.log(p)).sum() / math.log(query + 1))
            row.append(1 - np.mean(shares))
        rows.append(row)

    np.testing.assert_allclose(score(AttentionEntropy(), probe), rows, rtol=1e-6, atol=1e-9)
