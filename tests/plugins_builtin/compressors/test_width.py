"""`width` takes out what matters least, fits again what is left, and leaves a plain checkpoint."""

import copy

import numpy as np
import pytest
import torch
from compression_jobs import made_data, make_job, same, scores, weights
from heard import Heard

from lwa_core import LayeredModel, ModelError, open_bundle
from lwa_core.modeling import units_of
from lwa_core.pipeline.bundles import write_bundle
from lwa_core.recommendation.ranker import Ranker
from lwa_plugins.compressors.patch import Patch
from lwa_plugins.compressors.qlora import QLoRA
from lwa_plugins.compressors.quantise import Quantise
from lwa_plugins.compressors.width import Width
from lwa_plugins.recommenders.sequential.model import SequentialModel


@pytest.fixture(scope="module")
def data():
    return made_data()


def width_job(data, folder, **settings):
    return make_job(data, folder, report=Heard(), **settings)


@pytest.mark.parametrize("block", ["pre-norm", "gated"])
@pytest.mark.parametrize("by", ["gate-fisher", "gate-taylor", "activation", "weight-magnitude"])
def test_units_that_give_nothing_go_first_and_nothing_is_lost(data, tmp_path, by, block):
    job = width_job(data, tmp_path, block=block)
    gone = np.random.default_rng(1).permutation(64)[:32]
    for model in (job.teacher, job.student):
        for units in units_of(model, "feed-forward"):
            with torch.no_grad():
                units.weight[:, units.columns(gone)] = 0.0
    cut = scores(job, job.teacher.keep(job.kept).model)
    before = weights(job.teacher.model)

    student = Width(by=by, refit=False).compress(job)

    assert 32 == student.config.intermediate_size
    torch.testing.assert_close(scores(job, student), cut, rtol=1e-5, atol=1e-6)
    assert same(before, weights(job.teacher.model))


@pytest.mark.parametrize("kind", ["feed-forward", "heads"])
def test_what_another_unit_gives_as_well_is_taken_over_by_it(data, tmp_path, kind):
    """Every second unit is a copy of the one before it: half of them can go, if the others are fitted again."""
    job = width_job(data, tmp_path, heads=4)
    for model in (job.teacher, job.student):
        for layer in model.layers:
            parts = (
                [layer.up_proj]
                if kind == "feed-forward"
                else [layer.attention.q_proj, layer.attention.k_proj, layer.attention.v_proj]
            )
            size = 1 if kind == "feed-forward" else 4
            with torch.no_grad():
                for part in parts:
                    for own in (part.weight, part.bias):
                        pairs = own.view(-1, 2, size, *own.shape[1:])
                        pairs[:, 1] = pairs[:, 0]
        for units in units_of(model, kind):
            with torch.no_grad():  # so that the copies go
                units.weight[:, units.columns(range(1, units.count, 2))] *= 0.1
    cut = scores(job, job.teacher.keep(job.kept).model)
    share = {"feed_forward": 0.5} if kind == "feed-forward" else {"feed_forward": 1.0, "heads": 0.5}

    plain = Width(**share, by="weight-magnitude", refit=False).compress(job)
    fitted = Width(**share, by="weight-magnitude").compress(job)

    off = [float((scores(job, model) - cut).abs().max()) for model in (plain, fitted)]
    assert off[1] < 0.02 * off[0]


def gate_derivatives(job, student, units, window, unit, step=1e-4):
    """∂ loss / ∂ gate of one unit on one window, by central differences in float64."""
    batch = job.subject.training_batch([window])
    losses = []
    for change in (-step, step):
        model = copy.deepcopy(student.base).double()
        (found,) = [each for each in units_of(LayeredModel(model, student.path), "feed-forward") if each is not None][
            units : units + 1
        ]
        with torch.no_grad():
            found.weight[:, found.columns([unit])] *= 1 + change
            losses.append(float(job.subject.loss(model, batch).mean.sum()))
    return (losses[1] - losses[0]) / (2 * step)


