"""`backbone`, family by family: batches, losses and scores by their definitions; learning, saving, cutting, runs."""

import json
import shutil
import subprocess
import sys
from unittest.mock import Mock

import numpy as np
import pytest
import tiny_recipe
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import (
    AutoModel,
    BertConfig,
    BertForMaskedLM,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
)

from lwa_core import Catalogue, ModelError
from lwa_core.modeling.files.quantisation import quantise_nf4
from lwa_core.modeling.files.saving import save_model
from lwa_core.modeling.probing.observation import observe
from lwa_core.recipe.reader import check_recipe
from lwa_core.recommendation.fitting import score_histories
from lwa_core.testing import tiny_probe
from lwa_core.testing.conformance import score
from lwa_core.training.trainer import train
from lwa_core.types import Quiet
from lwa_plugins.recommenders._sequences import MASK
from lwa_plugins.recommenders.backbone import Backbone
from lwa_plugins.recommenders.backbone.families import FAMILIES
from lwa_plugins.recommenders.backbone.model import BackboneConfig, BackboneModel
from lwa_plugins.scorers.block_influence import BlockInfluence
from lwa_plugins.scorers.fisher import Fisher
from lwa_plugins.scorers.leave_one_out import LeaveOneOut

ITEMS = 30
CAUSAL = [family for family in FAMILIES if not FAMILIES[family].bidirectional]
MASKED = [family for family in FAMILIES if FAMILIES[family].bidirectional]
HISTORIES = [np.array(h, dtype=np.int32) for h in ([3], [1, 2, 3, 1, 29, 0], [7, 7, 7, 8, 9, 10, 11, 12, 0, 5, 6])]
TARGETS = np.array([0, 29, 5])

every_family = pytest.mark.parametrize("family", FAMILIES)


def recommender(family, **more):
    shape = {"layers": 4, "width": 16, "item_width": 12, "max_length": 12, "dropout": 0.1}
    return Backbone(family=family, **{**shape, **more})


def catalogue(items=ITEMS):
    return Catalogue(ids=tuple(map(str, range(items))))


def probe_of(family, examples=6, **more):
    return tiny_probe(recommender(family, **more), examples=examples, items=ITEMS)


@torch.no_grad()
def logits_alone(model, ids):
    """Logits at every position of one unpadded sequence, from the family's own model, in float64 (time, items)."""
    embedded = model.project_in(model.item_embedding.weight[torch.tensor(ids)])[None]
    states = model.project_out(model.transformer(inputs_embeds=embedded).last_hidden_state[0])
    table = model.item_embedding.weight[-ITEMS:]
    return states.double().numpy() @ table.double().numpy().T


def ids_of(family, history, asked=True):
    """Model ids of a history, by the class's docstring."""
    return [*(history + 2), *([MASK] if asked else [])] if family in MASKED else list(history + 1)


def cross_entropy(logits, target):
    highest = logits.max()
    return highest + np.log(np.exp(logits - highest).sum()) - logits[target]


