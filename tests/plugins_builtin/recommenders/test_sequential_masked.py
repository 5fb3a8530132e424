"""`sequential` on masked items (BERT4Rec): its batches, attention and answers, against their definitions."""

import naive_transformer
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from naive_transformer import cross_entropy

from lwa_core import Catalogue, ModelError
from lwa_core.modeling.files.saving import save_model
from lwa_core.modeling.probing.observation import observe
from lwa_core.recommendation.fitting import score_histories
from lwa_core.testing import tiny_probe, tiny_recommender
from lwa_core.types import Quiet
from lwa_plugins.recommenders.sequential import Sequential
from lwa_plugins.recommenders.sequential.dropout import biased_attention

ITEMS, MASK = 30, 1
HISTORIES = [
    np.array(items, dtype=np.int32) for items in ([], [3], [1, 2, 3, 1, 29], [7, 7, 7, 8, 9, 10, 11, 12, 0, 5, 6])
]
BLOCKS = ("pre-norm", "gated")


def recommender(**settings):
    return tiny_recommender(**{"objective": "masked", "dropout": 0.0, "layers": 2, **settings})


def model_of(asked):
    return tiny_probe(asked).model.model


def naive_logits(model, ids):
    """With every position looking at every other."""
    return naive_transformer.naive_logits(model, ids, ITEMS)


@pytest.mark.parametrize("block", BLOCKS)
def test_scores_are_those_of_naive_attention_over_history_and_mask(block):
    asked = recommender(block=block)
    model = model_of(asked)
    expected = [naive_logits(model, [*(history + 2), MASK])[-1] for history in HISTORIES]

    scores = score_histories(asked, model, HISTORIES)

    np.testing.assert_allclose(scores, expected, rtol=1e-4, atol=1e-5)
    alone = [score_histories(asked, model, [history])[0] for history in HISTORIES]
    torch.testing.assert_close(scores, torch.stack(alone), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("block", BLOCKS)
def test_the_loss_is_the_cross_entropy_of_the_masked_items(block):
    asked = recommender(block=block, mask_share=0.5)
    model, windows = model_of(asked), HISTORIES[2:]
    torch.manual_seed(1)

    batch = asked.training_batch(windows)
    losses = asked.loss(model, batch)

    for row, window in enumerate(windows):
        ids = batch["input_ids"][row, : len(window)].tolist()
        logits, places = naive_logits(model, ids), [t for t, i in enumerate(ids) if i == MASK]
        assert losses.count[row] == len(places) >= 1
        assert losses.total[row].item() == pytest.approx(sum(cross_entropy(logits[t], window[t]) for t in places), 1e-4)


@settings(max_examples=30)
@given(
    st.lists(st.lists(st.integers(0, ITEMS - 1), min_size=2, max_size=12), min_size=1, max_size=5),
    st.sampled_from([1e-6, 0.2, 1.0]),
)
def test_a_training_batch_holds_the_items_or_the_mask(windows, share):
    batch = recommender(mask_share=share).training_batch([np.array(w, dtype=np.int32) for w in windows])

    for window, ids, labels in zip(windows, batch["input_ids"].tolist(), batch["labels"].tolist(), strict=True):
        length = len(window)
        items = [label - 1 if i == MASK else i - 2 for i, label in zip(ids, labels, strict=True)]
        targets = np.flatnonzero(labels).tolist()
        assert items[:length] == window
        assert targets == [t for t, i in enumerate(ids) if i == MASK]
        assert not any(ids[length:])
        assert len(targets) >= 1
        if share != 0.2:  # none but the last for want of any, or all
            assert targets == list(range(length) if share == 1 else [length - 1])


def test_about_the_share_is_masked():
    torch.manual_seed(0)
    labels = recommender(max_length=400).training_batch([np.arange(400, dtype=np.int32) % ITEMS] * 50)["labels"]

    assert float((labels > 0).double().mean()) == pytest.approx(0.2, abs=4 * (0.2 * 0.8 / labels.numel()) ** 0.5)


def test_the_newest_items_and_the_mask_fill_the_longest_input():
    asked = recommender()
    batch = asked.example_batch([np.arange(20, dtype=np.int32), np.zeros(0, dtype=np.int32)], np.array([4, 0]))

    assert batch["input_ids"].tolist() == [[*range(11, 22), MASK], [MASK, *[0] * 11]]
    assert batch["labels"].nonzero().tolist() == [[0, 11], [1, 0]]
    assert batch["labels"].sum(dim=1).tolist() == [5, 1]
    assert [12] * 2 == [len(window) for window in asked.training_windows([np.arange(24, dtype=np.int32)])]
    assert not len(recommender(max_length=2).example_batch([np.arange(3)])["input_ids"][0, 2:])


def test_every_position_sees_all_items_on_both_sides():
    model = model_of(recommender())
    before = torch.arange(2, 12)[None]
    for changed in (0, 5, 9):
        after = before.clone()
        after[0, changed] = 25
        difference = model(before).last_hidden_state[0] - model(after).last_hidden_state[0]
        assert bool((difference.abs().amax(dim=1) > 1e-5).all())


@pytest.mark.parametrize("block", BLOCKS)
def test_answers_about_layers_are_those_of_models_without_them(block):
    probe = tiny_probe(recommender(layers=3, block=block), examples=9)
    assert probe.subject.has_fast_tail(probe.model.model)
    kept = probe.subsets()

    for subset, losses in zip(kept, -probe.evaluate(kept), strict=True):
        alone = probe.model.keep(subset).model if subset else None
        for row, (history, target) in enumerate(zip(probe.histories, probe.targets, strict=True)):
            if alone is not None:
                logits = naive_logits(alone, [*(history[-11:] + 2), MASK])[-1]
                assert losses[row] == pytest.approx(cross_entropy(logits, target), rel=1e-4)


def test_gradients_and_attention_can_be_observed():
    probe = tiny_probe(recommender(), examples=6)
    norms = torch.cat([seen.gradient_norms for seen in observe(probe, {"gradient_norms"})])
    for row, example in enumerate(probe.order):
        batch = next(probe.part([example]).batches())
        for index, layer in enumerate(probe.model.layers):
            loss = torch.nn.functional.cross_entropy(probe.logits(batch), batch["targets"])
            gradients = torch.autograd.grad(loss, list(layer.parameters()))
            assert float(norms[row, index]) == pytest.approx(float(sum(g.square().sum() for g in gradients)), rel=1e-3)

    for seen in observe(probe, {"attention"}):
        lengths = seen.mask.sum(dim=1)
        for layer in seen.attention:
            assert torch.equal(layer.visible[:, 0].amax(dim=1), lengths)
            torch.testing.assert_close(layer.probabilities.sum(dim=-1), torch.ones(layer.probabilities.shape[:3]))
            assert not layer.probabilities.transpose(1, 3)[~seen.mask].any()


@pytest.mark.parametrize("queries", [1, 49, 50, 120])
def test_attention_with_a_bias_and_nothing_dropped_is_torchs_own(monkeypatch, queries):
    monkeypatch.setattr(
        "lwa_plugins.recommenders.sequential.dropout.dropout_factors", lambda like, _: torch.ones_like(like)
    )
    torch.manual_seed(0)
    q, k, v = torch.randn(3, 2, 2, queries, 4, dtype=torch.float64)
    for shape in [(2, 1, 1, queries), (2, 2, queries, queries)]:
        bias = torch.randn(shape, dtype=torch.float64)
        bias[1, :, :, queries - 1 :] = -torch.inf if queries > 1 else 0
        wanted = torch.nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=bias)
        torch.testing.assert_close(biased_attention(q, k, v, bias, 0.5), wanted)


