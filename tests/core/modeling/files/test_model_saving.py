"""What is saved comes back with exactly the same scores, whatever was done to the model, or not at all."""

import json
import shutil

import bitsandbytes.functional as bnb
import four_bit
import numpy as np
import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file

from lwa_core import LayeredModel, ModelError
from lwa_core.modeling.files.quantisation import quantise_nf4
from lwa_core.modeling.files.saving import save_model
from lwa_core.recommendation.fitting import score_histories
from lwa_core.testing import tiny_probe, tiny_recommender

HISTORIES = [np.array(history, dtype=np.int32) for history in ([3], [1, 2, 3, 4], [29] * 20, [])]
RECOMMENDER = tiny_recommender(width=64, layers=3)


def full():
    return tiny_probe(RECOMMENDER).model.model


def cut():
    return LayeredModel(full()).keep([0, 2]).model


def quantised():
    return quantise_nf4(LayeredModel(cut()))[0].eval()


def adapted(base=None):
    base = quantised() if base is None else base
    model = get_peft_model(base, LoraConfig(r=4, target_modules=r"blocks\..*_proj"))
    torch.manual_seed(1)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_" in name:
                parameter.copy_(0.1 * torch.randn_like(parameter))
    return model.eval()


def adapted_full():
    return adapted(cut())


