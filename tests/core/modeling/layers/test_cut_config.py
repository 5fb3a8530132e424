"""What a cut configuration says of each layer is what the whole one said of it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lwa_core.modeling.layers.cut_config import cut_values, proposals

DEPTH = 6
KEPT = st.sets(st.integers(0, DEPTH - 1), min_size=1).map(lambda layers: tuple(sorted(layers)))
NUMBERS = st.sets(st.integers(0, DEPTH - 1)).map(sorted)


def cut(values, kept=(1, 3, 4), depth=DEPTH, depths=("num_hidden_layers",), **how):
    return cut_values(values, kept, depth, depths, **how)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"num_hidden_layers": 6, "hidden_size": 6}, {"num_hidden_layers": 3, "hidden_size": 6}),
        ({"layer_types": list("abcdef")}, {"layer_types": ["b", "d", "e"]}),
        ({"layer_types": ("a",) * 6}, {"layer_types": ["a"] * 3}),
        ({"hybrid_override_pattern": "M-*M-M"}, {"hybrid_override_pattern": "-M-"}),
        ({"hybrid_override_pattern": "M-"}, {"hybrid_override_pattern": "M-"}),
        ({"no_rope_layers": [1, 1, 1, 0, 1, 0]}, {"no_rope_layers": [1, 0, 1]}),
        ({"attn_layer_indices": [0, 3]}, {"attn_layer_indices": [1]}),
        ({"mlp_only_layers": [0, 1, 2, 3, 4, 5]}, {"mlp_only_layers": [0, 1, 2]}),
        ({"mlp_only_layers": []}, {"mlp_only_layers": []}),
        ({"first_k_dense_replace": 2}, {"first_k_dense_replace": 1}),
        ({"max_window_layers": 28}, {"max_window_layers": 3}),
        ({"max_window_layers": None}, {"max_window_layers": None}),
        ({"num_kv_shared_layers": 2}, {"num_kv_shared_layers": 1}),
        ({"block_types": ["recurrent", "recurrent", "attention"]}, {"block_types": ["recurrent"] * 3}),
        ({"per_layer_config": {"0": {"a": 1}, 3: {"b": 2}}}, {"per_layer_config": {"1": {"b": 2}}}),
        ({"eos_token_id": [1, 2, 3, 4, 5, 6]}, {"eos_token_id": [1, 2, 3, 4, 5, 6]}),
        ({"visual_token_ids": [0, 1]}, {"visual_token_ids": [0, 1]}),
        ({"ssm_multipliers": [1.0] * 6}, {"ssm_multipliers": [1.0] * 6}),
        ({"mtp_layer_types": ["a"] * 6}, {"mtp_layer_types": ["a"] * 6}),
        ({"image_size": (8, 8)}, {"image_size": (8, 8)}),
        ({"out_indices": [6], "out_features": ["stage6"]}, {"out_indices": None, "out_features": None}),
        ({"out_indices": [2, 6], "out_features": ["stage2", "stage6"]}, {"out_indices": [2, 6]}),
    ],
    ids=str,
)
def test_one_key(values, expected):
    given_back = cut(values)

    assert expected == {name: given_back[name] for name in expected}


def test_a_list_with_an_unknown_name_is_cut_only_when_asked():
    assert cut({"widths": [1, 2, 3, 4, 5, 6]})["widths"] == [1, 2, 3, 4, 5, 6]
    assert cut({"widths": [1, 2, 3, 4, 5, 6]}, every_list=True)["widths"] == [2, 4, 5]


@given(KEPT, st.integers(1, DEPTH), NUMBERS)
def test_the_sparse_step_of_mixtures_of_experts(kept, step, listed):
    """Layer i is dense where it is listed or the step does not divide i + 1."""
    values = cut({"decoder_sparse_step": step, "mlp_only_layers": listed}, kept)

    def dense(layer, step, listed):
        return layer in listed or (layer + 1) % step != 0

    for new, old in enumerate(kept):
        assert dense(new, values["decoder_sparse_step"], values["mlp_only_layers"]) == dense(old, step, listed)


@given(KEPT, st.integers(1, DEPTH + 1), st.integers(0, DEPTH))
def test_periods_say_the_same_or_stay(kept, period, offset):
    values = {"attn_layer_period": period, "attn_layer_offset": offset % period}
    new = cut(values, kept)
    before = [layer % period == offset % period for layer in kept]
    after = [place % new["attn_layer_period"] == new["attn_layer_offset"] for place in range(len(kept))]

    assert new["attn_layer_offset"] < new["attn_layer_period"]
    if after != before:  # there is none that would
        assert {name: new[name] for name in values} == values
        for other in range(1, 3 * DEPTH):
            for start in range(other):
                assert [place % other == start for place in range(len(kept))] != before


@given(KEPT, NUMBERS)
def test_numbers_follow_their_layers(kept, numbers):
    new = cut({"full_attn_idxs": numbers}, kept)["full_attn_idxs"]

    assert [kept[place] for place in new] == [layer for layer in numbers if layer in kept]


def test_the_layers_of_a_decoder_are_stated_by_its_own_key():
    config = {"num_layers": 6, "num_decoder_layers": 6, "d_model": 6}

    encoder, decoder = (next(proposals(config, [()], f"{part}.block", (1, 2), 6)) for part in ("encoder", "decoder"))

    assert (encoder["num_layers"], encoder["num_decoder_layers"]) == (2, 6)
    assert (decoder["num_layers"], decoder["num_decoder_layers"]) == (6, 2)


def test_only_the_section_of_the_layers_is_cut():
    config = {"text_config": {"num_hidden_layers": 6}, "vision_config": {"num_hidden_layers": 6}, "layers": 6}

    first = next(proposals(config, [("text_config",), ()], "model.layers", (1, 2), 6))

    assert first == {"text_config": {"num_hidden_layers": 2}, "vision_config": {"num_hidden_layers": 6}, "layers": 6}


def test_no_configuration_is_proposed_where_nothing_states_the_depth():
    assert [] == list(proposals({"hidden_size": 6, "num_hidden_layers": 7}, [()], "blocks", (1,), 6))
