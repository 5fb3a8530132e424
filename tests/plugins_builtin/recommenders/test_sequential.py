"""The built-in recommender: its windows, batches, loss and network, against their definitions."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lwa_core import Catalogue, ModelError
from lwa_core.modeling.files.saving import save_model
from lwa_core.recommendation.fitting import score_histories
from lwa_core.testing import tiny_probe, tiny_recommender
from lwa_core.types import Quiet
from lwa_plugins.recommenders.sequential import Sequential

ITEMS = 30
RECOMMENDER = tiny_recommender(layers=2)
WINDOWS = [
    np.array(items, dtype=np.int32)
    for items in ([3, 4], [1, 2, 3, 1, 29, 0], [7, 7, 7, 8, 9, 10, 11, 12, 0, 5, 6, 2, 4])
]


@pytest.fixture(scope="module")
def model():
    return tiny_probe(RECOMMENDER).model.model


def catalogue(items=ITEMS):
    return Catalogue(ids=tuple(map(str, range(items))))


@torch.no_grad()
def hidden_alone(model, window):
    """Hidden states of one sequence, not padded, in float64."""
    return model(torch.from_numpy(window[:-1].astype("int64"))[None] + 1).last_hidden_state[0].double().numpy()


def naive_losses(model, window):
    """Cross-entropy of every next item of one sequence, by its definition, item by item."""
    table = model.item_embedding.weight.detach().double().numpy()[1:]
    losses = []
    for state, target in zip(hidden_alone(model, window), window[1:], strict=True):
        logits = [float(state @ row) for row in table]
        highest = max(logits)
        losses.append(highest + np.log(sum(np.exp(x - highest) for x in logits)) - logits[target])
    return losses


def test_the_loss_is_the_cross_entropy_over_real_positions(model):
    losses = RECOMMENDER.loss(model, RECOMMENDER.training_batch(WINDOWS))
    expected = [naive_losses(model, window) for window in WINDOWS]

    assert losses.count.tolist() == [1, 5, 12]
    np.testing.assert_allclose(losses.total.detach(), [sum(row) for row in expected], rtol=1e-5)
    np.testing.assert_allclose(losses.mean.detach(), [np.mean(row) for row in expected], rtol=1e-5)
    assert losses.overall.item() == pytest.approx(np.mean(np.concatenate(expected)), rel=1e-5)


def test_padding_changes_no_score(model):
    histories = [window[:-1] for window in WINDOWS]
    together = score_histories(RECOMMENDER, model, histories)

    for row, history in zip(together, histories, strict=True):
        torch.testing.assert_close(row, score_histories(RECOMMENDER, model, [history])[0], rtol=1e-5, atol=1e-6)


def test_padding_changes_no_gradient(model):
    def gradients(batch):
        model.zero_grad()
        RECOMMENDER.loss(model, batch).overall.backward()
        return [p.grad.clone() for p in model.parameters()]

    batch = RECOMMENDER.training_batch([WINDOWS[1]])
    padded = {name: torch.nn.functional.pad(value, (0, 5)) for name, value in batch.items()}

    for one, other in zip(gradients(batch), gradients(padded), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-7)


@torch.no_grad()
@pytest.mark.parametrize("changed", [1, 4, 11])
def test_no_position_sees_what_comes_after_it(model, changed):
    before = torch.arange(1, 13)[None]
    after = before.clone()
    after[0, changed] = 25

    first, second = model(before).last_hidden_state[0], model(after).last_hidden_state[0]

    torch.testing.assert_close(first[:changed], second[:changed], rtol=1e-6, atol=1e-7)
    assert all(float((a - b).abs().max()) > 1e-4 for a, b in zip(first[changed:], second[changed:], strict=True))


@given(
    st.lists(st.integers(1, 40), min_size=0, max_size=5),
    st.integers(1, 15),
)
def test_every_event_but_the_first_is_a_target_once(lengths, max_length):
    starts = np.cumsum([0, *lengths])
    sequences = [np.arange(a, a + n, dtype=np.int32) for a, n in zip(starts, lengths, strict=False)]

    windows = Sequential(max_length=max_length).training_windows(sequences)

    targets = np.concatenate([*(window[1:] for window in windows), np.zeros(0, dtype=np.int32)])
    assert sorted(targets) == sorted(int(event) for sequence in sequences for event in sequence[1:])
    assert all(2 <= len(window) <= max_length + 1 for window in windows)
    whole = [sequence.tolist() for sequence in sequences]
    for window in windows:  # consecutive events of one user
        (own,) = [sequence for sequence in whole if window[0] in sequence]
        place = own.index(window[0])
        assert own[place : place + len(window)] == window.tolist()


@settings(max_examples=30)
@given(st.lists(st.lists(st.integers(0, ITEMS - 1), min_size=2, max_size=13), min_size=1, max_size=5))
def test_a_training_batch_is_inputs_and_the_items_after_them(windows):
    batch = RECOMMENDER.training_batch([np.array(window, dtype=np.int32) for window in windows])

    for window, inputs, labels in zip(windows, batch["input_ids"].tolist(), batch["labels"].tolist(), strict=True):
        real, padding = len(window) - 1, len(inputs) - len(window) + 1
        assert inputs == [item + 1 for item in window[:-1]] + [0] * padding
        assert labels == [item + 1 for item in window[1:]] + [0] * padding
        assert real + padding == max(map(len, windows)) - 1


def test_an_example_batch_asks_for_the_next_item_after_the_newest_events(model):
    histories = [np.arange(20, dtype=np.int32), np.array([5], dtype=np.int32), np.zeros(0, dtype=np.int32)]

    batch = RECOMMENDER.example_batch(histories, np.array([1, 2, 3]))

    assert batch["input_ids"].tolist() == [list(range(9, 21)), [6] + [0] * 11, [0] * 12]
    assert batch["attention_mask"].sum(dim=1).tolist() == [12, 1, 1]
    assert batch["last"].tolist() == [11, 0, 0]
    assert batch["labels"].nonzero().tolist() == [[0, 11], [1, 0], [2, 0]]
    assert RECOMMENDER.loss(model, batch).count.tolist() == [1, 1, 1]


def test_only_the_newest_events_count(model):
    long = np.arange(20, dtype=np.int32)
    scores = score_histories(RECOMMENDER, model, [long, long[-12:]])

    torch.testing.assert_close(scores[0], scores[1])


def test_an_empty_history_gets_finite_scores_alone_and_among_others(model):
    empty = np.zeros(0, dtype=np.int32)
    alone = score_histories(RECOMMENDER, model, [empty])
    among = score_histories(RECOMMENDER, model, [WINDOWS[2], empty])

    assert alone.shape == (1, ITEMS)
    assert bool(torch.isfinite(alone).all())
    torch.testing.assert_close(among[1], alone[0], rtol=1e-5, atol=1e-6)


def test_the_loss_of_an_example_is_that_of_its_scores(model):
    targets = np.array([0, 29, 5])
    histories = [window[:-1] for window in WINDOWS]
    scores = score_histories(RECOMMENDER, model, histories).double()

    losses = RECOMMENDER.loss(model, RECOMMENDER.example_batch(histories, targets)).mean

    expected = [float(torch.logsumexp(row, 0) - row[target]) for row, target in zip(scores, targets, strict=True)]
    np.testing.assert_allclose(losses.detach(), expected, rtol=1e-5)


def test_encode_and_head_are_the_two_halves_of_the_scores(model):
    histories = [window[:-1] for window in WINDOWS]
    batch = RECOMMENDER.example_batch(histories, np.array([0, 29, 5]))

    hidden, targets = RECOMMENDER.encode(model, batch)

    assert targets.tolist() == [0, 29, 5]
    torch.testing.assert_close(RECOMMENDER.head(model, hidden), score_histories(RECOMMENDER, model, histories))


class Doubled(torch.nn.Module):
    def __init__(self, block):
        super().__init__()
        self.block = block

    def forward(self, states):
        return 2 * self.block(states)


@torch.no_grad()
@pytest.mark.parametrize("change", ["hook", "inner hook", "model hook", "replaced", "training"])
def test_a_last_block_that_is_watched_or_changed_is_really_called(change):
    recommender = tiny_recommender(layers=2, dropout=0.0)
    model = tiny_probe(recommender).model.model
    batch = recommender.example_batch([window[:-1] for window in WINDOWS], np.array([0, 29, 5]))
    last, called = model.blocks[-1], []
    if change == "replaced":
        model.blocks[-1] = Doubled(last)
    elif change == "training":
        model.train()
    else:
        module = {"hook": last, "inner hook": last.attention.q_proj, "model hook": model}[change]
        module.register_forward_hook(lambda *_: called.append(1))
    plain = recommender.head(model, recommender.encode(model, batch)[0])
    called.clear()

    scores = recommender.scores(model, batch)

    torch.testing.assert_close(scores, plain)
    assert called == ([1] if "hook" in change else [])


def test_tied_embeddings_learn_from_both_ends(model):
    """Of the items of one window, the first is input only, the last target only, one between is both."""
    ids = torch.tensor([[4, 5, 6]])

    def gradient(part):
        model.zero_grad()
        hidden = model(ids[:, :-1]).last_hidden_state[0]
        table = model.item_embedding.weight[1:]
        hidden, table = (hidden, table.detach()) if part == "inputs" else (hidden.detach(), table)
        torch.nn.functional.cross_entropy(hidden @ table.T, ids[0, 1:] - 1).backward()
        return model.item_embedding.weight.grad.clone()

    model.zero_grad()
    RECOMMENDER.loss(model, RECOMMENDER.training_batch([np.array([3, 4, 5], dtype=np.int32)])).overall.backward()
    whole = model.item_embedding.weight.grad.clone()

    inputs, outputs = gradient("inputs"), gradient("outputs")
    torch.testing.assert_close(whole, inputs + outputs)
    assert inputs.abs().sum(dim=1).nonzero().flatten().tolist() == [4, 5]
    assert outputs.abs().sum(dim=1).nonzero().flatten().tolist() == list(range(1, ITEMS + 1))


def test_padding_is_never_learnt(model):
    model.zero_grad()
    RECOMMENDER.loss(model, RECOMMENDER.training_batch(WINDOWS)).overall.backward()

    assert torch.count_nonzero(model.item_embedding.weight.grad[0]) == 0
    torch.manual_seed(0)
    assert torch.count_nonzero(RECOMMENDER.build(catalogue(), Quiet()).item_embedding.weight[0]) == 0


def test_the_settings_shape_the_model():
    model = Sequential(layers=3, width=24, heads=4, max_length=7, dropout=0.1).build(catalogue(11), Quiet())

    assert len(model.blocks) == 3
    assert model.item_embedding.weight.shape == (12, 24)
    assert model.position_embedding.weight.shape == (7, 24)
    assert model.blocks[0].attention.heads == 4


def test_the_seed_decides_the_weights():
    def weights(seed):
        torch.manual_seed(seed)
        return torch.cat([p.flatten() for p in RECOMMENDER.build(catalogue(), Quiet()).parameters()])

    assert torch.equal(weights(1), weights(1))
    assert not torch.equal(weights(1), weights(2))


def test_what_every_branch_adds_starts_out_small():
    """1/√(2·depth) of the ordinary standard deviation 0.02, as in GPT-2."""
    torch.manual_seed(0)
    model = Sequential(layers=8, width=64).build(catalogue(), Quiet())

    for block in model.blocks:
        assert block.attention.q_proj.weight.std().item() == pytest.approx(0.02, rel=0.1)
        assert block.attention.o_proj.weight.std().item() == pytest.approx(0.02 / 4, rel=0.1)
        assert block.down_proj.weight.std().item() == pytest.approx(0.02 / 4, rel=0.1)


@pytest.mark.parametrize(("width", "heads"), [(16, 3), (10, 4), (4, 8)])
def test_heads_must_divide_the_width(width, heads):
    with pytest.raises(ValueError, match=f"{heads} does not divide {width}"):
        Sequential(width=width, heads=heads)


def test_attention_is_the_softmax_of_scaled_products(model):
    attention = model.blocks[0].attention
    states = torch.randn(1, 5, 16, generator=torch.Generator().manual_seed(0))

    def project(linear):
        return (states[0].double() @ linear.weight.double().T + linear.bias.double()).detach().numpy()

    q, k, v = project(attention.q_proj), project(attention.k_proj), project(attention.v_proj)
    mixed = np.zeros((5, 16))
    for head in (slice(0, 8), slice(8, 16)):
        for t in range(5):
            weights = np.array([np.exp(q[t, head] @ k[s, head] / np.sqrt(8)) for s in range(t + 1)])
            mixed[t, head] = sum(w * v[s, head] for s, w in enumerate(weights / weights.sum()))
    expected = mixed @ attention.o_proj.weight.detach().double().numpy().T + attention.o_proj.bias.detach().numpy()

    np.testing.assert_allclose(attention(states)[0].detach(), expected, rtol=1e-4, atol=1e-6)


def test_a_checkpoint_is_the_start_instead_of_fresh_weights(model, tmp_path):
    save_model(model, tmp_path)

    started = Sequential(checkpoint=str(tmp_path), max_length=12).build(catalogue(), Quiet())

    weights = dict(started.named_parameters())
    assert all(torch.equal(value, weights[name]) for name, value in model.named_parameters())
    assert all(value.requires_grad for value in weights.values())


def test_a_checkpoint_for_another_catalogue_is_refused(model, tmp_path):
    save_model(model, tmp_path)

    with pytest.raises(ModelError, match="ranks 30 items, but the data has 31"):
        Sequential(checkpoint=str(tmp_path), max_length=12).build(catalogue(31), Quiet())


def test_a_checkpoint_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(ModelError, match="no model in"):
        Sequential(checkpoint=str(tmp_path / "nowhere")).build(catalogue(), Quiet())
