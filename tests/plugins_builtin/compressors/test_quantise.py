"""`quantise` rounds what it is asked to and nothing else, and its students are kept, exported and counted."""

import pytest
import torch
from compression_jobs import made_data, make_job, scores, weights
from heard import Heard
from tiny_recipe import TEXT, write_recipe

from lwa_core import LayeredModel, ModelError, Quiet, open_bundle
from lwa_core.modeling.files.sizes import memory_bytes, parameter_count
from lwa_core.modeling.layers.row_codes import CodedEmbedding, CodedLinear, coded
from lwa_core.pipeline.bundles import write_bundle
from lwa_core.pipeline.run import run_recipe
from lwa_core.plugins.restoring import Restorer
from lwa_core.recipe.reader import load_recipe
from lwa_core.recommendation.loading import load_ranker
from lwa_core.recommendation.ranker import Ranker
from lwa_core.results.reading import read_results
from lwa_core.store.results import Store
from lwa_plugins.compressors.drop import Drop
from lwa_plugins.compressors.qlora import QLoRA
from lwa_plugins.compressors.quantise import Quantise
from lwa_plugins.exporters.onnx import Onnx


@pytest.fixture(scope="module")
def data():
    return made_data()


def job_of(data, folder, **settings):
    return make_job(data, folder, report=Heard(), **settings)


@pytest.mark.parametrize("block", ["pre-norm", "gated"])
def test_layers_and_table_are_rounded_and_the_rest_is_left(data, tmp_path, block):
    job = job_of(data, tmp_path, block=block)
    dropped = weights(Drop().compress(job))

    model = Quantise(layers="int8", table="int4").compress(job)

    linears = {name for name, module in coded(model).items() if isinstance(module, CodedLinear)}
    assert len(linears) == 2 * (9 if block == "gated" else 6)
    assert isinstance(model.item_embedding, CodedEmbedding)
    left = {n: v for n, v in weights(model).items() if n.rpartition(".")[2] not in ("codes", "scales")}
    assert all(torch.equal(value, dropped[name]) for name, value in left.items())
    touched = {f"{name}.weight" for name in (*linears, "item_embedding")}
    assert dropped.keys() - left.keys() == touched
    assert "bits a weight in memory" in job.report.notes[0]


@pytest.mark.parametrize(
    ("layers", "table"), [("int8", "float32"), ("int8", "int8"), ("int4", "int8"), ("float32", "int8")]
)
def test_what_is_saved_answers_the_same(data, tmp_path, layers, table):
    job = job_of(data, tmp_path, width=64)
    start = scores(job, Drop().compress(job))
    own = job.model.ranker
    step = Quantise(layers=layers, table=table)

    model = step.compress(job)

    expected = scores(job, model)
    assert float((expected - start).norm() / start.norm()) < (0.4 if layers == "int4" else 0.05)
    kept = Restorer("quantise", {"layers": layers, "table": table}, step)
    ranker = Ranker(model, own.recommender, own.catalogue, own.component, own.settings, True, (kept,))
    ranker.save(tmp_path / "model")
    assert torch.equal(expected, scores(job, load_ranker(tmp_path / "model").model))
    write_bundle(ranker, Onnx(), tmp_path / "bundle", Quiet())
    ids = [own.catalogue.ids[item] for item in (3, 1, 7)]
    assert ranker.recommend(ids, k=5).items == open_bundle(tmp_path / "bundle").recommend(ids, k=5).items


def test_sizes_are_those_of_the_codes(data, tmp_path):
    job = job_of(data, tmp_path, width=64)
    plain = Drop().compress(job_of(data, tmp_path, width=64))

    model = Quantise(layers="int8", table="int8").compress(job)

    assert parameter_count(model) == parameter_count(plain)
    assert memory_bytes(model) < 0.35 * memory_bytes(plain)


@pytest.mark.parametrize("step", [Quantise(), QLoRA(epochs=0)])
def test_it_is_not_given_twice(data, tmp_path, step):
    job = job_of(data, tmp_path, width=64)
    job.student = LayeredModel(step.compress(job))

    with pytest.raises(ModelError, match="quantised weights or an adapter already"):
        Quantise().compress(job)


def test_nothing_to_do_is_said(data, tmp_path):
    with pytest.raises(ModelError, match="nothing that `quantise` is asked to touch"):
        Quantise(layers="float32").compress(job_of(data, tmp_path))


def test_a_run_measures_what_it_saves(tmp_path):
    text = TEXT.replace('use = "distill"\nepochs = 2\nbatch = 32', 'use = "quantise"\ntable = "int8"')

    folder = run_recipe(load_recipe(write_recipe(tmp_path, text)), Store(tmp_path / "store"))

    models = {model.name: model for model in read_results(folder).models}
    assert models["quantise-2"].bytes_memory < 0.5 * models["drop-2"].bytes_memory
    assert models["quantise-2"].bytes_disk < models["drop-2"].bytes_disk
    assert models["quantise-2"].parameters == models["drop-2"].parameters
