"""A benchmark whose cell is a recipe of texts, beside transformers' own model with layers taken out of it."""

import copy
import itertools
import json

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import transformers
from tiny_texts import WORDS, save_text_model

from lwa_core.bench.board import leaderboard
from lwa_core.bench.cell import measure_cell
from lwa_core.bench.document import load_bench
from lwa_core.pipeline.plan import make_plan
from lwa_core.store.results import Store

RECIPE = """\
name = "texts"
task = "text"

[texts]
path = "texts.jsonl"
validation = 0.2
calibration = 0.3
test = 0.3

[model]
path = "model"

[calibration]
batch = 8
"""
BENCH = """\
name = "small"
seeds = [0]

[[cell]]
recipe = "texts.toml"

[[score]]
use = "leave-one-out"

[[score]]
use = "block-influence"

[[select]]
use = "exact"

[heal]
use = "fine-tune"
epochs = 8
batch = 8
learning_rate = 1e-2

[measure]
test = 50
healed = [0.5]
controls = 4
"""
KEPT = [kept for size in range(5) for kept in itertools.combinations(range(4), size)]


def measured(folder, name):
    rng = np.random.default_rng(0)
    starts = rng.permutation(100) % 40  # each word says what the next is
    lengths = rng.integers(6, 16, 100)
    texts = [" ".join(WORDS[(s + i) % 40] for i in range(n)) for s, n in zip(starts, lengths, strict=True)]
    rows = [{"text": text, "label": int(rng.integers(3))} for text in texts]
    (folder / "texts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    (folder / "texts.toml").write_text(RECIPE, "utf-8")
    (folder / "bench.toml").write_text(BENCH, "utf-8")
    save_text_model(name, folder / "model")
    bench, store = load_bench(folder / "bench.toml"), Store(folder / "store")
    result = measure_cell(bench, bench.cells[0], store)
    return result, make_plan(bench.cells[0].recipe).data.stored(store)


def without(model, path, kept):
    """A model that has only the layers kept."""
    smaller = copy.deepcopy(model)
    holder = smaller.get_submodule(path.rpartition(".")[0])
    layers = getattr(holder, path.rpartition(".")[2])
    setattr(holder, path.rpartition(".")[2], torch.nn.ModuleList([layers[layer] for layer in kept]))
    return smaller


def of_classes(folder, texts):
    """Subset -> loss of every text, one text at a time."""
    model = transformers.AutoModelForSequenceClassification.from_pretrained(folder / "model").eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder / "model")
    found = {}
    for kept in KEPT:
        smaller = without(model, "bert.encoder.layer", kept)
        with torch.no_grad():
            logits = [smaller(input_ids=torch.tensor([tokenizer(text.text)["input_ids"]])).logits for text in texts]
        classes = torch.tensor([text.label for text in texts])
        found[kept] = F.cross_entropy(torch.cat(logits).double(), classes, reduction="none").numpy()
    return found


def test_losses_of_a_classifier_are_those_of_layers_really_removed_on_test_texts(tmp_path):
    result, data = measured(tmp_path, "bert-classifier")
    naive = of_classes(tmp_path, data["test"])
    assert "accuracy" == result["metric"]
    assert len(data["test"]) == result["examples"]["test"]
    assert naive[0, 1, 2, 3].mean() == pytest.approx(result["teacher"]["loss"], abs=1e-5)
    for entry in result["entries"]:
        losses = [naive[tuple(kept)].mean() for kept in entry["kept"]]
        np.testing.assert_allclose(entry["loss"], losses, atol=1e-5)
        if entry["name"] in ("leave-one-out", "block-influence"):
            # Behind a norm, a block with empty branches is no identity.
            assert {"duplicate", "noise"} == set(entry["planted"])
    chance = [np.mean([naive[kept] for kept in KEPT if len(kept) == size]) for size in (3, 2)]
    exact = next(entry for entry in result["entries"] if entry["name"] == "exact")
    assert exact["gain"]["mean"] == pytest.approx(np.mean(chance) - np.mean(exact["loss"]), abs=1e-5)


def test_a_language_model_is_compared_in_perplexity(tmp_path):
    result, _ = measured(tmp_path, "llama")
    assert "perplexity" == result["metric"]
    assert {"identity", "duplicate", "noise"} == set(result["entries"][0]["planted"])
    board = {row.name: row for row in leaderboard([result])}
    for name in ("leave-one-out", "block-influence", "exact"):
        (healed,) = next(entry for entry in result["entries"] if entry["name"] == name)["healed"]
        assert board[name].cut == (pytest.approx(healed["cut"] / result["teacher"]["perplexity"]),)
        assert healed["healed"] < healed["cut"]
