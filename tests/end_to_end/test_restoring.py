"""Students with other modules than their recommender builds: made by a plugin, saved, trained on, loaded again."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_recipe import TEXT, computed, run

import lwa_core
from lwa_core import ModelError, PluginError, StageError
from lwa_core.plugins.registry import Registry
from lwa_core.recommendation.loading import load_ranker

PRESS = Path(__file__).parents[1] / "plugins" / "press"
HISTORIES = [np.array(history, dtype=np.int32) for history in ([3], [1, 2, 3, 4], [9] * 20, [])]

STEPS = """\
[[compress]]
use = "drop"

[[compress]]
use = "low-rank"

[[compress]]
use = "distill"
epochs = 1
batch = 32

[[compress]]
use = "int8"
"""
BEFORE, _, AFTER = TEXT.partition("[[compress]]")
SMALL = BEFORE.replace("keep = [2, 1]", "keep = 2")
EVALUATE = AFTER[AFTER.index("[evaluate]") :]


@pytest.fixture(scope="module", autouse=True)
def installed():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(PRESS)
        yield


@pytest.fixture(scope="module")
def finished(installed, tmp_path_factory) -> Path:
    """The folder of a run: layers removed, factorised, trained, quantised."""
    base = tmp_path_factory.mktemp("restoring")
    folder, events = run(base, base / "store", text=f"{SMALL}{STEPS}\n{EVALUATE}")
    assert {"drop-2", "low-rank-2", "distill-2", "int8-2"} <= set(computed(events))
    return folder


def maps(ranker, name):
    """The modules of the layers that hold linear maps, by the name of their class."""
    return [m for block in ranker.model.blocks for m in block.modules() if type(m).__name__ == name]


def test_each_student_comes_back_with_the_modules_that_it_had(finished):
    dropped, low, healed, small = (
        lwa_core.load(finished, name) for name in ("drop-2", "low-rank-2", "distill-2", "int8-2")
    )
    assert [] == maps(dropped, "Sequential") + maps(dropped, "Int8Linear")
    wide = [m for m in maps(low, "Linear") if m.in_features > 4 and m.out_features > 4]
    assert ([], []) == (wide, maps(low, "Int8Linear"))
    assert len(maps(low, "Sequential")) == len(maps(healed, "Sequential")) == len(maps(dropped, "Linear"))
    assert [] == maps(small, "Linear")
    assert {torch.int8} == {module.weight.dtype for module in maps(small, "Int8Linear")}
    assert 2 * len(maps(dropped, "Linear")) == len(maps(small, "Int8Linear"))


def test_the_scores_are_those_of_the_product_of_the_factors(finished):
    """Against the dropped model with each of its weights replaced by the product of the saved factors."""
    dropped, low = lwa_core.load(finished, "drop-2"), lwa_core.load(finished, "low-rank-2")
    for (name, module), pair in zip(
        [(n, m) for n, m in dropped.model.blocks.named_modules() if type(m) is torch.nn.Linear],
        maps(low, "Sequential"),
        strict=True,
    ):
        product = pair[1].weight.detach().double() @ pair[0].weight.detach().double()
        u, s, v = np.linalg.svd(module.weight.detach().double().numpy(), full_matrices=False)
        best = (u[:, :4] * s[:4]) @ v[:4]
        np.testing.assert_allclose(product.numpy(), best, atol=1e-5, err_msg=name)
        module.weight.data = product.to(module.weight)
    torch.testing.assert_close(dropped.scores(HISTORIES), low.scores(HISTORIES), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["low-rank-2", "distill-2", "int8-2"])
def test_what_is_loaded_and_saved_again_scores_as_before(finished, tmp_path, name):
    ranker = lwa_core.load(finished, name)
    ranker.save(tmp_path)
    again = lwa_core.load(tmp_path)
    assert torch.equal(ranker.scores(HISTORIES), again.scores(HISTORIES))
    assert not again.model.training


def test_a_later_step_trains_the_factors(finished):
    before, after = (lwa_core.load(finished, name) for name in ("low-rank-2", "distill-2"))
    moved = [
        not torch.equal(one.weight, other.weight)
        for left, right in zip(maps(before, "Sequential"), maps(after, "Sequential"), strict=True)
        for one, other in zip(left, right, strict=True)
    ]
    assert all(moved)


def test_the_files_are_tensors_and_json(finished):
    folder = finished / "models" / "int8-2"
    assert {".json", ".safetensors"} == {file.suffix for file in folder.iterdir()}
    press = {"plugin": "lwa-press", "distribution": "lwa-press", "version": "0.1"}
    assert [
        {"compressor": "low-rank", "settings": {"rank": 4}, "provider": press},
        {"compressor": "int8", "settings": {}, "provider": press},
    ] == json.loads((folder / "ranker.json").read_text("utf-8"))["restored_by"]


def test_a_model_in_bfloat16_stays_so(finished, tmp_path):
    ranker = lwa_core.load(finished, "low-rank-2")
    ranker.model.to(torch.bfloat16)
    ranker.save(tmp_path)
    again = lwa_core.load(tmp_path)
    assert {torch.bfloat16} == {parameter.dtype for parameter in again.model.parameters()}
    assert torch.equal(ranker.scores(HISTORIES), again.scores(HISTORIES))


# What goes wrong is said in words


def test_without_the_plugin_the_error_names_what_is_missing(finished):
    folder = (finished / "models" / "low-rank-2").resolve()
    without = Registry.discover(block=["lwa-press"])
    with pytest.raises(PluginError) as caught:
        load_ranker(folder, without)
    assert f"the model in {folder} cannot be loaded: no compressor is called 'low-rank'" == caught.value.message
    assert "it was offered by lwa-press 0.1: install that, for example `pip install lwa-press`" in caught.value.hint


def test_damaged_weights_are_an_error_that_names_the_compressor(finished, tmp_path):
    folder = tmp_path / "model"
    shutil.copytree(finished / "models" / "low-rank-2", folder)
    state = load_file(folder / "model.safetensors")
    state.pop(next(name for name in state if name.endswith("0.weight")))
    save_file(state, folder / "model.safetensors")
    with pytest.raises(ModelError, match=r"is not as it was saved: model\.safetensors is not the file that was saved"):
        lwa_core.load(folder)
    said = json.loads((folder / "ranker.json").read_text())
    del said["files"]
    (folder / "ranker.json").write_text(json.dumps({**said, "format": 1}))  # of which nothing says what it was
    with pytest.raises(ModelError, match=r"compressor .low-rank. cannot restore the model in .*: the weights in"):
        lwa_core.load(folder)


@pytest.mark.parametrize(
    ("method", "gives", "said"),
    [
        ("restore", lambda self, model, folder: None, "compressor 'low-rank' restored NoneType"),
        ("restore", lambda self, model, folder: model, "other scores than the one in memory"),
        ("restore", lambda self, model, folder: 1 / 0, "compressor 'low-rank' cannot restore .* ZeroDivisionError"),
        ("save", lambda self, model, folder: None, "the weights in .* do not fit the model"),
    ],
)
def test_a_compressor_that_does_not_keep_its_student_stops_the_run(
    finished, tmp_path, monkeypatch, method, gives, said
):
    import lwa_press

    monkeypatch.setattr(lwa_press.LowRank, method, gives)
    step = '[[compress]]\nuse = "low-rank"\nrank = 3\n'
    with pytest.raises(StageError, match=said):
        run(tmp_path, finished.parents[1], text=f"{SMALL}{step}\n{EVALUATE}")
