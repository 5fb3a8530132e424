"""`text`: vectors of titles, scores and losses by their definitions; unseen items, saving, cutting, adapters, runs."""

import numpy as np
import pytest
import tiny_texts
import titled
import torch
from heard import Heard
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from transformers import AutoModel, AutoTokenizer, LlamaConfig, LlamaForCausalLM, T5Config, T5ForConditionalGeneration

from lwa_core import Catalogue, LayeredModel, ModelError
from lwa_core.modeling.files.saving import save_model
from lwa_core.modeling.probing.probe import Probe
from lwa_core.recommendation.fitting import score_histories
from lwa_core.testing.conformance import score
from lwa_core.types import Quiet
from lwa_plugins.recommenders._sequences import MASK
from lwa_plugins.recommenders.text import Text
from lwa_plugins.recommenders.text.encoding import standardised, title_vectors
from lwa_plugins.recommenders.text.model import TextBackboneModel
from lwa_plugins.scorers.fisher import Fisher
from lwa_plugins.scorers.leave_one_out import LeaveOneOut

TITLES = ["w1 w2 w3", "w9", "w4 w5 w6 w7 w8 w9 w10 w11 w12 w13 w14 w15 w16", "  ", "w9", "w1 w2 w3 w4", ""]
HISTORIES = [np.array(h, dtype=np.int32) for h in ([3], [1, 2, 3, 1, 5, 0], [6, 6, 2, 4, 4, 0, 1, 2, 0, 5, 6])]
TARGETS = np.array([0, 6, 5])


@pytest.fixture(scope="module")
def encoders(tmp_path_factory):
    folder = tmp_path_factory.mktemp("encoders")
    return {name: tiny_texts.save_text_model(name, folder / name) for name in ("llama", "bert", "roberta-classifier")}


def catalogue(titles=TITLES):
    return Catalogue(ids=tuple(f"item {i}" for i in range(len(titles))), titles=tuple(titles))


def pupil_of(encoder, **more):
    how = {"layers": 3, "width": 16, "item_width": 12, "max_length": 12, "dropout": 0.1}
    return Text(encoder=str(encoder), **{**how, **more})


def shaken(pupil, titles=TITLES):
    """A model with random weights so large that every layer changes the answers."""
    torch.manual_seed(0)
    model = pupil.build(catalogue(titles), Quiet()).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model


@torch.no_grad()
def vector_alone(folder, text, pooling, length):
    """One title by itself, unpadded, through transformers, pooled in float64."""
    ids = AutoTokenizer.from_pretrained(folder)(text, truncation=True, max_length=length)["input_ids"]
    states = AutoModel.from_pretrained(folder).eval()(torch.tensor([ids])).last_hidden_state[0].double().numpy()
    return {"mean": states.mean(axis=0), "last": states[-1], "cls": states[0]}[pooling]


@pytest.mark.parametrize("pooling", ["mean", "last", "cls"])
@pytest.mark.parametrize("name", ["llama", "bert", "roberta-classifier"])
def test_a_title_has_the_vector_that_it_has_alone(name, pooling, encoders):
    prefix = "" if (name, pooling) == ("llama", "cls") else "w0 "
    vectors = title_vectors(TITLES, encoders[name], pooling=pooling, report=Quiet(), prefix=prefix, length=10, batch=2)

    for title, vector in zip(TITLES, vectors, strict=True):
        if not title.strip():
            assert not vector.any()
            continue
        expected = vector_alone(encoders[name], prefix + title, pooling, 10)
        np.testing.assert_allclose(vector, expected, rtol=1e-4, atol=1e-5)
    assert torch.equal(vectors[1], vectors[4])


@settings(max_examples=50)
@given(arrays.arrays(np.float32, st.tuples(st.integers(1, 6), st.integers(1, 4)), elements=st.floats(-8, 8, width=16)))
def test_standardised_vectors_have_mean_zero_and_variance_one_in_what_varies(vectors):
    vectors[0] = 0  # no title
    some = vectors.any(axis=1)
    assume(some.any())

    made = standardised(torch.from_numpy(vectors)).double().numpy()

    assert not made[~some].any()
    for column, before in zip(made[some].T, vectors[some].astype(np.float64).T, strict=True):
        if before.std() > 1e-4 * np.abs(before).max():
            np.testing.assert_allclose(column, (before - before.mean()) / before.std(), rtol=1e-3, atol=1e-5)
        elif before.std() < 1e-6 * np.abs(before).max():
            assert not column.any()


@torch.no_grad()
def table_of(model):
    """Embeddings of all items, by the linear map of their vectors, in float64 (items, item width)."""
    items = model.item_embedding
    weight, bias = items.project.weight.double().numpy(), items.project.bias.double().numpy()
    return items.vectors[model.config.first_item :].double().numpy() @ weight.T + bias


@torch.no_grad()
def logits_alone(model, history):
    """Logits at every position of one unpadded history, from the family's own model (time, items)."""
    table = table_of(model)
    embedded = torch.from_numpy(table[history])
    if model.config.bidirectional:
        embedded = torch.cat([embedded, model.item_embedding.mask.weight.double()])
    states = model.transformer(inputs_embeds=model.project_in(embedded.float())[None]).last_hidden_state[0]
    return model.project_out(states).double().numpy() @ table.T