@pytest.mark.parametrize("loss", ["cross-entropy", "sampled", "gbce"])
def test_every_training_loss_counts_the_masked_items(loss):
    asked = recommender(training_loss=loss, negatives=5, mask_share=0.4)
    model, batch = model_of(asked), asked.training_batch(HISTORIES[2:])
    model.train()
    torch.manual_seed(0)
    losses = asked.loss(model, batch)
    losses.overall.backward()

    assert losses.count.tolist() == (batch["input_ids"] == MASK).sum(dim=1).tolist()
    assert bool((losses.total > 0).all())
    assert bool(model.item_embedding.weight.grad[MASK].any())
    assert not model.item_embedding.weight.grad[0].any()


def test_training_learns_a_rule_that_the_next_item_follows():
    """The item after i is i + 1, whatever came before."""
    torch.manual_seed(0)
    asked = recommender(width=32, max_length=8)
    model = asked.build(Catalogue(ids=tuple(map(str, range(12)))), Quiet())
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    model.train()
    for _ in range(150):
        starts = torch.randint(12, (64,)).numpy()
        windows = [((start + np.arange(7)) % 12).astype(np.int32) for start in starts]
        optimizer.zero_grad()
        asked.loss(model, asked.training_batch(windows)).overall.backward()
        optimizer.step()
    model.eval()

    histories = [((start + np.arange(5)) % 12).astype(np.int32) for start in range(12)]
    assert score_histories(asked, model, histories).argmax(dim=1).tolist() == [(s + 5) % 12 for s in range(12)]


def test_a_saved_model_answers_the_same(tmp_path):
    asked = recommender()
    model = model_of(asked)
    save_model(model, tmp_path)

    torch.testing.assert_close(
        score_histories(asked, asked.load(tmp_path), HISTORIES), score_histories(asked, model, HISTORIES)
    )
    with pytest.raises(ModelError, match="was made for objective = 'masked'"):
        Sequential(checkpoint=str(tmp_path)).build(Catalogue(ids=tuple(map(str, range(ITEMS)))), Quiet())


def test_a_mask_needs_a_place_besides_the_history():
    with pytest.raises(ValueError, match="at least 2"):
        Sequential(objective="masked", max_length=1)
