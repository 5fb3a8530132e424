"""Surgery on the layers of many families: gated, skipped, cut, saved and loaded again, it is one and the same model.

The reference is the full model, whose blocks are gated by hooks and whose weights nobody touched. All families with all
subsets of their layers are among the slow tests.
"""

import copy
import itertools
import re
from functools import cache
from pathlib import Path

import pytest
import torch
import transformers
from families import FAMILIES, REFUSED, answers, inputs_for
from hypothesis import given, settings
from hypothesis import strategies as st

from lwa_core import LayeredModel, ModelError
from lwa_core.modeling.layers.blocks import StandIn

PAGE = Path(__file__).parents[4] / "docs" / "families.md"
BY_NAME = {family.name: family for family in FAMILIES}
OFTEN = [family.name for family in FAMILIES if family.often]
EVERY = [pytest.param(f.name, marks=() if f.often else pytest.mark.slow) for f in FAMILIES]
GENERATING = [pytest.param(f.name, marks=() if f.often else pytest.mark.slow) for f in FAMILIES if f.generates]

transformers.logging.disable_progress_bar()


@cache
def full(name):
    """The full model; no test may change it."""
    return LayeredModel(BY_NAME[name].make(), BY_NAME[name].blocks)


def gates(model, kept):
    return torch.tensor([float(layer in kept) for layer in range(model.depth)])


def gated(name, kept):
    model = full(name)
    with model.gated(gates(model, kept)):
        return answers(model.model)


def assert_same(given, expected, tolerance=1e-6):
    torch.testing.assert_close(given, expected, atol=tolerance * (1 + float(expected.abs().max())), rtol=0)


def some_kept(name):
    """Layers that can be kept: some from everywhere, with the first removed where that is possible."""
    depth = full(name).depth
    choices = itertools.chain.from_iterable(itertools.combinations(range(depth), n) for n in (3, 2, 4))
    working = [kept for kept in choices if BY_NAME[name].works(kept)]
    return next((kept for kept in working if kept[0] > 0 and kept[-1] == depth - 1), working[0])


def check(name, kept):
    """Gated, skipped and cut answer alike, or cutting is refused."""
    model = full(name)
    if not BY_NAME[name].works(kept):
        with pytest.raises(ModelError):
            model.keep(kept)
        return
    expected = gated(name, kept)
    with model.skipping(kept):
        assert_same(answers(model.model), expected)
    student = model.keep(kept)
    assert_same(answers(student.model), expected)
    assert student.depth == len(kept)


@settings(max_examples=3)
@given(data=st.data())
@pytest.mark.parametrize("name", OFTEN)
def test_any_layers_gated_skipped_and_cut_are_one_model(name, data):
    kept = data.draw(st.sets(st.integers(0, full(name).depth - 1), min_size=1).map(lambda s: tuple(sorted(s))))

    check(name, kept)


@pytest.mark.slow
@pytest.mark.parametrize("name", BY_NAME)
def test_all_subsets_gated_skipped_and_cut_are_one_model(name):
    depth = full(name).depth
    for count in range(1, depth + 1):
        for kept in itertools.combinations(range(depth), count):
            check(name, kept)


@pytest.mark.parametrize("name", EVERY)
def test_a_cut_model_is_loaded_again_by_transformers_alone(name, tmp_path):
    kept = some_kept(name)
    full(name).keep(kept).model.save_pretrained(tmp_path)

    loaded, told = getattr(transformers, BY_NAME[name].auto).from_pretrained(tmp_path, output_loading_info=True)

    assert not any(told.values()), told
    assert_same(answers(loaded.eval()), gated(name, kept))


@pytest.mark.parametrize("name", GENERATING)
def test_a_cut_model_generates_the_same_with_and_without_its_cache(name):
    """Longer than the window of the families that have one; with the logits of every step."""
    student = full(name).keep(some_kept(name)).model
    start = {key: value[:, :6] for key, value in inputs_for(student).items() if not key.startswith("decoder")}
    how = {"max_new_tokens": 8, "min_new_tokens": 8, "do_sample": False, "pad_token_id": 0}
    told = {"output_logits": True, "return_dict_in_generate": True}

    cached, plain = (student.generate(**start, use_cache=use, **how, **told) for use in (True, False))

    assert torch.equal(cached.sequences, plain.sequences)
    assert_same(torch.stack(cached.logits), torch.stack(plain.logits), 1e-5)


@pytest.mark.parametrize("name", EVERY)
def test_layers_are_numbered_anew_down_to_the_last_module(name):
    kept = some_kept(name)
    student, model = full(name).keep(kept), full(name)

    numbered = 0
    for new, old in enumerate(kept):
        after = dict(student.layers[new].named_modules())
        for inner, module in model.layers[old].named_modules():
            if getattr(module, "layer_idx", None) == old:
                numbered += 1
                assert after[inner].layer_idx == new
    counted = any(getattr(module, "layer_idx", None) is not None for module in model.layers.modules())
    assert bool(numbered) == counted