@every_family
def test_scores_and_losses_are_those_of_each_history_alone(family):
    probe = probe_of(family)
    model, asked = probe.model.model, probe.subject
    expected = np.stack([logits_alone(model, ids_of(family, history))[-1] for history in HISTORIES])

    batch = asked.example_batch(HISTORIES, TARGETS)
    losses = asked.loss(model, batch)
    hidden, targets = asked.encode(model, batch)

    np.testing.assert_allclose(score_histories(asked, model, HISTORIES), expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(asked.head(model, hidden).detach(), expected, rtol=1e-4, atol=1e-5)
    assert targets.tolist() == TARGETS.tolist()
    assert losses.count.tolist() == [1, 1, 1]
    wanted = [cross_entropy(row, target) for row, target in zip(expected, TARGETS, strict=True)]
    np.testing.assert_allclose(losses.mean.detach(), wanted, rtol=1e-4)


@pytest.mark.parametrize("family", CAUSAL)
def test_a_causal_family_learns_the_next_item_at_every_position(family):
    probe = probe_of(family)
    windows = HISTORIES[1:]

    losses = probe.subject.loss(probe.model.model, probe.subject.training_batch(windows))

    assert losses.count.tolist() == [5, 10]
    for total, window in zip(losses.total.tolist(), windows, strict=True):
        logits = logits_alone(probe.model.model, window[:-1] + 1)
        expected = sum(cross_entropy(row, target) for row, target in zip(logits, window[1:], strict=True))
        assert total == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("family", MASKED)
def test_a_bidirectional_family_learns_the_items_that_are_masked(family):
    probe = probe_of(family, masking=0.5)
    windows = HISTORIES[1:]
    torch.manual_seed(0)

    batch = probe.subject.training_batch(windows)
    losses = probe.subject.loss(probe.model.model, batch)

    assert losses.count.tolist() == (batch["input_ids"] == MASK).sum(dim=1).tolist()
    for row, (total, window) in enumerate(zip(losses.total.tolist(), windows, strict=True)):
        ids = batch["input_ids"][row, : len(window)]
        logits = logits_alone(probe.model.model, ids.tolist())
        expected = sum(cross_entropy(logits[t], window[t]) for t in range(len(window)) if ids[t] == MASK)
        assert total == pytest.approx(expected, rel=1e-4)


@settings(max_examples=30)
@given(
    st.lists(st.lists(st.integers(0, ITEMS - 1), min_size=2, max_size=12), min_size=1, max_size=5),
    st.sampled_from([1e-6, 0.3, 1.0]),
)
def test_a_masked_batch_holds_the_items_or_the_mask(windows, masking):
    batch = recommender("bert", masking=masking).training_batch([np.array(w, dtype=np.int32) for w in windows])

    for window, ids, labels in zip(windows, batch["input_ids"].tolist(), batch["labels"].tolist(), strict=True):
        padding = [0] * (max(map(len, windows)) - len(window))
        masked = [label > 0 for label in labels[: len(window)]]
        assert any(masked)
        assert ids == [1 if m else item + 2 for m, item in zip(masked, window, strict=True)] + padding
        assert labels == [item + 1 if m else 0 for m, item in zip(masked, window, strict=True)] + padding
        assert all(masked) or masking < 1
        assert masked[-1] or masking > 1e-6


def test_items_are_masked_at_the_rate_of_the_setting():
    windows = [np.arange(12, dtype=np.int32)] * 1000
    torch.manual_seed(0)

    share = (recommender("bert", masking=0.3).training_batch(windows)["labels"] > 0).double().mean()

    # 0.3, and the last of 12 where none was drawn; four standard errors
    assert share.item() == pytest.approx(0.3 + 0.7**12 / 12, abs=4 * (0.3 * 0.7 / 12000) ** 0.5)


@given(st.lists(st.integers(0, 40), max_size=5), st.integers(2, 15), st.sampled_from(["llama", "bert"]))
def test_windows_hold_every_event_once_as_target_or_to_be_masked(lengths, max_length, family):
    starts = np.cumsum([0, *lengths])
    sequences = [np.arange(a, a + n, dtype=np.int32) for a, n in zip(starts, lengths, strict=False)]

    windows = Backbone(family=family, max_length=max_length).training_windows(sequences)

    skipped = 0 if family == "bert" else 1
    held = [int(event) for window in windows for event in window[skipped:]]
    first = {int(sequence[0]) for sequence in sequences if len(sequence)}
    assert len(held) == len(set(held))
    assert {int(event) for sequence in sequences for event in sequence} - set(held) <= first
    assert all(2 <= len(window) <= max_length + skipped for window in windows)


@pytest.mark.parametrize("family", MASKED)
def test_the_mask_stands_behind_the_newest_events(family):
    batch = recommender(family).example_batch([np.arange(20, dtype=np.int32), np.zeros(0, dtype=np.int32)], TARGETS[:2])

    assert batch["input_ids"].tolist() == [[*range(11, 22), MASK], [MASK] + [0] * 11]
    assert batch["attention_mask"].sum(dim=1).tolist() == [12, 1]
    assert batch["last"].tolist() == [11, 0]
    assert batch["labels"].nonzero().tolist() == [[0, 11], [1, 0]]


@every_family
@pytest.mark.parametrize("item_width", [0, 12])
def test_more_padding_changes_no_loss_and_no_gradient(family, item_width):
    probe = probe_of(family, item_width=item_width)
    model = probe.model.model
    torch.manual_seed(0)
    batch = probe.subject.training_batch([HISTORIES[1]])

    def gradients(batch):
        model.zero_grad()
        probe.subject.loss(model, batch).overall.backward()
        return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}

    one = gradients(batch)
    other = gradients({name: torch.nn.functional.pad(value, (0, 4)) for name, value in batch.items()})

    assert {name for name, _ in model.named_parameters()} - set(one) == {"transformer." + words_of(model)}
    for name, gradient in one.items():
        torch.testing.assert_close(other[name], gradient, rtol=1e-3, atol=1e-6)


