"""Adapters: what they train, and the plain weights that they become, by the definition in float64."""

from unittest.mock import Mock

import bitsandbytes
import four_bit
import numpy as np
import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

from lwa_core import LayeredModel, ModelError
from lwa_core.modeling.files.adapters import merged, with_adapters
from lwa_core.modeling.files.saving import load_pretrained, save_model

RANK, ALPHA = 3, 6.0
IDS = torch.tensor([[1, 2, 3, 4], [9, 8, 7, 6]])


def tiny(layers=2):
    """64 wide, so that every machine decodes the 4-bit weights rightly."""
    torch.manual_seed(0)
    shape = {"vocab_size": 20, "hidden_size": 64, "intermediate_size": 64, "num_attention_heads": 2}
    return LlamaForCausalLM(LlamaConfig(**shape, num_hidden_layers=layers, num_key_value_heads=1)).eval()


def adapted(model, **how):
    torch.manual_seed(1)
    found = with_adapters(LayeredModel(model), report=Mock(), rank=RANK, alpha=ALPHA, **how).eval()
    with torch.no_grad():
        for parameter in found.parameters():
            if parameter.requires_grad:
                parameter.add_(0.1 * torch.randn_like(parameter))
    return found


def answers(model):
    with torch.no_grad():
        return model(input_ids=IDS).logits


def expected_weight(layer):
    """W + α/r · B·A, in float64; 4-bit weights decoded by their definition."""
    base = layer.base_layer.weight
    if isinstance(base, bitsandbytes.nn.Params4bit):
        base = four_bit.decode(base.data, base.quant_state)
    a, b = (getattr(layer, name)["default"].weight.detach().double().numpy() for name in ("lora_A", "lora_B"))
    return base.detach().double().numpy() + ALPHA / RANK * b @ a


@pytest.mark.parametrize("quantised", [False, True])
def test_merging_adds_the_product_of_the_adapters_to_the_weights(quantised):
    model = adapted(tiny(), four_bit=quantised)
    layers = {n: m for n, m in model.get_base_model().named_modules() if hasattr(m, "lora_A")}
    expected = {name: expected_weight(layer) for name, layer in layers.items()}
    before = answers(model)

    plain = merged(model)

    assert len(layers) == 14
    for name, weight in expected.items():
        module = plain.get_submodule(name)
        assert type(module) is torch.nn.Linear
        np.testing.assert_allclose(module.weight.detach(), weight, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(answers(plain), before, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("quantised", [False, True])
def test_what_was_merged_is_an_ordinary_model(quantised, tmp_path):
    plain = merged(adapted(tiny(), four_bit=quantised, whole=["lm_head"]))
    save_model(plain, tmp_path)
    student = LayeredModel(plain).keep([1])
    with LayeredModel(plain).skipping([1]):
        skipped = answers(plain)

    assert type(plain) is LlamaForCausalLM
    assert all(parameter.requires_grad for parameter in plain.parameters())
    assert "quantization" not in (tmp_path / "config.json").read_text("utf-8")
    assert torch.equal(answers(plain), answers(load_pretrained(LlamaForCausalLM, tmp_path)))
    torch.testing.assert_close(answers(student.model), skipped)


def test_adapters_and_what_is_named_are_all_that_learns():
    model = with_adapters(LayeredModel(tiny()), report=Mock(), rank=RANK, alpha=ALPHA, whole=["lm_head"])

    learning = [name for name, parameter in model.named_parameters() if parameter.requires_grad]

    assert all(".lora_" in name or ".lm_head." in name for name in learning)
    assert 2 * 14 + 1 == len(learning)


def test_adapters_that_were_just_put_on_change_nothing():
    model = tiny()
    before = answers(model)

    assert torch.equal(before, answers(with_adapters(LayeredModel(model), report=Mock(), rank=2, alpha=2.0).eval()))


def test_layers_without_linear_maps_get_no_adapter():
    model = GPT2LMHeadModel(GPT2Config(vocab_size=20, n_embd=16, n_layer=2, n_head=2, n_positions=8))

    with pytest.raises(ModelError, match=r"no torch\.nn\.Linear"):
        with_adapters(LayeredModel(model), report=Mock(), rank=2, alpha=2.0)
