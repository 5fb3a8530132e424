from __future__ import annotations

import errno
import json
import os
import re
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import transformers
from click.testing import CliRunner
from text_scores import tables
from tiny_texts import MODELS, SIZES, save_text_model, save_tokenizer, some_texts

from lwa_core.cli import main
from lwa_core.errors import DataError, ModelError
from lwa_core.modeling.layers.layered import LayeredModel
from lwa_core.plugins.registry import Registry
from lwa_core.text.examples import by_text, make_examples
from lwa_core.text.loading import load_text_model
from lwa_core.text.reading import Text
from lwa_core.types import LayerScores

FILE = Path("texts.jsonl")
TEXTS = [Text(text, place % 3, place + 1) for place, text in enumerate(some_texts())]
SCORERS = [o.name for o in Registry.discover().components("scorer") if o.provider.name == "lwa-builtins"]


@pytest.fixture(autouse=True)
def store_of_its_own(tmp_path, monkeypatch):
    monkeypatch.setenv("LWA_STORE", str(tmp_path / "store"))


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("models")
    return {name: save_text_model(name, root / name) for name in MODELS}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    file = tmp_path_factory.mktemp("data") / "texts.jsonl"
    file.write_text("".join(json.dumps({"text": t.text, "label": t.label}) + "\n" for t in TEXTS), "utf-8")
    return file


def lwa(*arguments: Any):
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def own_losses(model: Any, task: str, examples) -> list[torch.Tensor]:
    """Loss of every example by the model's own forward pass, one at a time and without padding."""
    losses = []
    for history, target in zip(examples.histories, examples.targets, strict=True):
        ids = torch.from_numpy(history.astype(np.int64))[None]
        logits = model(input_ids=ids).logits[0]
        if task != "classify":
            logits = logits[-1] if task == "causal" else logits[history.tolist().index(4)]
        losses.append(F.cross_entropy(logits, torch.tensor(target)))
    return losses


# Scores against what they stand for

UNSEEN = ("fnet", "convbert")
"""Families that refuse some scorers in words: they have no such attention, or no such linear maps."""

UNCUT = ("gemma4",)
"""Of which no configuration says what is left: the layers that make keys and those that use them must be of the same
types. `test_whole_passes.py` asks it with layers skipped."""


@pytest.mark.parametrize("name", [name for name in MODELS if name not in UNCUT])
def test_leave_one_out_is_the_difference_to_models_that_were_really_cut(folders, name):
    task = MODELS[name][1]
    asked = load_text_model(folders[name])
    examples = make_examples(asked, TEXTS, FILE)
    with torch.no_grad():
        full = torch.stack(own_losses(asked.model, task, examples))
        layered = LayeredModel(asked.model)
        cut = [layered.keep([i for i in range(4) if i != gone]).model.eval() for gone in range(4)]
        expected = [torch.stack(own_losses(model, task, examples)) - full for model in cut]
    scores = tables(asked, examples, "leave-one-out")["leave-one-out"]
    np.testing.assert_allclose(scores.samples, torch.stack(expected, dim=1).numpy(), atol=2e-5)
    assert np.abs(scores.samples).max() > 0.01


@pytest.mark.parametrize("name", MODELS)
def test_fisher_is_that_of_a_loop_over_examples(folders, name):
    asked = load_text_model(folders[name])
    examples = make_examples(asked, TEXTS, FILE)
    weights = [list(layer.parameters()) for layer in LayeredModel(asked.model).layers]
    rows = []
    for loss in own_losses(asked.model, MODELS[name][1], examples):
        gradients = torch.autograd.grad(loss, [w for layer in weights for w in layer])
        squares = iter([float(gradient.double().square().sum()) for gradient in gradients])
        rows.append([sum(next(squares) for _ in layer) for layer in weights])
    scores = tables(asked, examples, "fisher")["fisher"]
    np.testing.assert_allclose(scores.samples, np.array(rows), rtol=1e-3, atol=1e-9)


