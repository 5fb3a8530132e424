"""Plain copies of students: by the definition in float64, and the student stays as it was."""

from unittest.mock import Mock

import bitsandbytes
import four_bit
import numpy as np
import pytest
import torch
from torch import nn
from transformers import LlamaConfig, LlamaForCausalLM

from lwa_core import LayeredModel, ModelError
from lwa_core.modeling.files.adapters import with_adapters
from lwa_core.modeling.files.full_precision import computes_in_float32, full_precision
from lwa_core.modeling.files.quantisation import quantise_nf4
from lwa_core.modeling.files.saving import load_pretrained, save_model

RANK, ALPHA = 3, 6.0
IDS = torch.tensor([[1, 2, 3, 4], [9, 8, 7, 6]])


def tiny():
    """64 wide, so that every machine decodes the 4-bit weights rightly."""
    torch.manual_seed(0)
    shape = {"vocab_size": 20, "hidden_size": 64, "intermediate_size": 64, "num_attention_heads": 2}
    return LlamaForCausalLM(LlamaConfig(**shape, num_hidden_layers=2, num_key_value_heads=1)).eval()


def adapted(model, **how):
    torch.manual_seed(1)
    found = with_adapters(LayeredModel(model), report=Mock(), rank=RANK, alpha=ALPHA, **how).eval()
    with torch.no_grad():
        for name, parameter in found.named_parameters():
            if ".lora_" in name:
                parameter.add_(0.1 * torch.randn_like(parameter))
    return found


def answers(model):
    with torch.no_grad():
        return model(input_ids=IDS).logits


def state(model):
    return {name: value.clone() for name, value in model.state_dict().items()}


def in_float64(weight):
    if isinstance(weight, bitsandbytes.nn.Params4bit):
        weight = four_bit.decode(weight.data, weight.quant_state)
    return weight.detach().double().numpy()


def quantised():
    return quantise_nf4(LayeredModel(tiny()))[0].eval()


MADE = {
    "plain": tiny,
    "half": lambda: tiny().bfloat16(),
    "adapters": lambda: adapted(tiny()),
    "adapters on half": lambda: adapted(tiny().bfloat16()),
    "4 bits": quantised,
    "4 bits and adapters": lambda: adapted(tiny(), four_bit=True),
}


@pytest.mark.parametrize("form", MADE)
def test_a_copy_has_the_weights_by_their_definition_and_the_model_stays(form):
    model = MADE[form]()
    modules = dict(getattr(model, "get_base_model", lambda: model)().named_modules())
    expected = {}
    for name, module in modules.items():
        if hasattr(module, "lora_A"):
            a, b = (in_float64(getattr(module, each)["default"].weight) for each in ("lora_A", "lora_B"))
            expected[name] = in_float64(module.base_layer.weight) + ALPHA / RANK * b @ a
        elif isinstance(module, nn.Linear) and ".base_layer" not in name and ".lora_" not in name:
            expected[name] = in_float64(module.weight)
    before, held = answers(model), state(model)

    plain = full_precision(model)

    assert type(plain) is LlamaForCausalLM
    assert not plain.training
    assert {torch.float32} == {parameter.dtype for parameter in plain.parameters()}
    assert 15 == len(expected)
    for name, weight in expected.items():
        assert type(plain.get_submodule(name)) is nn.Linear
        np.testing.assert_allclose(plain.get_submodule(name).weight.detach(), weight, rtol=1e-5, atol=1e-6)
    if computes_in_float32(model):
        torch.testing.assert_close(answers(plain), before, rtol=1e-5, atol=1e-5)
    assert torch.equal(before, answers(model))
    after = model.state_dict()
    assert held.keys() == after.keys()
    assert all(torch.equal(value, after[name]) and value.dtype == after[name].dtype for name, value in held.items())


@pytest.mark.parametrize("form", MADE)
def test_what_computes_in_half_precision_is_told_apart(form):
    assert ("half" not in form) == computes_in_float32(MADE[form]())


def test_products_of_4_bit_weights_in_half_precision_are_told_apart():
    model = quantised()
    next(module for module in model.modules() if hasattr(module, "compute_dtype")).compute_dtype = torch.bfloat16

    assert not computes_in_float32(model)


@pytest.mark.parametrize("form", MADE)
def test_a_model_that_was_loaded_has_the_same_copy(form, tmp_path):
    model = MADE[form]()
    save_model(model, tmp_path)

    loaded = full_precision(load_pretrained(LlamaForCausalLM, tmp_path))

    expected = full_precision(model).state_dict()
    assert expected.keys() == loaded.state_dict().keys()
    for name, value in loaded.state_dict().items():
        torch.testing.assert_close(value, expected[name])


def test_codes_of_another_kind_are_refused():
    model = tiny()
    codes = torch.zeros(64, 64, dtype=torch.int8)
    model.model.layers[1].mlp.up_proj.weight = nn.Parameter(codes, requires_grad=False)

    with pytest.raises(ModelError, match=r"quantised weights \(Linear\) that cannot be decoded"):
        full_precision(model)
