"""Layers are found, observed, gated, skipped and removed as the model itself would compute them."""

import numpy as np
import pytest
import torch
from families import GROUPED, REFUSED, TEXT, WINDOWS, answers, inputs_for
from side_channels import WAYS, plain_losses, sharing_probe
from torch import nn
from transformers import (
    BertConfig,
    BertForMultipleChoice,
    BertModel,
    Gemma3Config,
    Gemma3ForConditionalGeneration,
    GPT2Config,
    GPT2LMHeadModel,
    GPT2Model,
    LlamaConfig,
    LlamaModel,
    PreTrainedConfig,
    PreTrainedModel,
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


def test_a_path_that_leads_nowhere_is_an_error():
    with pytest.raises(ModelError, match="no list of blocks at 'decoder"):
        _ = LayeredModel(family("bert").model, "decoder.block").depth


def test_the_layers_of_one_section_of_a_configuration():
    """A model of images and text: the text layers go, the vision layers stay."""
    torch.manual_seed(0)
    text = {**TEXT, **GROUPED, "query_pre_attn_scalar": 8, "sliding_window": 4, "layer_types": WINDOWS}
    vision = {**SMALL, "num_hidden_layers": 5, "image_size": 8, "patch_size": 4}
    config = Gemma3Config(
        text_config=text, vision_config=vision, mm_tokens_per_image=4, image_token_index=39, boi_token_index=38
    )
    model = LayeredModel(Gemma3ForConditionalGeneration(config).eval(), "model.language_model.layers")
    inputs = {"input_ids": inputs_for(model.model)["input_ids"].clamp(max=37)}

    with model.gated(torch.tensor([0.0, 1.0, 1.0, 0.0, 1.0])):
        expected = answers(model.model, inputs)
    student = model.keep((1, 2, 4)).model

    torch.testing.assert_close(answers(student, inputs), expected, atol=1e-6, rtol=0)
    assert (student.config.text_config.num_hidden_layers, student.config.vision_config.num_hidden_layers) == (3, 5)
    assert student.config.text_config.layer_types == [WINDOWS[layer] for layer in (1, 2, 4)]


class CountingConfig(PreTrainedConfig):
    model_type = "counting"
    hidden_size: int = 4
    num_hidden_layers: int = 3
    takes_ids: bool = True


class Counted(nn.Linear):
    def forward(self, states, number):
        return super().forward(states * (number + 1))


class Counting(PreTrainedModel):
    """What its layers do depends on how many there are before them, which no layer and no tensor says."""

    config_class = CountingConfig

    def __init__(self, config):
        super().__init__(config)
        self.embedding = nn.Embedding(9, config.hidden_size)
        self.blocks = nn.ModuleList([Counted(config.hidden_size, config.hidden_size) for _ in range(self.depth)])
        self.post_init()

    @property
    def depth(self):
        return self.config.num_hidden_layers

    def get_input_embeddings(self):
        return self.embedding

    def forward(self, input_ids=None, other=None):
        if not self.config.takes_ids and other is None:
            raise TypeError("other is missing")
        states = self.embedding(input_ids)
        for number, block in enumerate(self.blocks):
            states = block(states, number)
        return (states,)


def test_a_model_that_would_answer_differently_is_refused():
    model = LayeredModel(Counting(CountingConfig()).eval())

    with pytest.raises(ModelError, match="would answer differently: its 0 would be off by"):
        model.keep((0, 2))
    assert model.keep((0, 1)).depth == 2


def test_inputs_for_the_comparison_can_be_given():
    model = LayeredModel(Counting(CountingConfig(takes_ids=False)).eval())
    ids = torch.arange(4)[None]

    with pytest.raises(ModelError, match="would answer differently"):
        model.keep((0, 2), inputs={"input_ids": ids, "other": ids})
    with pytest.raises(ModelError, match="cannot be seen: the model cannot be called with other"):
        model.keep((0, 2), inputs={"other": ids})


def test_a_class_of_transformers_is_not_cut_unseen():
    """It takes several choices for each example, which cannot be guessed."""
    model = LayeredModel(BertForMultipleChoice(BertConfig(**SMALL)).eval())

    with pytest.raises(ModelError, match="give `keep` the `inputs`"):
        model.keep((0, 2), inputs={"input_ids": None})
    assert model.keep((0, 2), inputs={"input_ids": torch.ones(1, 2, 6, dtype=torch.long)}).depth == 2


def test_weights_that_a_reload_would_tie_are_not_cut():
    model = GPT2LMHeadModel(GPT2Config(n_embd=16, n_layer=3, n_head=2, vocab_size=50, n_positions=20)).eval()
    assert LayeredModel(model).keep((0, 2)).model.lm_head.weight is not model.lm_head.weight
    model.lm_head.weight = nn.Parameter(model.lm_head.weight.detach() + 1)

    with pytest.raises(ModelError, match="tied"):
        LayeredModel(model).keep((0, 2))


def test_weights_remain_tied():
    student = family_of(GPT2LMHeadModel(GPT2Config(n_embd=16, n_layer=3, n_head=2, vocab_size=50))).keep((0, 2)).model

    assert student.lm_head.weight is student.transformer.wte.weight


def family_of(model):
    return LayeredModel(model.eval())


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_precision_and_what_is_frozen_remain(dtype):
    model = LayeredModel(family("llama").model.to(dtype))
    model.layers[2].requires_grad_(False)

    student = model.keep((0, 2))

    assert {parameter.dtype for parameter in student.model.parameters()} == {dtype}
    assert [all(p.requires_grad for p in layer.parameters()) for layer in student.layers] == [True, False]
    with model.skipping((0, 2)):
        assert torch.equal(last_state(student.model), last_state(model.model))


def test_a_model_in_training_stays_so():
    model = family("bert")
    model.model.train()
    model.layers[1].eval()

    student = model.keep((0, 1)).model

    assert student.training
    assert [layer.training for layer in model.layers] == [True, False, True, True]


def test_layers_with_adapters_are_refused():
    from peft import LoraConfig, get_peft_model

    model = get_peft_model(family("llama").model, LoraConfig(r=2, target_modules=["q_proj"]))

    with pytest.raises(ModelError, match="cannot be removed"):
        LayeredModel(model).keep((0, 1))


def test_gates_for_another_number_of_examples_are_an_error():
    model = family("bert")

    with pytest.raises(ModelError, match="gates for 3 examples"), model.gated(torch.ones(4, 3)):
        last_state(model.model)


def test_a_block_that_changes_the_shape_cannot_be_gated_or_skipped():
    (swin,) = [case for case in REFUSED if case.name == "Swin"]
    model = LayeredModel(swin.make())

    with pytest.raises(ModelError, match="cannot be left out"), model.gated(torch.ones(2)):
        answers(model.model)
    with pytest.raises(ModelError, match="cannot be left out"), model.skipping((1,)):
        answers(model.model)


def test_a_skipped_layer_still_writes_what_others_read():
    """Layers of Gemma 3n read the keys and values that an earlier layer leaves in an argument."""
    (case,) = [case for case in REFUSED if case.name == "Gemma 3n"]
    model = LayeredModel(case.make())
    for kept in [(3, 4), (0, 4), ()]:
        with model.gated(torch.tensor([float(layer in kept) for layer in range(5)])):
            expected = answers(model.model)
        with model.skipping(kept):
            torch.testing.assert_close(answers(model.model), expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("way", WAYS)
def test_what_a_skipped_layer_leaves_is_there_whatever_the_way(way):
    probe = sharing_probe(way)
    for kept in [(1, 2, 3, 4, 5), (0, 3, 5), (2,), (0, 1)]:
        with probe.model.skipping(kept), torch.no_grad():
            found = [probe.logits(probe.batch_of([row])).log_softmax(dim=1)[0] for row in range(probe.examples)]

        losses = [-float(odds[target]) for odds, target in zip(found, probe.targets, strict=True)]
        np.testing.assert_allclose(losses, plain_losses(probe, kept), rtol=1e-5)