@pytest.mark.parametrize("name", ["llama", "bert", "roberta-classifier"])
def test_states_are_taken_where_the_target_is_asked_for(folders, name):
    asked = load_text_model(folders[name])
    examples = make_examples(asked, TEXTS, FILE)
    rows = []
    for history in examples.histories:
        ids = torch.from_numpy(history.astype(np.int64))[None]
        place = history.tolist().index(4) if name == "bert" else len(history) - 1 if name == "llama" else 0
        layered = LayeredModel(asked.model)
        with torch.no_grad(), layered.observe() as states:
            asked.model(input_ids=ids)
        at = [state[0, place].double() for state in states]
        cosines = torch.stack([torch.cosine_similarity(a, b, dim=0) for a, b in pairwise(at)])
        rows.append((cosines.clamp(-1, 1).arccos() / torch.pi).numpy())
    scores = tables(asked, examples, "angular")["angular"]
    np.testing.assert_allclose(scores.samples, np.array(rows), atol=1e-4)


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(n, marks=[] if n in {"gpt2", "roberta-classifier"} else pytest.mark.slow)
        for n in MODELS
        if n not in UNSEEN
    ],
)
def test_every_scorer_runs(folders, name):
    asked = load_text_model(folders[name])
    few = ["conductance.steps=4", "shapley.pairs=4", "kernel-shap.pairs=8", "hutchinson.draws=2", "laplace.draws=1"]
    examples = make_examples(asked, TEXTS, FILE)
    found = tables(asked, examples, *SCORERS, settings=few, training_targets=100, batch=9)
    assert [*found] == SCORERS
    assert all(np.isfinite(scores.samples).all() and scores.depth == 4 for scores in found.values())


def test_laplace_says_what_it_needs(folders, data):
    done = lwa("score", "--model", folders["gpt2"], "--data", data, "--scorer", "laplace")
    assert 1 == done.exit_code
    assert "needs the number of training targets" in done.stderr


def test_a_scorer_draws_by_the_seed_whatever_else_is_asked(folders):
    asked = load_text_model(folders["llama"])
    examples = make_examples(asked, TEXTS, FILE)
    settings = ["shapley.pairs=3"]
    alone = tables(asked, examples, "shapley", settings=settings)["shapley"]
    beside = tables(asked, examples, "random", "leave-one-out", "shapley", settings=settings)["shapley"]
    other = tables(asked, examples, "shapley", settings=settings, seed=1)["shapley"]
    np.testing.assert_array_equal(alone.samples, beside.samples)
    assert (alone.samples != other.samples).any()


def test_the_size_of_batches_changes_no_score(folders):
    asked = load_text_model(folders["bert"])
    examples = make_examples(asked, TEXTS, FILE)
    one, all_ = (tables(asked, examples, "leave-one-out", batch=size)["leave-one-out"] for size in (1, 64))
    np.testing.assert_allclose(one.samples, all_.samples, atol=1e-5)


@pytest.mark.parametrize("name", ["llama", "bert"])
def test_half_precision(tmp_path, folders, name):
    whole = load_text_model(folders[name])
    half = load_text_model(save_text_model(name, tmp_path, torch.bfloat16))
    examples = make_examples(whole, TEXTS, FILE)
    half.check(examples.histories)
    assert torch.bfloat16 == next(half.model.parameters()).dtype
    expected, found = (tables(each, examples, "leave-one-out")["leave-one-out"] for each in (whole, half))
    np.testing.assert_allclose(found.samples, expected.samples, atol=0.1)


# Examples


@pytest.mark.parametrize("name", ["llama", "bert"])
def test_examples_of_language_models(folders, name):
    asked = load_text_model(folders[name])
    examples = make_examples(asked, TEXTS, FILE, cuts=3, seed=5)
    assert [3 if len(t.text.split()) > 3 or name == "bert" else 2 for t in TEXTS] == np.bincount(
        examples.groups
    ).tolist()
    seen = set()
    for history, target, group in zip(examples.histories, examples.targets, examples.groups, strict=True):
        words = asked.tokenizer(TEXTS[group].text)["input_ids"]
        place = len(history) if name == "llama" else history.tolist().index(4)
        if name == "llama":
            assert (words[:place], words[place]) == (history.tolist(), target)
        else:
            assert words == [*history[:place], target, *history[place + 1 :]]
        seen.add((group, place))
    assert len(examples.groups) == len(seen)