@pytest.mark.parametrize("family", ["qwen3", "bert"])
def test_scores_are_those_of_each_history_alone(family, encoders):
    pupil = pupil_of(encoders["bert"], family=family)
    model = shaken(pupil)
    expected = np.stack([logits_alone(model, history)[-1] for history in HISTORIES])

    scores = score_histories(pupil, model, HISTORIES)
    batch = pupil.example_batch(HISTORIES, TARGETS)
    hidden, targets = pupil.encode(model, batch)
    losses = pupil.loss(model, batch).mean.detach()

    np.testing.assert_allclose(scores, expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(pupil.head(model, hidden).detach(), expected, rtol=1e-4, atol=1e-5)
    assert targets.tolist() == TARGETS.tolist()
    wanted = [np.log(np.exp(row - row[target]).sum()) for row, target in zip(expected, TARGETS, strict=True)]
    np.testing.assert_allclose(losses, wanted, rtol=1e-4)
    titled_alike = scores[:, [1, 4]]
    assert torch.equal(titled_alike[:, 0], titled_alike[:, 1])


def test_training_looks_at_the_items_of_training_alone(encoders):
    pupil = pupil_of(encoders["llama"], dropout=0.0)
    model = shaken(pupil)
    windows = [np.array([0, 2, 5, 0], dtype=np.int32), np.array([5, 3], dtype=np.int32)]
    pupil.adapt(model, windows, Quiet())

    losses = pupil.loss(model.train(), pupil.training_batch(windows))

    learnt = [0, 2, 3, 5]
    for total, window in zip(losses.total.tolist(), windows, strict=True):
        logits = logits_alone(model, window[:-1])
        expected = sum(
            np.log(np.exp(row[learnt] - row[target]).sum()) for row, target in zip(logits, window[1:], strict=True)
        )
        assert total == pytest.approx(expected, rel=1e-4)
    assert score_histories(pupil, model.eval(), windows).shape == (2, len(TITLES))


def test_items_that_cannot_be_told_apart_are_warned_of(encoders):
    heard = Heard()

    pupil_of(encoders["llama"]).build(catalogue(), heard)

    no_title, same_title = heard.warnings

    assert ("no-title", "same-title") == (no_title[0], same_title[0])
    assert no_title[1].startswith("2 of 7 items have no title")
    assert same_title[1].startswith("1 of 7 items have the title of another item")


def test_encoding_says_how_far_it_is(encoders):
    heard = Heard()

    pupil_of(encoders["llama"], title_batch=3).build(catalogue(), heard)

    different = len({title for title in TITLES if title.strip()})
    assert [(3, different), (different, different)] == heard.steps


def test_a_changed_map_changes_the_scores_that_were_given_before(encoders):
    pupil = pupil_of(encoders["llama"])
    model = shaken(pupil)
    before = score_histories(pupil, model, HISTORIES)
    assert torch.equal(before, score_histories(pupil, model, HISTORIES))

    with torch.no_grad():
        model.item_embedding.project.bias[0] += 1.0
    after = score_histories(pupil, model, HISTORIES)

    np.testing.assert_allclose(after, [logits_alone(model, h)[-1] for h in HISTORIES], rtol=1e-4, atol=1e-5)
    assert not torch.allclose(before, after, atol=1e-3)


def rank(scores, target):
    return 1 + int((scores > scores[target]).sum())


def test_items_that_were_never_trained_on_are_ranked_by_their_titles(encoders):
    """The kind of the next item is known from the last one: the cold items of that kind come before all other kinds."""
    pupil = pupil_of(encoders["llama"], layers=1, width=32, item_width=32, dropout=0.0)
    torch.manual_seed(0)
    model = pupil.build(catalogue(titled.titles()), Quiet())
    windows = titled.sequences(200)
    model = pupil.adapt(model, windows, Quiet()).train()
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-2)
    for step in range(150):
        optimiser.zero_grad()
        pupil.loss(model, pupil.training_batch(windows[step % 4 :: 4])).overall.backward()
        optimiser.step()

    asked = titled.sequences(40, seed=1, cold_last=True)
    scores = score_histories(pupil, model.eval(), [history[:-1] for history in asked])

    ranks = [rank(row, history[-1]) for row, history in zip(scores, asked, strict=True)]
    assert set(titled.cold_items()).isdisjoint(np.concatenate(windows).tolist())
    # By chance the mean is 16.5; where only the kind is known, 4.5.
    assert np.mean(ranks) < 9