def words_of(model):
    """Name of the one row of words that the transformer insists on."""
    words = model.transformer.get_input_embeddings().weight
    assert words.shape[0] == 1
    return next(name for name, parameter in model.transformer.named_parameters() if parameter is words)


@every_family
def test_an_empty_history_gets_finite_scores_alone_and_among_others(family):
    probe = probe_of(family)
    empty = np.zeros(0, dtype=np.int32)
    alone = score_histories(probe.subject, probe.model.model, [empty])
    among = score_histories(probe.subject, probe.model.model, [HISTORIES[2], empty])

    assert bool(torch.isfinite(alone).all())
    torch.testing.assert_close(among[1], alone[0], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("family", "width", "rate", "steps"),
    [*((family, 16, 1e-2, 80) for family in CAUSAL), ("modernbert", 32, 5e-3, 150), ("bert", 64, 1e-3, 250)],
)
def test_it_learns_to_count(family, width, rate, steps):
    """Item i + 1 follows item i: after a few steps the loss has fallen, and the next item comes out first."""
    torch.manual_seed(0)
    pupil = Backbone(family=family, width=width, max_length=12, dropout=0.0, masking=0.2)
    model = pupil.build(catalogue(10), Quiet()).train()
    windows = [(np.arange(10, dtype=np.int32) + start) % 10 for start in range(10)]
    optimiser = torch.optim.AdamW(model.parameters(), lr=rate)
    losses = []
    for _ in range(steps):
        optimiser.zero_grad()
        loss = pupil.loss(model, pupil.training_batch((4 if pupil.masked else 1) * windows)).overall
        loss.backward()
        optimiser.step()
        losses.append(loss.item())

    scores = score_histories(pupil, model.eval(), [window[:-1] for window in windows])

    assert np.log(10) == pytest.approx(losses[0], rel=0.15)
    assert np.mean(losses[-5:]) < losses[0] / 3
    assert [int(window[-1]) for window in windows] == scores.argmax(dim=1).tolist()


def test_training_that_goes_on_masks_the_same_items(tmp_path):
    """The last epoch's checkpoint is gone: what is trained again has the losses it had before."""
    pupil = Backbone(family="bert", layers=1, width=16, max_length=12, epochs=3, batch=8)
    windows = [np.arange(start, start + 4 + start % 8, dtype=np.int32) % ITEMS for start in range(40)]

    def history():
        torch.manual_seed(0)
        trained = train(
            pupil.build(catalogue(), Quiet()),
            lambda model, batch: pupil.loss(model, batch).overall,
            windows=windows,
            collate=pupil.training_batch,
            evaluate=lambda _: 0.5,
            settings=pupil.training(),
            folder=tmp_path,
            seed=0,
            report=Mock(),
        )
        return trained.history

    before = history()
    shutil.rmtree(tmp_path / "checkpoint-15")

    assert (tmp_path / "checkpoint-10").is_dir()
    assert before == history()
    assert (tmp_path / "checkpoint-15").is_dir()


@every_family
def test_what_is_saved_comes_back_cut_or_not(family, tmp_path):
    probe = probe_of(family)
    layered, asked = probe.model, probe.subject
    cut = layered.keep([0, 2])
    with layered.skipping([0, 2]):
        expected = score_histories(asked, layered.model, HISTORIES)

    for name, model in (("full", layered.model), ("cut", cut.model)):
        save_model(model, tmp_path / name)
        scores = score_histories(asked, model, HISTORIES)
        assert torch.equal(scores, score_histories(asked, asked.load(tmp_path / name), HISTORIES))

    assert (tmp_path / "cut" / "model.safetensors").is_file()
    torch.testing.assert_close(score_histories(asked, cut.model, HISTORIES), expected)
    assert cut.depth == 2
    assert not torch.allclose(expected, score_histories(asked, layered.model, HISTORIES), atol=1e-3)


def test_a_folder_comes_back_by_the_auto_class(tmp_path):
    probe = probe_of("qwen3")
    save_model(probe.model.model, tmp_path)

    again = AutoModel.from_pretrained(tmp_path, local_files_only=True).eval()

    assert type(again) is BackboneModel
    assert type(again.config) is BackboneConfig
    before = score_histories(probe.subject, probe.model.model, HISTORIES)
    assert torch.equal(before, score_histories(probe.subject, again, HISTORIES))


