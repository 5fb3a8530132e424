"""A model made narrower is a plain checkpoint that answers as the wide one whose removed units give nothing."""

import copy

import numpy as np
import pytest
import torch
import transformers

from lwa_core import LayeredModel, ModelError
from lwa_core.modeling.layers.narrowing import narrow, units_of

VOCABULARY = 50
COMMON = {"vocab_size": VOCABULARY, "hidden_size": 24, "num_hidden_layers": 3, "num_attention_heads": 4}


def made(family):
    torch.manual_seed(0)
    configs = {
        "llama": lambda: transformers.LlamaConfig(**COMMON, intermediate_size=40, num_key_value_heads=2),
        "qwen3": lambda: transformers.Qwen3Config(**COMMON, intermediate_size=40, num_key_value_heads=2, head_dim=8),
        "bert": lambda: transformers.BertConfig(**COMMON, intermediate_size=40),
        "gpt2": lambda: transformers.GPT2Config(vocab_size=VOCABULARY, n_embd=24, n_layer=3, n_head=4),
        "opt": lambda: transformers.OPTConfig(**COMMON, ffn_dim=40, word_embed_proj_dim=24),
        "mistral": lambda: transformers.MistralConfig(**COMMON, intermediate_size=40, num_key_value_heads=4),
    }
    heads = {"bert": transformers.AutoModelForMaskedLM}
    model = heads.get(family, transformers.AutoModelForCausalLM).from_config(configs[family]())
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(0.1 * torch.randn_like(weight))
    return LayeredModel(model.eval())


def without(model, kind, stay):
    """A copy in which the other units give nothing, by zeros in the rows of their weights, not in the columns."""
    wide = LayeredModel(copy.deepcopy(model.base), model.path)
    for units, own in zip(units_of(wide, kind), stay, strict=True):
        gone = [unit for unit in range(units.count) if unit not in own]
        with torch.no_grad():
            units.weight[:, units.columns(gone)] = 0.0
    return wide


def answers(model):
    ids = torch.from_numpy(np.random.default_rng(0).integers(3, VOCABULARY, (3, 7)))
    with torch.no_grad():
        return model(input_ids=ids).logits


STAY = [[0, 3, 4, 8, 9, 21, 30, 39], [1, 2, 3, 4, 5, 6, 7, 8], [10, 12, 14, 16, 18, 20, 22, 24]]


@pytest.mark.parametrize("family", ["llama", "qwen3", "bert", "gpt2", "opt", "mistral"])
def test_a_narrower_feed_forward_is_a_plain_checkpoint(family, tmp_path):
    model = made(family)
    wide = without(model, "feed-forward", STAY)

    student = narrow(wide, {"feed-forward": STAY})

    assert [8] * 3 == [units.count for units in units_of(student, "feed-forward")]
    torch.testing.assert_close(answers(student.base), answers(wide.base), rtol=1e-5, atol=1e-5)
    assert not torch.allclose(answers(student.base), answers(model.base), atol=1e-2)
    student.base.save_pretrained(tmp_path)
    again = type(model.base).from_pretrained(tmp_path)
    assert torch.equal(answers(again), answers(student.base))


@pytest.mark.parametrize(("family", "stay"), [("llama", [[0], [1], [1]]), ("qwen3", [[1], [0], [1]])])
def test_heads_that_share_keys_and_values_go_together(family, stay, tmp_path):
    wide = without(made(family), "heads", stay)

    student = narrow(wide, {"heads": stay})

    config = student.base.config
    assert (2, 1) == (config.num_attention_heads, config.num_key_value_heads)
    torch.testing.assert_close(answers(student.base), answers(wide.base), rtol=1e-5, atol=1e-5)
    student.base.save_pretrained(tmp_path)
    again = type(wide.base).from_pretrained(tmp_path)
    assert torch.equal(answers(again), answers(student.base))


def test_heads_and_units_go_in_one_step():
    heads = [[0, 2, 3], [0, 1, 2], [1, 2, 3]]
    model = made("mistral")
    wide = without(without(model, "heads", heads), "feed-forward", STAY)

    student = narrow(wide, {"heads": heads, "feed-forward": STAY})

    torch.testing.assert_close(answers(student.base), answers(wide.base), rtol=1e-5, atol=1e-5)
    assert student.base.num_parameters() < model.base.num_parameters()


def test_units_that_give_something_cannot_just_go():
    with pytest.raises(ModelError, match="would answer differently"):
        narrow(made("llama"), {"feed-forward": STAY})


@pytest.mark.parametrize(
    ("family", "kind", "said"),
    [("bert", "heads", "says no size of a head"), ("gpt2", "heads", "says no size of a head")],
)
def test_what_no_configuration_can_say_is_refused_in_words(family, kind, said):
    with pytest.raises(ModelError, match=said):
        units_of(made(family), kind)


def test_layers_keep_as_many_units_each():
    with pytest.raises(ModelError, match="as many units"):
        narrow(made("llama"), {"feed-forward": [[0], [1, 2], [3]]})