@pytest.mark.parametrize("family", ["llama", "bert"])
def test_what_is_saved_comes_back_cut_or_not(family, encoders, tmp_path):
    pupil = pupil_of(encoders["llama"], family=family)
    layered = LayeredModel(shaken(pupil))
    pupil.adapt(layered.model, HISTORIES[:2], Quiet())
    cut = layered.keep([0, 2])
    with layered.skipping([0, 2]):
        expected = score_histories(pupil, layered.model, HISTORIES)

    for name, model in (("full", layered.model), ("cut", cut.model)):
        save_model(model, tmp_path / name)
        again = pupil.load(tmp_path / name)
        assert torch.equal(score_histories(pupil, model, HISTORIES), score_histories(pupil, again, HISTORIES))
        assert torch.equal(model.item_embedding.learnt, again.item_embedding.learnt)
    torch.testing.assert_close(score_histories(pupil, cut.model, HISTORIES), expected)
    assert type(AutoModel.from_pretrained(tmp_path / "cut", local_files_only=True)) is TextBackboneModel


def test_the_layers_of_the_reading_transformer_are_scored(encoders):
    """Leave-one-out against models that really lack the layer; Fisher against one backward pass an example."""
    pupil = pupil_of(encoders["bert"])
    layered = LayeredModel(shaken(pupil))
    probe = Probe(layered, pupil, HISTORIES, TARGETS, batch=2)
    batch = pupil.example_batch(HISTORIES, TARGETS)
    without = [layered.keep([i for i in range(3) if i != layer]).model for layer in range(3)]
    with torch.no_grad():
        change = torch.stack([pupil.loss(cut, batch).mean for cut in without], dim=1)
        change = change - pupil.loss(layered.model, batch).mean[:, None]
    norms = []
    for history, target in zip(HISTORIES, TARGETS, strict=True):
        layered.model.zero_grad()
        pupil.loss(layered.model, pupil.example_batch([history], np.array([target]))).overall.backward()
        norms.append([sum(float(p.grad.square().sum()) for p in layer.parameters()) for layer in layered.layers])
    layered.model.zero_grad()

    np.testing.assert_allclose(score(LeaveOneOut(), probe), change, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(score(Fisher(), probe), norms, rtol=1e-3)


@pytest.mark.parametrize("four_bit", [False, True])
def test_a_language_model_reads_with_adapters_and_is_kept_without(four_bit, encoders, tmp_path):
    torch.manual_seed(3)
    shape = {"vocab_size": 40, "hidden_size": 64, "intermediate_size": 64, "num_attention_heads": 2}
    LlamaForCausalLM(LlamaConfig(**shape, num_hidden_layers=2)).save_pretrained(tmp_path)
    pupil = pupil_of(encoders["bert"], pretrained=str(tmp_path), train="lora", rank=2, four_bit=four_bit)
    model = pupil.adapt(pupil.build(catalogue(), Quiet()), HISTORIES, Quiet())

    learning = {name for name, p in model.named_parameters() if p.requires_grad}
    with torch.no_grad():
        for name in learning:
            model.get_parameter(name).add_(0.1)
    before = score_histories(pupil, model.eval(), HISTORIES)
    kept = pupil.merge(model).eval()

    assert any("item_embedding.project" in name for name in learning)
    assert all("lora_" in name or "project" in name for name in learning)
    assert type(kept) is TextBackboneModel
    torch.testing.assert_close(score_histories(pupil, kept, HISTORIES), before, rtol=1e-4, atol=1e-5)


def test_what_cannot_encode_titles_is_refused(encoders, tmp_path):
    def told(folder, titles=TITLES):
        with pytest.raises(ModelError) as caught:
            pupil_of(folder).build(catalogue(titles), Quiet())
        return caught.value.message

    assert "no item has a title" == told(encoders["llama"], ["", " "])
    assert "config.json is missing" in told(tmp_path)
    with pytest.raises(ModelError, match="gives all titles the same vector"):
        pupil_of(encoders["llama"], prefix="w0 ", pooling="cls").build(catalogue(), Quiet())
    T5ForConditionalGeneration(T5Config(d_model=8, d_ff=8, num_layers=1, num_heads=1, vocab_size=9)).save_pretrained(
        tmp_path / "t5"
    )
    assert "has an encoder and a decoder" in told(tmp_path / "t5")
    small = LlamaForCausalLM(LlamaConfig(vocab_size=9, hidden_size=8, intermediate_size=8, num_attention_heads=2))
    small.save_pretrained(tmp_path / "small")
    assert "no tokenizer" in told(tmp_path / "small") or "cannot load the tokenizer" in told(tmp_path / "small")
    tiny_texts.save_tokenizer(tmp_path / "small", specials=False)
    assert "the encoder knows 9 tokens" in told(tmp_path / "small")
    (tmp_path / "small" / "model.safetensors").unlink()
    torch.save(small.state_dict(), tmp_path / "small" / "pytorch_model.bin")
    assert "cannot load the model" in told(tmp_path / "small")


def test_a_masked_family_learns_a_mask_of_its_own(encoders):
    pupil = pupil_of(encoders["llama"], family="bert")
    model = shaken(pupil)
    batch = pupil.training_batch(HISTORIES[1:])

    pupil.loss(model, batch).overall.backward()

    assert bool((batch["input_ids"] == MASK).any())
    assert bool(model.item_embedding.mask.weight.grad.any())