def test_the_cuts_of_a_text_depend_on_its_line_and_the_seed_alone(folders):
    asked = load_text_model(folders["llama"])
    whole, part = make_examples(asked, TEXTS, FILE), make_examples(asked, TEXTS[4:], FILE)
    assert [h.tolist() for h in whole.histories[4:]] == [h.tolist() for h in part.histories]
    other = make_examples(asked, TEXTS, FILE, seed=1)
    assert [h.tolist() for h in whole.histories] != [h.tolist() for h in other.histories]


def test_long_texts_lose_their_end(folders):
    long = [Text(" ".join(["w1"] * 100), 0, 1)]
    for name, longest in {"llama": 31, "bert": 32, "roberta-classifier": 32}.items():
        asked = load_text_model(folders[name])
        examples = make_examples(asked, long, FILE, cuts=200, length=1000)
        assert longest == max(map(len, examples.histories))
        asked.check(examples.histories[:2])
        assert all(len(h) <= 9 for h in make_examples(asked, long, FILE, length=9).histories)


def test_labels_go_by_name_or_number(folders):
    asked = load_text_model(folders["bert-classifier"])
    asked.model.config.label2id = {"bad": 0, "2": 1, "good": 2}
    labels = ["good", 0, "2", "0", 2]
    texts = [Text("w1 w2", label, 1) for label in labels]
    assert [2, 0, 1, 0, 2] == make_examples(asked, texts, FILE).targets.tolist()
    for odd in ("fine", 3, -1, "7"):
        with pytest.raises(DataError, match=r"texts\.jsonl:8: unknown label .*\n.*the model knows: bad, 2, good"):
            make_examples(asked, [Text("w1", odd, 8)], FILE)


def test_texts_without_a_token_to_ask_for(folders):
    with pytest.raises(DataError, match=r"texts\.jsonl:7: the text has no token that follows another"):
        make_examples(load_text_model(folders["llama"]), [Text("w1", None, 7)], FILE)
    with pytest.raises(DataError, match=r"texts\.jsonl:7: the text holds \[MASK\] itself"):
        make_examples(load_text_model(folders["bert"]), [Text("w1 [MASK]", None, 7)], FILE)


@pytest.mark.parametrize("sizes", [[3, 3, 3], [1, 4, 2, 2]])
def test_rows_of_a_text_are_put_together(sizes):
    groups = np.repeat(np.arange(len(sizes)), sizes)
    samples = np.random.default_rng(0).normal(size=(len(groups), 2))
    found = by_text(LayerScores("s", samples), groups)
    mean = samples.mean(axis=0)
    sums = np.array([(samples[groups == group] - mean).sum(axis=0) for group in range(len(sizes))])
    error = np.sqrt(len(sizes) / (len(sizes) - 1) * (sums**2).sum(axis=0)) / len(groups)
    np.testing.assert_allclose(found.mean, mean)
    np.testing.assert_allclose(found.standard_error, error)
    assert len(sizes) == found.count


# Models that are refused


def saved(folder: Path, cls: str, **config: Any) -> Path:
    maker: Any = getattr(transformers, cls)
    maker(maker.config_class(**config)).save_pretrained(folder)
    save_tokenizer(folder, specials=False)
    return folder


