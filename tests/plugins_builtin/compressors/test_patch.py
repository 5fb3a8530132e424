"""`patch` closes gaps with the maps that least squares give, gap after gap, and leaves a model that can be kept."""

import copy

import numpy as np
import pytest
import torch
import transformers
from compression_jobs import HISTORIES, made_data, make_job, same, scores, weights
from heard import Heard
from transformers.pytorch_utils import Conv1D

from lwa_core import LayeredModel, ModelError, Quiet, open_bundle
from lwa_core.modeling.layers.state_maps import StateMap, has_maps, maps_of
from lwa_core.pipeline.bundles import write_bundle
from lwa_core.recommendation.loading import load_ranker
from lwa_core.recommendation.ranker import Ranker
from lwa_plugins.compressors._branches import last_projection
from lwa_plugins.compressors.distill import Distill
from lwa_plugins.compressors.drop import Drop
from lwa_plugins.compressors.patch import Patch, _gaps
from lwa_plugins.compressors.qlora import QLoRA
from lwa_plugins.exporters.onnx import Onnx


@pytest.fixture(scope="module")
def data():
    return made_data()


def patch_job(data, folder, **settings):
    return make_job(data, folder, report=Heard(), **settings)


def states_of(job, model, boundary):
    """Every real state at a boundary, of all training windows one by one (positions, width)."""
    found = []
    for window in job.windows:
        batch = job.subject.training_batch([window])
        with torch.no_grad(), LayeredModel(model).observe() as seen:
            job.subject.encode(model, batch)
        found.append(seen[boundary][batch["attention_mask"].bool()])
    return torch.cat(found).double()


def left_over(job, model, boundary, wanted):
    taught = states_of(job, job.teacher.model, wanted)
    return float((taught - states_of(job, model, boundary)).square().sum())


@pytest.mark.parametrize(
    ("kept", "depth", "gaps"),
    [
        ((0, 1, 2), 3, []),
        ((0, 2), 4, [(1, 2), (2, 4)]),
        ((1, 2), 4, [(0, 1), (2, 4)]),
        ((0, 1, 7), 8, [(2, 7)]),
        ((3,), 4, [(0, 3)]),
        ((2, 3, 6), 8, [(0, 2), (2, 6), (3, 8)]),
    ],
)
def test_gaps_are_where_layers_were(kept, depth, gaps):
    assert _gaps(kept, depth) == gaps


@pytest.mark.parametrize("block", ["pre-norm", "gated"])
@pytest.mark.parametrize("on", ["states", "branch"])
@pytest.mark.parametrize("form", ["scalar", "diagonal", "least-squares"])
def test_every_gap_is_nearer_to_the_teacher_than_before(data, tmp_path, form, on, block):
    job = patch_job(data, tmp_path, block=block)
    dropped = Drop().compress(job)
    teacher = weights(job.teacher.model)

    patched = Patch(form=form, on=on).compress(job)

    for boundary, wanted in ((1, 2), (2, 4)):
        assert left_over(job, patched, boundary, wanted) < left_over(job, dropped, boundary, wanted)
    assert same(teacher, weights(job.teacher.model))
    assert job.trained is None
    assert has_maps(patched) is (on == "states")
    assert len(job.report.notes) == 2


def test_maps_are_those_of_least_squares_one_after_the_other(data, tmp_path, monkeypatch):
    """The second gap is that of the student with the first one closed."""
    monkeypatch.setattr("lwa_core.modeling.layers.gap_maps.RIDGES", (1e-12,))
    job = patch_job(data, tmp_path)
    student = LayeredModel(Drop().compress(job))

    patched = Patch(examples=10**6, batch=7).compress(job)

    for boundary, wanted in ((1, 2), (2, 4)):
        before = states_of(job, student.model, boundary).numpy()
        design = np.column_stack([before, np.ones(len(before))])
        solved = np.linalg.lstsq(design, states_of(job, job.teacher.model, wanted).numpy(), rcond=None)[0]
        found = maps_of(LayeredModel(patched))[boundary]
        np.testing.assert_allclose(found.weight.detach().numpy().T, solved[:-1], rtol=2e-3, atol=2e-3)
        np.testing.assert_allclose(found.bias.detach().numpy(), solved[-1], rtol=2e-3, atol=2e-3)
        layer = student.layers[boundary - 1]
        weight, bias = torch.from_numpy(solved[:-1]).float(), torch.from_numpy(solved[-1]).float()
        layer.register_forward_hook(lambda _, __, states, a=weight, c=bias: states @ a + c)


