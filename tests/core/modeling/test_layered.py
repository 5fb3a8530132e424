"""Layers are found, observed, gated, skipped and removed as the model itself would compute them."""

import pytest
import torch
from torch import nn
from transformers import (
    BertConfig,
    BertModel,
    GPT2Config,
    GPT2Model,
    LlamaConfig,
    LlamaModel,
    Qwen3Config,
    Qwen3Model,
    T5Config,
    T5Model,
)

from lwa_core import LayeredModel, ModelError
from lwa_core.testing import tiny_probe

SMALL = {
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 4,
    "num_attention_heads": 2,
    "vocab_size": 50,
}
FAMILIES = {
    "bert": lambda: BertModel(BertConfig(**SMALL)),
    "gpt2": lambda: GPT2Model(GPT2Config(n_embd=16, n_layer=4, n_head=2, vocab_size=50, n_positions=20)),
    "llama": lambda: LlamaModel(LlamaConfig(**SMALL, num_key_value_heads=1)),
    "qwen3": lambda: Qwen3Model(Qwen3Config(**SMALL, num_key_value_heads=1, head_dim=8, max_window_layers=2)),
}
IDS = torch.arange(12).reshape(2, 6) + 1


def family(name):
    torch.manual_seed(0)
    model = FAMILIES[name]().eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return LayeredModel(model)


@torch.no_grad()
def last_state(model):
    return model(IDS).last_hidden_state


@pytest.mark.parametrize("name", FAMILIES)
def test_finds_the_blocks(name):
    model = family(name)

    assert model.depth == 4
    assert len({type(layer) for layer in model.layers}) == 1


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("kept", [(0, 2), (1, 2, 3), (3,)])
def test_a_cut_model_answers_as_the_gated_one_also_after_a_reload(name, kept, tmp_path):
    model = family(name)
    gates = torch.tensor([1.0 if i in kept else 0.0 for i in range(4)])

    with model.gated(gates):
        gated = last_state(model.model)
    with model.skipping(kept):
        skipped = last_state(model.model)
    student = model.keep(kept).model.eval()
    student.save_pretrained(tmp_path)
    reloaded = type(student).from_pretrained(tmp_path).eval()

    torch.testing.assert_close(skipped, gated, atol=1e-6, rtol=0)
    torch.testing.assert_close(last_state(student), gated, atol=1e-6, rtol=0)
    assert torch.equal(last_state(reloaded), last_state(student))
    assert model.depth == 4


@pytest.mark.parametrize("name", FAMILIES)
def test_observes_raw_states_not_the_normed_last_one(name):
    model = family(name)

    with model.observe() as states, torch.no_grad():
        model.model(IDS)
    with torch.no_grad():
        official = model.model(IDS, output_hidden_states=True).hidden_states

    assert len(states) == 5
    for mine, theirs in zip(states[:-1], official[:-1], strict=True):
        torch.testing.assert_close(mine, theirs)


def test_the_last_observed_state_is_before_the_final_norm():
    model = family("llama")

    with model.observe() as states, torch.no_grad():
        out = model.model(IDS).last_hidden_state

    assert not torch.allclose(states[-1], out)
    torch.testing.assert_close(model.model.norm(states[-1]), out)


def test_a_gate_for_each_example_gives_each_example_its_own_depth():
    model = family("gpt2")
    gates = torch.tensor([[1.0, 0.0], [1.0, 1.0], [0.0, 1.0], [1.0, 1.0]])

    with model.gated(gates):
        both = last_state(model.model)

    for example, kept in enumerate([(0, 1, 3), (1, 2, 3)]):
        with model.skipping(kept):
            torch.testing.assert_close(both[example], last_state(model.model)[example], atol=1e-6, rtol=1e-5)


def test_gates_carry_gradients():
    model = family("bert")
    gates = torch.ones(4, requires_grad=True)

    with model.gated(gates):
        model.model(IDS).last_hidden_state.square().sum().backward()

    def value(step):
        shifted = torch.ones(4, dtype=torch.double)
        shifted[1] += step
        with model.gated(shifted), torch.no_grad():
            return model.model(IDS).last_hidden_state.square().sum()

    model.model.double()
    expected = (value(1e-5) - value(-1e-5)) / 2e-5
    torch.testing.assert_close(gates.grad[1].double(), expected, rtol=1e-3, atol=1e-4)


def test_layer_numbers_and_per_layer_lists_follow():
    student = family("qwen3").keep((1, 3))

    assert [layer.self_attn.layer_idx for layer in student.layers] == [0, 1]
    assert student.model.config.num_hidden_layers == 2
    assert len(student.model.config.layer_types) == 2


def test_several_lists_of_blocks_are_an_error_that_names_them():
    model = T5Model(T5Config(d_model=16, d_ff=32, d_kv=8, num_layers=2, num_heads=2, vocab_size=30))

    with pytest.raises(ModelError, match=r"encoder\.block \(2\), decoder\.block \(2\)"):
        LayeredModel(model)

    assert LayeredModel(model, "encoder.block").depth == 2


def test_a_model_without_blocks_is_an_error():
    with pytest.raises(ModelError, match="no torch\\.nn"):
        LayeredModel(nn.Sequential(nn.Linear(2, 2)))


@pytest.mark.parametrize("kept", [(), (0, 0), (2, 1), (4,), (-1,)])
def test_layers_that_do_not_exist_cannot_be_kept(kept):
    with pytest.raises(ModelError, match="cannot keep layers"):
        family("bert").keep(kept)


def test_a_model_whose_configuration_states_no_depth_cannot_be_cut():
    class Plain(nn.Module):
        def __init__(self):
            super().__init__()
            self.blocks = nn.ModuleList([nn.Linear(2, 2), nn.Linear(2, 2)])

    with pytest.raises(ModelError, match="states its depth"):
        LayeredModel(Plain()).keep((0,))


def test_hooks_and_layers_are_back_in_place_after_an_exception():
    model = tiny_probe().model
    layers = list(model.layers)

    with pytest.raises(RuntimeError), model.skipping((0,)), model.gated(torch.ones(4)), model.observe():
        raise RuntimeError

    assert [a is b for a, b in zip(layers, model.layers, strict=True)] == [True] * 4
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.model.modules())