@pytest.mark.parametrize("by", ["gate-fisher", "gate-taylor"])
def test_scores_of_gates_are_means_over_windows_of_their_derivatives(data, tmp_path, by):
    job = width_job(data, tmp_path)
    student = job.cut()
    student.model.eval()
    windows = job.windows[:5]
    found = units_of(student, "feed-forward")

    told = Width(by=by, batch=3)._scores(job, student, windows, found)

    for layer, unit in ((0, 3), (1, 40)):
        slopes = np.array([gate_derivatives(job, student, layer, window, unit) for window in windows])
        expected = np.mean(slopes**2 if by == "gate-fisher" else np.abs(slopes))
        assert expected == pytest.approx(told[id(found[layer])][unit], rel=1e-3)


def test_the_fit_is_that_of_ridge_regression_on_what_the_layer_is_given(data, tmp_path):
    job = width_job(data, tmp_path)
    student = job.cut()
    student.model.eval()
    units = units_of(student, "feed-forward")[0]
    stay = units.columns(range(0, 64, 2))
    whole = units.weight.detach().double()

    fitted, left = Width(batch=len(job.windows))._fitted(job, student, job.windows, units, stay, whole)

    given = []
    hook = units.projection.register_forward_pre_hook(lambda _, args: given.append(args[0]))
    batch = job.subject.training_batch(job.windows)
    with torch.no_grad():
        job.subject.encode(student.model, batch)
    hook.remove()
    x = given[0][batch["attention_mask"].bool()].double()
    best = torch.linalg.lstsq(x[:, stay], x @ whole.T).solution.T

    def lost(weight):
        return float((x @ whole.T - x[:, stay] @ weight.T).square().sum())

    assert lost(best) - 1e-9 <= lost(fitted) <= 1.02 * lost(best) + 1e-9
    assert lost(fitted) < lost(whole[:, stay])
    assert lost(fitted) / float((x @ whole.T - x[:, stay] @ torch.zeros_like(best).T).square().sum()) <= left * 1.001


@pytest.mark.parametrize("settings", [{"units": "parts", "kept": (0, 1, 3)}, {}])
def test_it_is_saved_loaded_quantised_patched_and_exported(data, tmp_path, settings):
    job = width_job(data, tmp_path, heads=2, **settings)
    student = Width(heads=0.5).compress(job).eval()

    student.save_pretrained(tmp_path / "plain")
    again = SequentialModel.from_pretrained(tmp_path / "plain").eval()
    assert torch.equal(scores(job, again), scores(job, student))
    coded = Quantise().compress(next_step(job, student))
    assert float((scores(job, coded) - scores(job, student)).abs().max()) < 0.1
    patched = Patch().compress(next_step(job, student))
    assert scores(job, patched).isfinite().all()


def next_step(job, network):
    """The next step of a job, whose student is a network."""
    made = copy.copy(job)
    made.student = LayeredModel(copy.deepcopy(network))
    return made


def test_a_bundle_of_it_answers_as_it_does(data, tmp_path):
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    from lwa_plugins.exporters.onnx import Onnx

    job = width_job(data, tmp_path)
    student = Width().compress(job).eval()
    own = job.model.ranker
    ranker = Ranker(student, own.recommender, own.catalogue, own.component, own.settings)
    write_bundle(ranker, Onnx(), tmp_path / "bundle", Heard())
    served = open_bundle(tmp_path / "bundle")
    history = [np.array([1, 2, 3])]
    np.testing.assert_allclose(served.scores(history), ranker.scores(history).numpy(), rtol=1e-4, atol=1e-4)


def test_what_it_cannot_do_it_says(data, tmp_path):
    with pytest.raises(ModelError, match="asked to keep everything"):
        Width(feed_forward=1.0).compress(width_job(data, tmp_path))
    job = width_job(data, tmp_path)
    quantised = QLoRA(epochs=0).compress(job)
    with pytest.raises(ModelError):
        Width().compress(next_step(job, quantised))