@pytest.mark.parametrize("name", EVERY)
def test_states_are_observed_at_every_boundary(name):
    """A gate of 0 leaves the state as it was; the states of the cut model are the gated one's where layers are left."""
    model, kept = full(name), some_kept(name)
    with model.gated(gates(model, kept)), model.observe() as states:
        answers(model.model)
    with (student := model.keep(kept)).observe() as cut:
        answers(student.model)

    assert (len(states), len(cut)) == (model.depth + 1, len(kept) + 1)
    for layer in range(model.depth):
        assert torch.equal(states[layer], states[layer + 1]) == (layer not in kept)
    for new, old in enumerate(kept):
        assert_same(cut[new + 1], states[old + 1])


@pytest.mark.parametrize("name", EVERY)
def test_a_layer_is_replaced_by_what_it_gave_out(name):
    model = full(name)
    given_out = []

    def note(_, __, output):
        given_out.append(copy.deepcopy(output))  # later layers of RWKV write into what this one hands on

    hooks = [layer.register_forward_hook(note) for layer in model.layers]
    expected = answers(model.model)
    for hook in hooks:
        hook.remove()

    for upto in (1, model.depth):
        given = {i: StandIn(model.layers[i], given_out[i]) for i in range(upto)}
        with model.replaced(given):
            assert_same(answers(model.model), expected)


@pytest.mark.parametrize("name", EVERY)
def test_nothing_of_the_full_model_changes(name):
    model = full(name)
    before = answers(model.model)
    config, weights = model.model.config.to_dict(), {k: v.clone() for k, v in model.model.state_dict().items()}

    student = model.keep(some_kept(name)).model
    with torch.no_grad():
        for parameter in student.parameters():
            parameter.zero_()

    assert model.model.config.to_dict() == config
    assert all(torch.equal(weights[key], value) for key, value in model.model.state_dict().items())
    assert torch.equal(answers(model.model), before)


@pytest.mark.parametrize("case", REFUSED, ids=lambda case: case.name)
def test_what_cannot_be_cut_is_refused_and_says_why(case):
    with pytest.raises(ModelError, match=case.says):
        LayeredModel(case.make()).keep(case.kept)


@pytest.mark.parametrize("name", ["T5, encoder", "T5, decoder", "T5, encoder alone"])
def test_the_relative_position_bias_moves_to_the_layer_that_is_first(name):
    model = full(name)
    table = model.layers[0].layer[0].SelfAttention.relative_attention_bias.weight

    student = model.keep((1, 3))

    attention = [layer.layer[0].SelfAttention for layer in student.layers]
    assert torch.equal(attention[0].relative_attention_bias.weight, table)
    assert [module.has_relative_attention_bias for module in attention] == [True, False]
    assert not hasattr(model.layers[1].layer[0].SelfAttention, "relative_attention_bias")


def test_the_position_bias_matters():
    """Without it the comparison of gated and cut T5 models would show nothing."""
    model = BY_NAME["T5, encoder alone"].make()
    before = answers(model)
    with torch.no_grad():
        model.encoder.block[0].layer[0].SelfAttention.relative_attention_bias.weight.add_(torch.arange(8.0)[:, None])

    assert (answers(model) - before).abs().max() > 0.1


@pytest.mark.parametrize(
    ("name", "key", "expected"),
    [
        ("Qwen3", "layer_types", ["full_attention", "sliding_attention"]),
        ("Qwen3", "max_window_layers", 1),
        ("Gemma 3", "layer_types", ["full_attention", "sliding_attention"]),
        ("Bamba", "attn_layer_indices", [0]),
        ("Qwen3-Next", "mlp_only_layers", [1]),
        ("Qwen3-Next", "decoder_sparse_step", 1),
        ("Jamba", "attn_layer_offset", 0),
        ("GPT-Neo", "attention_types", [[["local"], 1], [["local"], 1]]),
        ("DeepSeek-V3", "first_k_dense_replace", 1),
        ("SmolLM3", "no_rope_layers", [0, 1]),
        ("Falcon-H1", "mlp_multipliers", [1.0, 1.0]),
    ],
)
def test_the_configuration_says_what_layers_1_and_3_are(name, key, expected):
    config = full(name).keep((1, 3)).model.config

    assert getattr(config, key) == expected


def test_every_named_family_is_on_the_page_with_what_is_said_here():
    text = PAGE.read_text("utf-8")
    rows = [f"| {f.name} | `{f.model}` | {f.special or '–'} | {f.refused or '–'} |" for f in FAMILIES]
    rows += [f"| {r.name} | `{r.model}` | {r.why} |" for r in REFUSED]
    assert [] == [row for row in rows if row not in text]
    listed = re.findall(r"^\| (?!family|---)(.+?) \| `", text, re.MULTILINE)
    assert [*(f.name for f in FAMILIES), *(r.name for r in REFUSED)] == listed


def test_the_page_names_the_version_that_is_tested():
    pinned = re.search(r"^transformers==(\S+)$", (PAGE.parents[1] / "constraints-dev.txt").read_text(), re.MULTILINE)
    assert pinned is not None
    assert f"transformers {pinned[1]}" in PAGE.read_text("utf-8")


def test_the_python_on_the_page_does_what_it_shows(tmp_path, monkeypatch, capsys):
    (text,) = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    monkeypatch.chdir(tmp_path)

    exec(text, {})

    assert capsys.readouterr().out == "['full_attention', 'full_attention', 'full_attention', 'full_attention']\n"
    assert transformers.Qwen3ForCausalLM.from_pretrained("qwen3-cut").config.num_hidden_layers == 4
