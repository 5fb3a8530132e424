"""The sampled training losses of `sequential`, against their definitions item by item."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lwa_core import Catalogue
from lwa_core.testing import tiny_recommender
from lwa_core.types import Quiet
from lwa_plugins.recommenders.sequential.losses import gbce, sampled_softmax

WINDOWS = [
    np.array(items, dtype=np.int32)
    for items in ([3, 4], [1, 2, 3, 1, 29, 0], [7, 7, 7, 8, 9, 10, 11, 12, 0, 5, 6, 2, 4])
]


def drawn(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def sigmoid(x):
    return 1 / (1 + math.exp(-x))


def built(loss, **settings):
    recommender = tiny_recommender(layers=2, dropout=0.0, training_loss=loss, **settings)
    torch.manual_seed(0)
    model = recommender.build(Catalogue(ids=tuple(map(str, range(30)))), Quiet())
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return recommender, model


def full(hidden, table, targets):
    return torch.logsumexp(hidden @ table.T, -1) - (hidden @ table.T).gather(-1, targets[..., None])[..., 0]


def test_with_every_item_as_a_negative_the_sampled_softmax_is_the_full_one():
    hidden, table, targets = drawn(9, 4), drawn(20, 4, seed=1), torch.arange(9)
    negatives = torch.randperm(20, generator=torch.Generator().manual_seed(2))

    torch.testing.assert_close(sampled_softmax(hidden, table, targets, negatives), full(hidden, table, targets))


@settings(max_examples=30, deadline=None)
@given(st.integers(2, 9), st.data())
def test_the_sampled_softmax_is_its_definition(items, data):
    negatives = data.draw(st.lists(st.integers(0, items - 1), min_size=1, max_size=items, unique=True))
    target = data.draw(st.integers(0, items - 1))
    hidden, table = drawn(1, 3), drawn(items, 3, seed=1)
    scores = [float(hidden[0] @ row) for row in table]
    chance = len(negatives) / items
    others = sum(math.exp(scores[i]) / chance for i in negatives if i != target)

    given_loss = sampled_softmax(hidden, table, torch.tensor([target]), torch.tensor(negatives))

    assert float(given_loss) == pytest.approx(math.log(math.exp(scores[target]) + others) - scores[target], abs=1e-9)


def test_the_sampled_sum_has_the_mean_of_the_full_one():
    """Over all samples of 2 of 6 items; q corrects exp(loss), the sum of the softmax over the target's own term."""
    hidden, table, targets = drawn(5, 3), drawn(6, 3, seed=1), torch.tensor([0, 1, 2, 3, 5])
    pairs = [torch.tensor([i, j]) for i in range(6) for j in range(i)]
    ratios = torch.stack([sampled_softmax(hidden, table, targets, pair).exp() for pair in pairs])

    torch.testing.assert_close(ratios.mean(dim=0), full(hidden, table, targets).exp())


def test_the_gradients_of_the_sampled_softmax_pass_the_check_by_finite_differences():
    hidden, table = drawn(6, 3).requires_grad_(), drawn(8, 3, seed=1).requires_grad_()
    targets, negatives = torch.tensor([0, 1, 2, 3, 3, 7]), torch.tensor([3, 5, 0])

    assert torch.autograd.gradcheck(lambda h, t: sampled_softmax(h, t, targets, negatives), (hidden, table))


def test_a_target_that_is_the_only_negative_has_no_loss_and_no_gradient():
    hidden, table = drawn(1, 3).float().requires_grad_(), drawn(4, 3, seed=1).float().requires_grad_()

    loss = sampled_softmax(hidden, table, torch.tensor([2]), torch.tensor([2]))
    loss.sum().backward()

    assert loss.item() == 0
    assert not hidden.grad.any()
    assert not table.grad.any()


@settings(max_examples=30, deadline=None)
@given(st.integers(3, 9), st.integers(1, 12), st.floats(0, 1), st.data())
def test_gbce_is_its_definition(items, count, t, data):
    item = st.integers(0, items - 1)
    negatives = data.draw(st.lists(item, min_size=count, max_size=count))
    target = data.draw(item)
    hidden, table = drawn(1, 1, 3), drawn(items, 3, seed=1)
    scores = [float(hidden[0, 0] @ row) for row in table]
    alpha = min(1.0, count / (items - 1))
    beta = alpha * (t * (1 - 1 / alpha) + 1 / alpha)
    wanted = -math.log(sigmoid(scores[target]) ** beta)
    wanted -= sum(math.log(1 - sigmoid(scores[i])) for i in negatives if i != target)

    loss = gbce(hidden, table, torch.tensor([[target]]), torch.tensor([negatives]), t)

    assert float(loss) == pytest.approx(wanted / (count + 1), rel=1e-9)


def test_gbce_without_calibration_is_binary_cross_entropy():
    hidden, table = drawn(2, 3, 4), drawn(20, 4, seed=1)
    targets, negatives = torch.arange(6).view(2, 3), torch.arange(6, 16).view(2, 5)
    scores = torch.cat([(hidden * table[targets]).sum(-1, keepdim=True), hidden @ table[negatives].mT], dim=-1)
    labels = torch.zeros_like(scores)
    labels[..., 0] = 1
    wanted = torch.nn.functional.binary_cross_entropy_with_logits(scores, labels, reduction="none").mean(-1)

    torch.testing.assert_close(gbce(hidden, table, targets, negatives, 0.0), wanted)


@pytest.mark.parametrize("loss", ["cross-entropy", "sampled", "gbce"])
def test_in_eval_mode_the_loss_is_the_full_cross_entropy(loss):
    plain, model = built("cross-entropy")
    recommender, _ = built(loss, negatives=3)
    model.eval()
    batch = plain.training_batch(WINDOWS)

    assert torch.equal(recommender.loss(model, batch).total, plain.loss(model, batch).total)


def test_training_with_as_many_negatives_as_items_is_training_with_all_of_them():
    plain, model = built("cross-entropy")
    sampled, _ = built("sampled", negatives=1000)
    model.train()
    batch = plain.training_batch(WINDOWS)
    losses = []
    for recommender in (plain, sampled):
        model.zero_grad()
        losses.append(recommender.loss(model, batch))
        losses[-1].overall.backward()
        losses[-1] = (losses[-1].total.detach(), [p.grad.clone() for p in model.parameters()])

    torch.testing.assert_close(losses[0], losses[1], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("loss", ["sampled", "gbce"])
def test_a_sampled_loss_counts_every_target_once_and_no_padding(loss):
    recommender, model = built(loss, negatives=5)
    model.train()

    def losses(batch):
        torch.manual_seed(0)
        return recommender.loss(model, batch)

    batch = recommender.training_batch(WINDOWS)
    longer = {name: torch.nn.functional.pad(value, (0, 4)) for name, value in batch.items()}
    wide = losses({name: value[:, :12] for name, value in longer.items()})

    assert losses(batch).count.tolist() == [1, 5, 12]
    assert bool((losses(batch).total > 0).all())
    torch.testing.assert_close(wide.total, losses(batch).total)


def test_gbce_draws_anew_for_every_sequence(monkeypatch):
    recommender, model = built("gbce", negatives=200)
    model.train()
    seen = []
    real = torch.randint
    monkeypatch.setattr(torch, "randint", lambda *a, **k: seen.append(real(*a, **k)) or seen[-1])

    recommender.loss(model, recommender.training_batch(WINDOWS))

    (negatives,) = seen
    assert negatives.shape == (3, 200)
    assert len({tuple(row) for row in negatives.tolist()}) == 3
    assert set(range(30)) == set(negatives.flatten().tolist())
