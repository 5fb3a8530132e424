"""`precision = "bfloat16"`: trained in float32, kept, reloaded and asked in bfloat16."""

import numpy as np
import pytest
import tiny_recipe
import torch
from safetensors import safe_open

from lwa_core import load
from lwa_core.modeling.files.precision import cast
from lwa_core.results.reading import read_results
from lwa_core.store.files import read_json

TEXT = (
    tiny_recipe.TEXT.replace("keep = [2, 1]", "keep = 2").replace("width = 16", "width = 64")
    + '\n[[compress]]\nuse = "fine-tune"\nepochs = 1\n\n[[compress]]\nuse = "qlora"\nepochs = 1\nbatch = 32\n'
)
HALF = 'precision = "bfloat16"\n' + TEXT
FAMILY = '[recommender]\nuse = "backbone"\nfamily = "qwen3"\nheads = 4\nmax_length = 12\nlayers = 3\nwidth = 64'
NAMES = ("teacher", "drop-2", "distill-2", "fine-tune-2", "qlora-2")


@pytest.fixture(scope="module")
def half(tmp_path_factory):
    base = tmp_path_factory.mktemp("half")
    folder, _ = tiny_recipe.run(base, base / "store", text=HALF)
    return folder


@pytest.fixture(scope="module")
def single(tmp_path_factory):
    base = tmp_path_factory.mktemp("single")
    folder, _ = tiny_recipe.run(base, base / "store", text=TEXT)
    return folder


def kinds(file):
    with safe_open(file, "pt") as tensors:
        return {name: tensors.get_slice(name).get_dtype() for name in tensors.keys()}  # noqa: SIM118 -- it is no dictionary


@pytest.mark.parametrize("name", ["teacher", "drop-2", "distill-2", "fine-tune-2"])
def test_weights_are_stored_in_bfloat16(half, name):
    assert {"BF16"} == set(kinds(half / "models" / name / "model.safetensors").values())
    assert "bfloat16" == read_json(half / "models" / name / "config.json")["dtype"]


def test_of_a_4_bit_student_the_rest_is_bfloat16(half):
    stored = kinds(half / "models" / "qlora-2" / "model.safetensors")
    assert {"BF16"} == {kind for name, kind in stored.items() if name.endswith(("norm.weight", "embedding.weight"))}
    assert "U8" in stored.values()
    assert {"F32"} == set(kinds(half / "models" / "qlora-2" / "adapter" / "adapter_model.safetensors").values())


@pytest.mark.parametrize("name", NAMES)
def test_what_is_loaded_has_that_precision_and_answers_as_before(half, name):
    ranker = load(half, name)
    asked = [np.arange(1, 9, dtype=np.int32), np.array([5], dtype=np.int32)]
    scores = ranker.scores(asked)

    assert torch.bfloat16 == ranker.model.get_input_embeddings().weight.dtype
    assert torch.equal(scores, load(half, name).scores(asked))
    assert torch.isfinite(scores).all()


def test_every_scorer_gives_finite_scores(half):
    scores = read_results(half).metrics.scores
    assert {"fisher", "block-influence", "leave-one-out"} == {each.name for each in scores}
    assert all(np.isfinite(each.mean).all() for each in scores)


def test_the_quality_is_near_that_of_float32(half, single):
    def quality(folder):
        return {model.name: model.metrics["ndcg@10"].mean for model in read_results(folder).metrics.models}

    whole, less = quality(single), quality(half)
    # Scores of bfloat16 tie often, and ties count as chance would have them.
    assert all(abs(whole[name] - less[name]) < 0.04 for name in NAMES), (whole, less)


def test_models_take_half_the_memory(half, single):
    def weights(folder):
        return (folder / "models" / "teacher" / "model.safetensors").stat().st_size

    assert 0.4 < weights(half) / weights(single) < 0.6


def test_a_transformer_of_a_family_keeps_what_it_computes_in_float32(tmp_path):
    text = HALF[: HALF.index("[recommender]")] + FAMILY + "\nepochs = 1\n"
    folder, _ = tiny_recipe.run(tmp_path, tmp_path / "store", text=text + "[evaluate]\nrequests = 0\nmemory = false\n")
    model = load(folder, "teacher").model

    assert {torch.bfloat16} == {parameter.dtype for parameter in model.parameters()}
    assert {torch.float32} == {buffer.dtype for name, buffer in model.named_buffers() if "inv_freq" in name}


def test_cast_leaves_whole_numbers_and_what_is_not_saved():
    model = torch.nn.Linear(2, 2)
    model.register_buffer("kept", torch.ones(2))
    model.register_buffer("computed", torch.ones(2), persistent=False)
    model.register_buffer("count", torch.tensor([1]))

    cast(model, "bfloat16")

    kinds = [t.dtype for t in (model.weight, model.kept, model.computed, model.count)]
    assert [torch.bfloat16, torch.bfloat16, torch.float32, torch.int64] == kinds
