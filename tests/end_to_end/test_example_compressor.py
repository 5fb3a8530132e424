"""The example of a compressor that replaces modules: as a local file of a recipe, from `lwa run` to `lwa recommend`."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from tiny_recipe import TEXT, run
from tiny_texts import WORDS, save_text_model, some_texts

import lwa_core
from lwa_core import ModelError, PluginError
from lwa_core.cli import main

EXAMPLE = Path(__file__).parents[2] / "examples" / "third_party_compressor" / "lwa_low_rank.py"

HEAD, _, REST = TEXT.replace("keep = [2, 1]", "keep = 2").partition("[[compress]]")
STEPS = '[[compress]]\nuse = "low-rank"\nrank = 4\n\n[[compress]]\nuse = "fine-tune"\nepochs = 1\n\n'
RECIPE = 'plugins = ["./lwa_low_rank.py"]\n' + HEAD + STEPS + REST[REST.index("[evaluate]") :]

TEXTS = """\
name = "texts"
task = "text"
plugins = ["./lwa_low_rank.py"]

[texts]
path = "texts.jsonl"

[model]
path = "{model}"

[[score]]
use = "block-influence"

[select]
use = "uniform"
keep = 2

[[compress]]
use = "low-rank"
rank = 4

[[compress]]
use = "fine-tune"
epochs = 1

[evaluate]
bootstrap = 100
requests = 0
memory = false
"""


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    base = tmp_path_factory.mktemp("low-rank")
    shutil.copy(EXAMPLE, base)
    folder, _ = run(base, base / "store", text=RECIPE)
    return folder


def factors(model) -> list:
    return [module for module in model.modules() if type(module) is torch.nn.Sequential]


@pytest.mark.parametrize("name", ["low-rank-2", "fine-tune-2"])
def test_a_student_of_a_local_file_is_loaded_with_it(finished, name):
    ranker = lwa_core.load(finished, name, plugins=[EXAMPLE])
    assert {4} == {pair[0].out_features for pair in factors(ranker.model)}
    assert 2 * 6 == len(factors(ranker.model))  # layers, linear maps of each
    assert 3 == len(ranker.recommend(ranker.catalogue.ids[:4], k=3).items)


def test_without_the_file_the_error_says_which_one_to_give(finished):
    with pytest.raises(PluginError) as caught:
        lwa_core.load(finished, "low-rank-2")
    assert "no compressor is called 'low-rank'" in caught.value.message
    assert "local file lwa_low_rank.py" in caught.value.hint
    assert "lwa_core.load(..., plugins=['lwa_low_rank.py'])" in caught.value.hint


def test_the_command_line_recommends_with_it(finished):
    ranker = lwa_core.load(finished, plugins=[EXAMPLE])
    history = ranker.catalogue.ids[:3]
    asked = ["recommend", str(finished), "--history", ",".join(history), "-k", "2", "--json"]
    done = CliRunner().invoke(main, [*asked, "--plugin", str(EXAMPLE)])
    assert (0, list(ranker.recommend(history, k=2).items)) == (done.exit_code, json.loads(done.stdout)["items"])
    without = CliRunner().invoke(main, asked)
    assert (PluginError.exit_code, True) == (without.exit_code, "--plugin lwa_low_rank.py" in without.stderr)


def test_a_file_that_cannot_be_used_is_named(finished, tmp_path):
    with pytest.raises(PluginError, match=r"the plugin .*missing.py is broken: cannot be read"):
        lwa_core.load(finished, plugins=[tmp_path / "missing.py"])


@pytest.mark.parametrize("name", ["llama", pytest.param("bert-classifier", marks=pytest.mark.slow)])
def test_models_of_texts_are_restored_too(tmp_path, name):
    shutil.copy(EXAMPLE, tmp_path)
    model = save_text_model(name, tmp_path / "model")
    labels = np.random.default_rng(0).integers(0, 3, 40).tolist()
    lines = [json.dumps({"text": t, "label": n}) for t, n in zip(some_texts(40), labels, strict=True)]
    (tmp_path / "texts.jsonl").write_text("\n".join(lines), encoding="utf-8")
    folder, _ = run(tmp_path, tmp_path / "store", text=TEXTS.format(model=model.name))

    student = lwa_core.load_text(folder, "low-rank-2", plugins=[EXAMPLE])
    healed = lwa_core.load_text(folder, plugins=[EXAMPLE])

    assert len(factors(student.model)) == len(factors(healed.model)) > 0
    assert not torch.equal(factors(student.model)[0][0].weight, factors(healed.model)[0][0].weight)
    assert 2 == len(healed.answer([" ".join(WORDS[:3]), WORDS[4]], 16))
    with pytest.raises(PluginError, match="no compressor is called 'low-rank'"):
        lwa_core.load_text(folder, "low-rank-2")
    with pytest.raises(ModelError, match="holds a model of texts"):
        lwa_core.load(folder)