def test_a_head_that_caps_its_logits_is_refused(tmp_path):
    sizes = {**SIZES, "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 8}
    asked = load_text_model(saved(tmp_path, "Gemma2ForCausalLM", **sizes, final_logit_softcapping=0.01))
    with pytest.raises(ModelError, match="are not those of its last linear map, lm_head"):
        asked.check(make_examples(asked, TEXTS, FILE).histories[:2])


def test_a_model_that_answers_nan_is_refused_as_such(tmp_path):
    save_text_model("gpt2", tmp_path / "gpt2")
    asked = load_text_model(tmp_path / "gpt2")
    with torch.no_grad():
        asked.model.get_submodule("transformer.h.1.mlp.c_proj").bias.fill_(torch.nan)

    with pytest.raises(ModelError, match="logits of GPT2LMHeadModel are NaN for 1 of 1 texts"):
        asked.check([np.array([1, 2, 3], dtype=np.int32)])


def test_a_causal_classifier_that_knows_no_padding_takes_one_text_at_a_time(tmp_path):
    sizes = {**SIZES, "num_attention_heads": 2, "num_key_value_heads": 1, "num_labels": 3}
    asked = load_text_model(saved(tmp_path, "LlamaForSequenceClassification", **sizes))
    histories = make_examples(asked, TEXTS, FILE).histories
    asked.check(histories[:1])
    with pytest.raises(ModelError, match=r"(?s)cannot be called with these texts.*--batch 1"):
        asked.check(histories[:2])


def test_other_models_are_refused(tmp_path, folders):
    with pytest.raises(ModelError, match=r"config\.json is missing"):
        load_text_model(tmp_path)
    t5 = {"vocab_size": 45, "d_model": 16, "d_ff": 16, "d_kv": 8, "num_layers": 1, "num_heads": 2}
    with pytest.raises(ModelError, match="T5ForConditionalGeneration is no causal"):
        load_text_model(saved(tmp_path / "t5", "T5ForConditionalGeneration", **t5))
    sizes = {**SIZES, "num_attention_heads": 2, "num_labels": 1}
    with pytest.raises(ModelError, match="no classifier of texts with one label"):
        load_text_model(saved(tmp_path / "regression", "BertForSequenceClassification", **sizes))
    with pytest.raises(ModelError, match=r"the weights in .* do not fit"):
        load_text_model(folders["bert"], "classify")


def test_only_safetensors_and_no_remote_code(tmp_path):
    folder = save_text_model("gpt2", tmp_path)
    config = json.loads((folder / "config.json").read_text("utf-8"))
    (folder / "evil.py").write_text("raise SystemExit('ran')", "utf-8")
    remote = {**config, "model_type": "evil", "auto_map": {"AutoConfig": "evil.C", "AutoModelForCausalLM": "evil.M"}}
    (folder / "config.json").write_text(json.dumps(remote), "utf-8")
    with pytest.raises(ModelError, match="cannot load the model"):
        load_text_model(folder)
    (folder / "config.json").write_text(json.dumps(config), "utf-8")
    torch.save(load_text_model(folder).model.state_dict(), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    with pytest.raises(ModelError, match="cannot load the model"):
        load_text_model(folder)


def test_no_tokenizer(tmp_path):
    folder = save_text_model("gpt2", tmp_path)
    for file in folder.glob("token*"):
        file.unlink()
    with pytest.raises(ModelError, match="no tokenizer in"):
        load_text_model(folder)


def test_weights_that_are_not_used_are_told(tmp_path):
    sizes = {**SIZES, "num_attention_heads": 2, "pad_token_id": 0}
    folder = saved(tmp_path, "BertForPreTraining", **sizes)
    config = json.loads((folder / "config.json").read_text("utf-8"))
    (folder / "config.json").write_text(json.dumps({**config, "architectures": ["BertForMaskedLM"]}), "utf-8")
    told: list[str] = []
    load_text_model(folder, note=told.append)
    assert 1 == len(told)
    assert "cls.seq_relationship.weight" in told[0]
    with pytest.raises(ModelError, match="seq_relationship"):
        load_text_model(folder)


# The command


def test_the_command_prints_a_table(folders, data):
    done = lwa("score", "--model", folders["llama"], "--data", data, "--keep", 2, "--cuts", 2)
    assert 0 == done.exit_code
    assert ["few-calibration-examples"] == re.findall(r"warning\[(.*?)\]", done.stderr)
    lines = done.stdout.splitlines()
    assert "LlamaForCausalLM (causal): 4 layers, model.layers" == lines[0]
    assert lines[1].startswith("18 examples of 9 texts; mean ± standard error")
    assert ["layer", "leave-one-out", "[utility]", "#", "block-influence"] == lines[3].split()[:5]
    assert ["0", "1", "2", "3"] == [line.split()[0] for line in lines[4:8]]
    assert "leave-one-out: 9 samples, 2.5 passes, stability" in done.stdout
    assert lines[-1].startswith("keep layers ")


def test_the_command_as_json(folders, data):
    done = lwa(
        *("score", "--model", folders["bert-classifier"], "--data", data, "--json", "--scorer", "shapley"),
        *("--scorer", "borda", "--set", "shapley.pairs=5", "--examples", 7, "--keep", 3),
    )
    told = json.loads(done.stdout)
    assert ("classify", 4, 7, 7) == (told["task"], told["depth"], told["texts"], told["examples"])
    shapley, borda = told["scorers"]
    assert (5, 5) == (shapley["settings"]["pairs"], shapley["samples"])
    assert {"sum", "all_layers_together"} <= set(shapley["facts"])
    assert np.argsort(shapley["mean"]).tolist() == shapley["order"] == borda["order"]
    assert (sorted(shapley["order"][1:]), "shapley") == (told["kept"], told["by"])


@pytest.mark.parametrize("name", ["gpt2", "distilbert", "roberta-classifier"])
def test_a_saved_model_loads_and_answers_as_the_one_that_skips(folders, data, tmp_path, name):
    target = tmp_path / "cut"
    common = ("score", "--data", data, "--json")
    told = json.loads(lwa(*common, "--model", folders[name], "--keep", 2, "--save", target).stdout)
    assert str(target) == told["saved"]
    cls: Any = getattr(transformers, MODELS[name][0])
    cut, full = cls.from_pretrained(target).eval(), cls.from_pretrained(folders[name]).eval()
    ids = torch.tensor([[2, 7, 8, 9, 3]])
    with torch.no_grad(), LayeredModel(full).skipping(told["kept"]):
        torch.testing.assert_close(cut(input_ids=ids).logits, full(input_ids=ids).logits)
    again = json.loads(lwa(*common, "--model", target).stdout)  # with the tokenizer that was saved beside it
    assert 2 == again["depth"]


def test_what_stands_where_a_model_is_to_be_saved_is_left_alone_and_a_full_disk_leaves_nothing(
    folders, data, tmp_path, monkeypatch
):
    common = ("score", "--data", data, "--model", folders["gpt2"], "--keep", 2, "--save")
    (tmp_path / "mine").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "mine")
    for place, words in (("link", "is there already"), ("..", "is not empty")):
        done = lwa(*common, tmp_path / place)
        assert (7, True) == (done.exit_code, words in done.stderr), done.output

    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(transformers.PreTrainedTokenizerFast, "save_pretrained", full)
    done = lwa(*common, tmp_path / "cut")

    assert (7, True) == (done.exit_code, "no space left" in done.stderr), done.output
    assert {"link", "mine", "store"} == {path.name for path in tmp_path.iterdir()}
    assert [] == list((tmp_path / "mine").iterdir())


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--save", "x"], 2, "--save needs --keep"),
        (["--keep", "5"], 1, "cannot keep 5 of 4 layers"),
        (["--scorer", "fischer"], 3, "did you mean 'fisher'?"),
        (["--set", "leave-one-out.pears=1"], 3, "unknown setting 'pears' for scorer 'leave-one-out'"),
        (["--set", "fisher.per=layer"], 3, "no entry of 'score' is called 'fisher'"),
        (["--set", "fisher"], 3, "write --set scorer.key=value"),
        (["--scorer", "borda"], 3, "there is no other scorer to combine"),
        (["--text-column", "body"], 5, "texts.jsonl:1: no 'body'"),
        (["--keep", "2", "--save", "."], 7, "is not empty"),
        (["--task", "masked"], 6, "cannot load the model"),
    ],
)
def test_mistakes(folders, data, arguments, code, said, monkeypatch):
    monkeypatch.chdir(data.parent)
    done = lwa("score", "--model", folders["llama"], "--data", data, *arguments)
    assert (code, True, "") == (done.exit_code, said in done.stderr, done.stdout), done.output