def half_quantised():
    """Some layers in four bits, the others not, as on a machine that would decode those wrongly."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bnb, "dequantize_4bit", four_bit.faulty)
        return quantise_nf4(tiny_probe(tiny_recommender(width=16, layers=2)).model)[0].eval()


MADE = [full, cut, quantised, half_quantised, adapted, adapted_full]


def scores(model):
    return score_histories(RECOMMENDER, model, HISTORIES)


@pytest.fixture
def saved(tmp_path):
    save_model(full(), tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def saved_adapter(tmp_path_factory):
    folder = tmp_path_factory.mktemp("adapted")
    save_model(adapted_full(), folder)
    return folder


@pytest.mark.parametrize("make", MADE)
def test_comes_back_with_the_same_scores(tmp_path, make):
    model = make()
    expected = scores(model)

    save_model(model, tmp_path / "model")
    loaded = RECOMMENDER.load(tmp_path / "model")

    assert torch.equal(expected, scores(loaded))
    assert torch.equal(expected, scores(model))  # saving changed nothing
    assert not any(module.training for module in loaded.modules())


@pytest.mark.parametrize("make", MADE)
def test_what_was_loaded_is_saved_again_to_the_same_scores(tmp_path, make):
    model = make()
    save_model(model, tmp_path / "first")
    save_model(RECOMMENDER.load(tmp_path / "first"), tmp_path / "second")

    assert torch.equal(scores(model), scores(RECOMMENDER.load(tmp_path / "second")))


@pytest.mark.parametrize("make", MADE)
def test_holds_json_and_safetensors_and_no_path_of_this_machine(tmp_path, make):
    save_model(make(), tmp_path)

    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert {path.suffix for path in files} == {".json", ".safetensors"}
    for path in files:
        content = path.read_bytes()
        assert b"/tmp" not in content
        assert str(tmp_path.parent).encode() not in content


def test_an_adapter_is_saved_beside_its_base(tmp_path):
    model = adapted()

    save_model(model, tmp_path)

    loaded = RECOMMENDER.load(tmp_path)
    assert isinstance(loaded, PeftModel)
    config = json.loads((tmp_path / "adapter" / "adapter_config.json").read_text())
    assert not config["base_model_name_or_path"]
    assert not [name for name in load_file(tmp_path / "model.safetensors") if "lora" in name]
    base = RECOMMENDER.load(without_adapter(tmp_path))
    assert not torch.equal(scores(base), scores(model))


def without_adapter(folder):
    for path in (folder / "adapter").iterdir():
        path.unlink()
    (folder / "adapter").rmdir()
    return folder


def edit(file, change):
    weights = load_file(file)
    change(weights)
    save_file(weights, file, metadata={"format": "pt"})


def drop_one(weights):
    del weights["blocks.1.up_proj.weight"]


def add_one(weights):
    weights["blocks.3.up_proj.weight"] = weights["blocks.1.up_proj.weight"].clone()


def reshape_one(weights):
    weights["blocks.1.up_proj.weight"] = torch.zeros(3, 64)


def rename_one(weights):
    weights["blocks.1.up.weight"] = weights.pop("blocks.1.up_proj.weight")


@pytest.mark.parametrize("change", [drop_one, add_one, reshape_one, rename_one])
def test_weights_that_do_not_fit_are_refused(saved, change):
    """transformers would go on: with random numbers, or without what is left over."""
    edit(saved / "model.safetensors", change)

    with pytest.raises(ModelError, match=r"blocks\.[13]\.up"):
        RECOMMENDER.load(saved)


@pytest.mark.parametrize("change", [{"num_hidden_layers": 2}, {"num_hidden_layers": 4}, {"items": 31}])
def test_a_configuration_that_does_not_fit_is_refused(saved, change):
    config = json.loads((saved / "config.json").read_text())
    (saved / "config.json").write_text(json.dumps({**config, **change}))

    with pytest.raises(ModelError):
        RECOMMENDER.load(saved)


@pytest.mark.parametrize("share", [0, 0.001, 0.5, 0.999])
def test_cut_off_weights_are_refused(saved, share):
    content = (saved / "model.safetensors").read_bytes()
    (saved / "model.safetensors").write_bytes(content[: int(share * len(content))])

    with pytest.raises(ModelError, match="cannot load the model in"):
        RECOMMENDER.load(saved)


def test_missing_weights_are_refused(saved):
    (saved / "model.safetensors").unlink()

    with pytest.raises(ModelError, match="cannot load the model in"):
        RECOMMENDER.load(saved)


def test_weights_in_a_pickle_are_not_looked_at(saved):
    weights = load_file(saved / "model.safetensors")
    (saved / "model.safetensors").unlink()
    torch.save(weights, saved / "pytorch_model.bin")

    with pytest.raises(ModelError, match="cannot load the model in"):
        RECOMMENDER.load(saved)


def test_a_missing_configuration_is_named(saved):
    (saved / "config.json").unlink()

    with pytest.raises(ModelError, match=r"config\.json is missing"):
        RECOMMENDER.load(saved)


@pytest.mark.parametrize("text", ["{", "[]", '{"model_type": 3}', "\xff"])
def test_a_configuration_that_cannot_be_read_is_refused(saved, text):
    (saved / "config.json").write_bytes(text.encode("latin-1"))

    with pytest.raises(ModelError):
        RECOMMENDER.load(saved)


def one_of(weights, part):
    return next(name for name in sorted(weights) if part in name)


def drop_from_adapter(weights):
    del weights[one_of(weights, "lora_B")]


def add_to_adapter(weights):
    weights["base_model.model.blocks.7.up_proj.lora_A.weight"] = torch.zeros(4, 64)


def reshape_adapter(weights):
    weights[one_of(weights, "lora_B")] = torch.zeros(2, 2)


@pytest.mark.parametrize("change", [drop_from_adapter, add_to_adapter, reshape_adapter])
def test_adapter_weights_that_do_not_fit_are_refused(saved_adapter, tmp_path, change):
    """peft would go on with fresh ones, and say so in a warning."""
    folder = copied(saved_adapter, tmp_path)
    edit(folder / "adapter" / "adapter_model.safetensors", change)

    with pytest.raises(ModelError, match="adapter"):
        RECOMMENDER.load(folder)


@pytest.mark.parametrize("name", ["adapter_model.safetensors", "adapter_config.json"])
@pytest.mark.parametrize("share", [None, 0, 0.5])
def test_a_damaged_adapter_is_refused(saved_adapter, tmp_path, name, share):
    folder = copied(saved_adapter, tmp_path)
    file = folder / "adapter" / name
    if share is None:
        file.unlink()
    else:
        content = file.read_bytes()
        file.write_bytes(content[: int(share * len(content))])

    with pytest.raises(ModelError, match="adapter"):
        RECOMMENDER.load(folder)


def copied(folder, target):
    return shutil.copytree(folder, target / "copy")