def test_layers_that_are_linear_maps_are_replaced_exactly(data, tmp_path):
    class Linear(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = torch.nn.Linear(16, 16)

        def forward(self, states, *_):
            return self.inner(states)

    job = patch_job(data, tmp_path, kept=(1, 3))
    job.student = LayeredModel(job.teacher.keep((1, 3)).model)
    torch.manual_seed(0)
    job.teacher.layers[0], job.teacher.layers[2] = Linear(), Linear()

    patched = Patch().compress(job)

    torch.testing.assert_close(scores(job, patched), scores(job, job.teacher.model), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("block", ["pre-norm", "gated"])
def test_no_other_weights_of_the_last_projection_are_better(data, tmp_path, monkeypatch, block):
    """Of the branch the folded map is the least-squares one: what moves it makes the gap wider."""
    monkeypatch.setattr("lwa_core.modeling.layers.gap_maps.RIDGES", (1e-12,))
    job = patch_job(data, tmp_path, block=block, kept=(0, 3))
    start = Drop().compress(job)

    patched = Patch(on="branch", examples=10**6).compress(job)

    least = left_over(job, patched, 1, 3)
    rng = np.random.default_rng(0)
    projection, original = (LayeredModel(model).layers[0].down_proj for model in (patched, start))
    for _ in range(5):
        drawn = torch.from_numpy(rng.normal(size=(16, 16)) * 0.01).float()
        shift = torch.from_numpy(rng.normal(size=16) * 0.01).float()
        with torch.no_grad():
            projection.weight.add_(drawn @ original.weight)
            projection.bias.add_(drawn @ original.bias + shift)
        assert left_over(job, patched, 1, 3) > least
        with torch.no_grad():
            projection.weight.sub_(drawn @ original.weight)
            projection.bias.sub_(drawn @ original.bias + shift)


def test_a_folded_map_leaves_a_plain_checkpoint(data, tmp_path):
    job = patch_job(data, tmp_path)
    dropped = Drop().compress(job)

    patched = Patch(on="branch").compress(job)

    moved = {name for name, value in weights(patched).items() if not torch.equal(value, weights(dropped)[name])}
    assert moved == {f"blocks.{layer}.down_proj.{part}" for layer in (0, 1) for part in ("weight", "bias")}
    patched.save_pretrained(tmp_path / "plain")
    torch.testing.assert_close(scores(job, patched), scores(job, type(patched).from_pretrained(tmp_path / "plain")))


def test_nothing_can_be_folded_before_the_first_layer(data, tmp_path):
    job = patch_job(data, tmp_path, kept=(1, 2, 3))
    dropped = Drop().compress(job)

    patched = Patch(on="branch").compress(job)

    assert same(weights(dropped), weights(patched))
    assert "there is none that a map could be folded into" in job.report.notes[0]


def test_a_cut_without_gaps_is_left_alone(data, tmp_path):
    job = patch_job(data, tmp_path, kept=(0, 1, 2, 3))

    patched = Patch().compress(job)

    assert same(weights(patched), weights(job.teacher.model))


def test_the_same_seed_gives_the_same_maps(data, tmp_path):
    first, second = (Patch(examples=20).compress(patch_job(data, tmp_path)) for _ in range(2))

    assert same(weights(first), weights(second))


# What the maps go through


@pytest.fixture
def patched(data, tmp_path):
    job = patch_job(data, tmp_path, kept=(1, 2), width=64)
    return job, Patch(form="least-squares").compress(job)


def ranker_of(job, model):
    own = job.model.ranker
    return Ranker(model.eval(), own.recommender, own.catalogue, own.component, own.settings)


def test_a_patched_model_is_saved_and_loaded(patched, tmp_path):
    job, model = patched
    expected = scores(job, model)

    ranker_of(job, model).save(tmp_path / "model")

    assert torch.equal(expected, scores(job, load_ranker(tmp_path / "model").model))
    assert torch.equal(expected, scores(job, model))  # saving has left it as it was
    plain, info = type(model).from_pretrained(tmp_path / "model", output_loading_info=True)
    assert not info["unexpected_keys"]
    assert not info["missing_keys"]
    assert torch.equal(scores(job, plain), scores(job, job.teacher.keep((1, 2)).model))


def test_a_patched_model_is_copied_with_its_maps(patched):
    job, model = patched

    assert torch.equal(scores(job, model), scores(job, copy.deepcopy(model)))


def test_a_patched_model_is_quantised_with_its_maps(patched, tmp_path):
    job, model = patched
    job.student = LayeredModel(model)

    quantised = QLoRA(epochs=0).compress(job)

    assert len(maps_of(LayeredModel(quantised))) == len(maps_of(LayeredModel(model))) == 2
    expected = scores(job, quantised)
    assert float((expected - scores(job, model)).abs().max()) < 0.5 * float(scores(job, model).std())
    ranker_of(job, quantised).save(tmp_path / "model")
    assert torch.equal(expected, scores(job, load_ranker(tmp_path / "model").model))


def test_a_patched_model_is_healed_with_its_maps(patched):
    job, model = patched
    job.student = LayeredModel(model)
    start = weights(model)

    healed = Distill(epochs=1, batch=8).compress(job)

    moved = {name for name, value in weights(healed).items() if not torch.equal(value, start[name])}
    assert {"blocks.0.input_map.weight", "blocks.1.output_map.bias"} <= moved


def test_a_patched_model_is_exported_with_its_maps(patched, tmp_path):
    job, model = patched
    ranker = ranker_of(job, model)
    write_bundle(ranker, Onnx(), tmp_path / "bundle", Quiet())

    for history in HISTORIES:
        ids = [job.model.ranker.catalogue.ids[item] for item in history]
        ours, theirs = ranker.recommend(ids, k=5), open_bundle(tmp_path / "bundle").recommend(ids, k=5)
        assert ours.items == theirs.items


def test_layers_of_a_patched_model_cannot_be_removed(patched):
    _, model = patched

    with pytest.raises(ModelError, match="maps between them"):
        LayeredModel(model).keep([0])


def test_patching_twice_is_refused(patched):
    job, model = patched
    job.student = LayeredModel(model)

    with pytest.raises(ModelError, match="maps between its layers already"):
        Patch().compress(job)


# Families


def text_layers(name, **config):
    cls = getattr(transformers, name)
    torch.manual_seed(0)
    model = cls(cls.config_class(vocab_size=30, **config)).eval()
    ids = torch.randint(0, 30, (2, 6), generator=torch.Generator().manual_seed(0))
    return LayeredModel(model), lambda: model(input_ids=ids)


GPT2 = {"n_embd": 16, "n_layer": 2, "n_head": 2}
SIZES = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2}


@pytest.mark.parametrize(
    ("name", "config", "projection"),
    [
        ("GPT2LMHeadModel", GPT2, "mlp.c_proj"),
        ("LlamaForCausalLM", SIZES, "mlp.down_proj"),
        ("Qwen3ForCausalLM", {**SIZES, "head_dim": 8, "num_key_value_heads": 2}, "mlp.down_proj"),
        ("ModernBertForMaskedLM", {**SIZES, "pad_token_id": 0, "cls_token_id": 1, "sep_token_id": 2}, "mlp.Wo"),
    ],
)
def test_the_last_projection_of_a_family_is_found_and_folded_into(name, config, projection):
    model, ask = text_layers(name, **config)

    branch = last_projection(model.layers[0], ask, "layer 0")

    assert branch.projection is model.layers[0].get_submodule(projection)
    assert not branch.gated
    with torch.no_grad(), model.observe() as before:
        ask()
    given = []
    hook = branch.projection.register_forward_hook(lambda *seen: given.append(seen[2]))
    with torch.no_grad():
        ask()
    hook.remove()
    matrix = torch.randn(16, 16, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    shift = torch.full((16,), 0.0 if branch.projection.bias is None else 0.5, dtype=torch.float64)
    branch.fold(matrix, shift)
    with torch.no_grad(), model.observe() as after:
        ask()
    mapped = given[0].double() @ matrix.T + shift
    torch.testing.assert_close(after[1].double(), before[1].double() - given[0] + mapped, rtol=1e-4, atol=1e-4)
    assert isinstance(branch.projection, Conv1D if name.startswith("GPT2") else torch.nn.Linear)


def test_a_block_that_normalises_its_sum_has_no_branch_to_fold_into():
    model, ask = text_layers("BertForMaskedLM", **SIZES)

    with pytest.raises(ModelError, match="layer 0 has no projection") as caught, torch.no_grad():
        last_projection(model.layers[0], ask, "layer 0")

    assert 'on = "states"' in caught.value.hint


def test_a_map_is_what_it_says():
    states = torch.randn(2, 3, 4, generator=torch.Generator().manual_seed(0))
    weight, bias = torch.randn(4, 4), torch.randn(4)

    assert torch.equal(StateMap(torch.tensor(2.0))(states), 2 * states)
    torch.testing.assert_close(StateMap(bias, bias)(states), states * bias + bias)
    torch.testing.assert_close(StateMap(weight, bias)(states), torch.einsum("ij,ntj->nti", weight, states) + bias)
