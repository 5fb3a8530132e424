"""Maps between layers: applied at their boundary, in every family, and kept in a file of their own."""

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_texts import save_text_model, some_texts

from lwa_core import LayeredModel, ModelError
from lwa_core.modeling.files.map_files import FILE, with_saved_maps
from lwa_core.modeling.layers.state_maps import StateMap, has_maps, maps_apart, maps_of, put_map
from lwa_core.testing import tiny_ranker
from lwa_core.text.loading import load_text_model
from lwa_core.text.loading import save_text_model as save_asked


def matrix(width=16, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return StateMap(torch.randn(width, width, generator=generator), torch.randn(width, generator=generator))


@pytest.mark.parametrize("name", ["llama", "gpt2", "bert", "distilbert", "fnet"])
def test_each_boundary_gets_its_map_and_the_file_gives_it_back(name, tmp_path):
    asked = load_text_model(save_text_model(name, tmp_path / "model"))
    model = LayeredModel(asked.model)
    with torch.no_grad(), model.observe() as plain:
        asked.answer(some_texts(), 20)
    first, last = matrix(), matrix(seed=1)

    put_map(model, 0, first)
    put_map(model, model.depth, last)

    with torch.no_grad(), model.observe() as mapped:
        before = asked.answer(some_texts(), 20)
    torch.testing.assert_close(mapped[0], plain[0] @ first.weight.T + first.bias)
    with torch.no_grad(), maps_apart(asked.model), model.observe() as without:
        asked.answer(some_texts(), 20)
    torch.testing.assert_close(without[0], plain[0])
    save_asked(asked, tmp_path / "saved")
    again = load_text_model(tmp_path / "saved")
    assert torch.equal(before, again.answer(some_texts(), 20))
    assert {0, model.depth} == maps_of(LayeredModel(again.model)).keys()
    assert {"0.weight", "0.bias", f"{model.depth}.weight", f"{model.depth}.bias"} == load_file(
        tmp_path / "saved" / FILE
    ).keys()
    plain_again, info = type(asked.model).from_pretrained(tmp_path / "saved", output_loading_info=True)
    assert not info["unexpected_keys"]
    assert not has_maps(plain_again)


def test_a_map_that_is_put_again_takes_the_place_of_the_first():
    model = LayeredModel(tiny_ranker().model)
    ids = torch.tensor([[1, 2, 3]])

    for factor in (5.0, 2.0):
        put_map(model, 2, StateMap(torch.tensor(factor)))

    with torch.no_grad(), model.observe() as states:
        model.model(ids)
    with torch.no_grad(), maps_apart(model.model), model.observe() as plain:
        model.model(ids)
    torch.testing.assert_close(states[2], 2 * plain[2])
    assert list(maps_of(model)) == [2]


def test_apart_means_out_of_the_weights_and_only_for_a_while():
    model = tiny_ranker().model
    names = set(model.state_dict())
    put_map(LayeredModel(model), 1, matrix())

    with maps_apart(model) as maps:
        assert list(maps) == ["blocks.0.output_map"]
        assert set(model.state_dict()) == names

    assert set(model.state_dict()) - names == {"blocks.0.output_map.weight", "blocks.0.output_map.bias"}


def test_there_is_no_boundary_behind_the_last():
    model = LayeredModel(tiny_ranker().model)

    with pytest.raises(ModelError, match="no boundary 5 in a model of 4 layers"):
        put_map(model, 5, matrix())


@pytest.mark.parametrize(
    ("tensors", "said"),
    [
        ({"weight": torch.ones(3)}, "names no map of states"),
        ({"1.scale": torch.ones(3)}, "names no map of states"),
        ({"01.weight": torch.ones(3)}, "names no map of states"),
        ({"9.weight": torch.ones(16)}, "no boundary 9"),
        ({"1.bias": torch.ones(16)}, "is no map of states"),
        ({"1.weight": torch.ones(16, 3)}, "is no map of states"),
        ({"1.weight": torch.ones(16, 16), "1.bias": torch.ones(4)}, "is no map of states"),
        ({"1.weight": torch.ones(2, 2, 2)}, "is no map of states"),
    ],
)
def test_a_file_that_holds_something_else_is_refused(tmp_path, tensors, said):
    save_file(tensors, tmp_path / FILE)

    with pytest.raises(ModelError, match=said):
        with_saved_maps(tiny_ranker().model, None, tmp_path)


def test_a_damaged_file_is_refused(tmp_path):
    (tmp_path / FILE).write_bytes(b"\x10" * 30)

    with pytest.raises(ModelError, match=FILE):
        with_saved_maps(tiny_ranker().model, None, tmp_path)
