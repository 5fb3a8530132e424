"""`backbone` with `train = "lora"`: fitted with adapters, kept without; the checkpoint in 4 bits while it is fitted."""

import json
import shutil
from unittest.mock import Mock

import numpy as np
import pytest
import tiny_recipe
import torch
from transformers import LlamaConfig, LlamaForCausalLM, Qwen3Config, Qwen3Model

from lwa_core import Catalogue
from lwa_core.data import Examples, PreparedData
from lwa_core.recipe.reader import check_recipe
from lwa_core.recommendation.fitting import fit_model, score_histories
from lwa_core.store.files import read_json
from lwa_core.types import Quiet
from lwa_plugins.recommenders.backbone import Backbone
from lwa_plugins.recommenders.backbone.model import BackboneModel

ITEMS = 30
SHAPE = {"vocab_size": 40, "hidden_size": 64, "intermediate_size": 64, "num_hidden_layers": 3}
SHAPE |= {"num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 32}


def checkpoint(folder, family="llama"):
    torch.manual_seed(3)
    if family == "llama":
        model = LlamaForCausalLM(LlamaConfig(**SHAPE))
    else:
        model = Qwen3Model(Qwen3Config(**SHAPE, head_dim=16))
    model.save_pretrained(folder)
    return str(folder)


def some_data():
    """Item i + 1 follows item i; the last two items of each user are for validation and test."""
    starts = np.arange(40) % ITEMS
    lengths = 5 + np.arange(40) % 4
    items = np.concatenate([(start + np.arange(n)) % ITEMS for start, n in zip(starts, lengths, strict=True)])
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    ends, users = offsets[1:], np.arange(40)
    return PreparedData(
        Catalogue(ids=tuple(map(str, range(ITEMS)))),
        tuple(map(str, users)),
        items.astype(np.int32),
        offsets,
        ends - 2,
        validation=Examples(users[::2], ends[::2] - 2),
        calibration=Examples(users[1::2], ends[1::2] - 2),
        test=Examples(users, ends - 1),
    )


def fitted(pupil, folder):
    return fit_model(pupil, some_data(), folder=folder, seed=0, filter_seen=False, report=Mock())


def pupil_of(pretrained, **more):
    how = {"item_width": 12, "max_length": 12, "dropout": 0.0, "epochs": 2, "batch": 8, "rank": 4, "train": "lora"}
    return Backbone(pretrained=pretrained, **{**how, **more})


@pytest.mark.parametrize(
    ("family", "four_bit"), [("llama", False), ("llama", True), pytest.param("qwen3", True, marks=pytest.mark.slow)]
)
def test_a_fitted_model_is_a_plain_one_that_moved_by_few_ranks(family, four_bit, tmp_path):
    pupil = pupil_of(checkpoint(tmp_path / "checkpoint", family), family=family, four_bit=four_bit)

    model, trained = fitted(pupil, tmp_path / "work")

    assert type(model) is BackboneModel
    assert [1, 2] == [entry["epoch"] for entry in trained.history]
    untrained = pupil.build(some_data().catalogue, Quiet())
    for name, module in model.named_modules():
        if ".layers." not in name or type(module) is not torch.nn.Linear:
            continue
        moved = (module.weight - untrained.get_submodule(name).weight).detach().double()
        values = torch.linalg.svdvals(moved)
        assert float(values[0]) > 1e-4
        if not four_bit:  # there the rounding to 4 bits, of full rank, is in it
            assert float(values[4]) < 1e-5 * float(values[0])
    norms = [name for name, _ in model.named_parameters() if "norm" in name]
    assert norms
    for name in norms:
        assert torch.equal(model.get_parameter(name), untrained.get_parameter(name))


def test_fitting_that_goes_on_ends_as_it_would_have(tmp_path):
    """The last checkpoint of adapters, item embeddings and projections is gone: what is fitted again is the same."""
    pupil = pupil_of(checkpoint(tmp_path / "checkpoint"), epochs=3)
    history = [np.arange(4, dtype=np.int32)]
    model, trained = fitted(pupil, tmp_path / "work")
    before = score_histories(pupil, model, history)
    steps = sorted(int(path.name.removeprefix("checkpoint-")) for path in (tmp_path / "work").glob("checkpoint-*"))
    last = tmp_path / "work" / f"checkpoint-{steps[-1]}"
    assert (last / "adapter_model.safetensors").is_file()
    assert not (last / "model.safetensors").exists()
    shutil.rmtree(last)

    again, trained_again = fitted(pupil, tmp_path / "work")

    assert trained.history == trained_again.history
    assert torch.equal(before, score_histories(pupil, again, history))


def recipe(checkpoint, line):
    text = tiny_recipe.TEXT.replace("users = 120", "users = 60").replace("epochs = 2", "epochs = 1")
    start, end = text.index("[recommender]"), text.index("[[score]]")
    told = "item_width = 12\nmax_length = 12\nepochs = 1\nbatch = 32\nrank = 2"
    recommender = f'[recommender]\nuse = "backbone"\npretrained = {json.dumps(checkpoint)}\n{line}\n{told}\n\n'
    return (text[:start] + recommender + text[end:]).replace(
        'use = "greedy"\nkeep = [2, 1]', 'use = "uniform"\nkeep = 2'
    )


def test_a_recipe_fits_in_four_bits_and_scores_cuts_and_distills_the_plain_model(tmp_path):
    text = recipe(checkpoint(tmp_path / "checkpoint"), 'train = "lora"\nfour_bit = true')

    folder, events = tiny_recipe.run(tmp_path, tmp_path / "store", text=text)

    assert {"teacher", "score fisher", "drop-2", "distill-2", "rank distill-2"} <= set(tiny_recipe.computed(events))
    assert "unsafe-4-bit" not in str(events)
    teacher = folder / "models" / "teacher"
    assert not (teacher / "adapter").exists()
    assert "quantization_config" not in read_json(teacher / "config.json")
    assert [0, 2] == read_json(folder / "metrics.json")["plan"]["tiers"][0]


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ('train = "lora"\nfamily = "gpt2"', "does not take gpt2"),
        ("four_bit = true", "needs train = 'lora'"),
        ('train = "lora"\npretrained = ""', "give `pretrained`"),
    ],
)
def test_settings_that_do_not_go_together_are_a_problem_of_the_recipe(line, told, tmp_path):
    text = recipe("somewhere", line)
    if "pretrained" in line:
        text = text.replace('pretrained = "somewhere"\n', "")
    _, problems = check_recipe(tiny_recipe.write_recipe(tmp_path, text))

    assert [1] == [len(problems)]
    assert told in f"{problems[0].message} {problems[0].hint}"