def test_the_first_layer_of_modernbert_stays():
    with pytest.raises(ModelError, match="attn_norm"):
        probe_of("modernbert").model.keep([1, 2])


@every_family
def test_scorers_see_each_example_by_itself(family):
    """Gradient norms against one backward pass an example; leave-one-out against models that really lack the layer."""
    probe = probe_of(family)
    model, asked = probe.model, probe.subject
    norms, losses, rows = [], [], probe.order
    for row in rows:
        model.model.zero_grad()
        loss = asked.loss(model.model, asked.example_batch([probe.histories[row]], probe.targets[[row]])).mean
        loss.sum().backward()
        norms.append([sum(float(p.grad.double().square().sum()) for p in la.parameters()) for la in model.layers])
        losses.append(loss.item())
    model.model.zero_grad()

    seen = list(observe(probe, frozenset({"gradient_norms"})))
    np.testing.assert_allclose(torch.cat([part.gradient_norms for part in seen]), norms, rtol=1e-3)

    layers = [1, 2, 3] if family == "modernbert" else range(4)
    without = [model.keep([i for i in range(4) if i != layer]).model for layer in layers]
    batch = asked.example_batch([probe.histories[i] for i in range(6)], probe.targets)
    with torch.no_grad():
        change = torch.stack([asked.loss(cut, batch).mean for cut in without], dim=1)
        change = change - asked.loss(model.model, batch).mean[:, None]
    table = score(LeaveOneOut(), probe)
    np.testing.assert_allclose(table[:, list(layers)], change, rtol=1e-3, atol=1e-4)
    for scorer in (Fisher(), BlockInfluence()):
        assert bool(torch.isfinite(score(scorer, probe)).all())


PRETRAINED = {
    "llama": (
        LlamaForCausalLM,
        LlamaConfig(
            **{"vocab_size": 40, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 3},
            **{"num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 32, "rms_norm_eps": 1e-5},
        ),
    ),
    "gpt2": (GPT2LMHeadModel, GPT2Config(vocab_size=40, n_embd=16, n_layer=3, n_head=2, n_positions=32)),
    "bert": (
        BertForMaskedLM,
        BertConfig(
            **{"vocab_size": 40, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 3},
            **{"num_attention_heads": 2, "max_position_embeddings": 32},
        ),
    ),
}


def checkpoint(family, folder):
    torch.manual_seed(3)
    cls, config = PRETRAINED[family]
    model = cls(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    model.save_pretrained(folder)
    return model


@pytest.mark.parametrize("family", PRETRAINED)
def test_a_pretrained_transformer_answers_as_before(family, tmp_path):
    original = checkpoint(family, tmp_path).base_model
    pupil = recommender(family, pretrained=str(tmp_path), layers=7, width=64)

    model = pupil.build(catalogue(), Quiet()).eval()

    embedded = torch.randn(2, 9, 16, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = original(inputs_embeds=embedded).last_hidden_state
        torch.testing.assert_close(model.transformer(inputs_embeds=embedded).last_hidden_state, expected)
    assert model.item_embedding.weight.shape[1] == 12
    assert sum(p.numel() for p in model.transformer.parameters()) < sum(p.numel() for p in original.parameters())
    save_model(model, tmp_path / "again")
    before = score_histories(pupil, model, HISTORIES)
    assert torch.equal(before, score_histories(pupil, pupil.load(tmp_path / "again"), HISTORIES))


def test_only_what_is_around_a_frozen_transformer_learns(tmp_path):
    checkpoint("llama", tmp_path)
    pupil = recommender("llama", pretrained=str(tmp_path), train="projections")
    model = pupil.build(catalogue(), Quiet())

    pupil.loss(model, pupil.training_batch(HISTORIES[1:])).overall.backward()

    learning = {name for name, p in model.named_parameters() if p.grad is not None}
    around = ["item_embedding.weight"] + [
        f"project_{way}.{part}" for way in ("in", "out") for part in ("weight", "bias")
    ]
    assert set(around) == learning


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"family": "qwen3"}, "is a llama, not a qwen3"),
        ({"max_length": 33}, "knows 32 positions, not 33"),
        ({"pretrained": "nowhere"}, "config.json is missing"),
    ],
)
def test_a_checkpoint_that_does_not_fit_is_refused(change, told, tmp_path):
    checkpoint("llama", tmp_path)

    with pytest.raises(ModelError, match=told):
        recommender(**{"family": "llama", "pretrained": str(tmp_path), **change}).build(catalogue(), Quiet())


def test_a_checkpoint_that_lacks_weights_or_layers_is_refused(tmp_path):
    checkpoint("llama", tmp_path)
    config = json.loads((tmp_path / "config.json").read_text("utf-8"))
    for layers in (2, 4):
        text = json.dumps({**config, "num_hidden_layers": layers})
        (tmp_path / "config.json").write_text(text, encoding="utf-8")
        with pytest.raises(ModelError, match=r"do not fit its config\.json"):
            recommender("llama", pretrained=str(tmp_path)).build(catalogue(), Quiet())


def test_pickled_weights_are_never_read(tmp_path):
    model = checkpoint("llama", tmp_path)
    (tmp_path / "model.safetensors").unlink()
    torch.save(model.state_dict(), tmp_path / "pytorch_model.bin")

    with pytest.raises(ModelError, match="cannot load the model"):
        recommender("llama", pretrained=str(tmp_path)).build(catalogue(), Quiet())


def recipe(family, compress="", **more):
    shape = {"layers": 3, "width": 16, "item_width": 12, "max_length": 12, "epochs": 1, "batch": 32, **more}
    chosen = "\n".join(f"{name} = {json.dumps(value)}" for name, value in shape.items())
    text = tiny_recipe.TEXT.replace("users = 120", "users = 60").replace("epochs = 2", "epochs = 1")
    start, end = text.index("[recommender]"), text.index("[[score]]")
    text = f'{text[:start]}[recommender]\nuse = "backbone"\nfamily = "{family}"\n{chosen}\n\n{text[end:]}'
    text = text.replace('use = "greedy"\nkeep = [2, 1]', 'use = "uniform"\nkeep = 2')
    return text.replace("[evaluate]", f"{compress}[evaluate]")


@pytest.mark.parametrize(
    "family", [family if family == "bert" else pytest.param(family, marks=pytest.mark.slow) for family in FAMILIES]
)
def test_a_recipe_drops_and_distills(family, tmp_path):
    _, events = tiny_recipe.run(tmp_path, tmp_path / "store", text=recipe(family))

    assert {"drop-2", "distill-2", "rank distill-2"} <= set(tiny_recipe.computed(events))


def test_a_recipe_quantises_a_cut_backbone(tmp_path):
    """64 wide, so that every machine decodes the 4-bit weights rightly."""
    quantise = '[[compress]]\nuse = "qlora"\nepochs = 1\n\n'
    text = recipe("llama", quantise, width=64)

    _, events = tiny_recipe.run(tmp_path, tmp_path / "store", text=text)

    assert {"drop-2", "qlora-2", "rank qlora-2"} <= set(tiny_recipe.computed(events))
    assert "unsafe-4-bit" not in str(events)
    quantised = [
        f
        for f in (tmp_path / "store" / "results").rglob("config.json")
        if "quantization_config" in f.read_text("utf-8")
    ]
    assert len(quantised) == 1
    assert (quantised[0].parent / "adapter" / "adapter_model.safetensors").is_file()


def test_layers_without_linear_maps_are_not_quantised():
    with pytest.raises(ModelError, match=r"no torch\.nn\.Linear"):
        quantise_nf4(probe_of("gpt2").model)


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ('family = "lama"', "did you mean 'llama'?"),
        ("max_length = 1", "must be at least 2"),
        ("masking = 0.0", "must be above 0"),
        ("heads = 3", "3 does not divide 64"),
        ("heads = 64", "width / heads must be even for llama, and is 1"),
        ('train = "projections"', "give `pretrained`"),
    ],
)
def test_a_bad_setting_is_a_problem_of_the_recipe(line, told, tmp_path):
    text = recipe("llama", width=64)
    name = line.split(" ")[0]
    text = "\n".join(old for old in text.split("\n") if not old.startswith(f"{name} ="))
    file = tiny_recipe.write_recipe(tmp_path, text.replace('use = "backbone"', f'use = "backbone"\n{line}'))

    _, problems = check_recipe(file)

    assert [1] == [len(problems)]
    assert told in f"{problems[0].message} {problems[0].hint}"


def test_the_settings_are_read_without_torch():
    code = "import sys, lwa_plugins.recommenders.backbone; print({'torch', 'transformers'} & set(sys.modules))"

    assert "set()\n" == subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
