"""Codes of quantised weights are decoded or refused, and never taken for numbers."""

import copy

import bitsandbytes as bnb
import pytest
import torch
from torch import nn

from lwa_core import LayeredModel, ModelError, PluginError, Probe
from lwa_core.modeling import assert_plain_weights, layer_weights, observe
from lwa_core.modeling.files.quantisation import quantise_nf4
from lwa_core.modeling.layers.packed_weights import assert_loaded_weights_decode, codes_hidden
from lwa_core.modeling.layers.planted import plant
from lwa_core.pipeline.scoring import is_observing, observed_scores, queried_scores
from lwa_core.plugins.registry import Registry
from lwa_core.recipe.recipe import Use
from lwa_core.testing import tiny_probe, tiny_recommender
from lwa_core.types import Quiet

OF_GRADIENTS = ["fisher", "true-fisher", "fisher-saliency", "weight-taylor", "kfac-trace", "laplace", "hutchinson"]
DECODED = ["weight-magnitude", "leave-one-out", "gate-taylor", "gate-path", "conductance", "block-influence"]


@pytest.fixture(scope="module")
def probes():
    """One of a model with 4-bit layers, and one of the same model decoded."""
    full = tiny_probe(tiny_recommender(width=64))
    packed, _, _ = quantise_nf4(full.model)
    plain = copy.deepcopy(packed).dequantize()
    how = {"batch": 7, "training_targets": 99}
    return [Probe(LayeredModel(m), full.subject, full.histories, full.targets, **how) for m in (packed, plain)]


def used(name, instance=None):
    offer = Registry.discover().find("scorer", name if instance is None else "random")
    made = offer.load()() if instance is None else instance
    return Use("scorer", name, name, offer, {}, made, ())


def scored(use, probe):
    made = observed_scores([use], probe, Quiet())[use.name] if is_observing(use) else queried_scores(use, probe)
    return torch.from_numpy(made.scores.samples)


@pytest.mark.parametrize("name", OF_GRADIENTS)
def test_there_are_no_gradients_of_codes(name, probes):
    with pytest.raises(ModelError, match=r"layer 0 holds quantised weights \(Linear4bit\)"):
        scored(used(name), probes[0])


@pytest.mark.parametrize("name", DECODED)
def test_other_scorers_give_what_they_give_for_the_decoded_model(name, probes):
    packed, plain = (scored(used(name), probe) for probe in probes)

    torch.testing.assert_close(packed, plain, rtol=1e-3, atol=1e-4)


def test_every_kind_of_weight_gradient_is_refused_whoever_asks(probes):
    for needs in ("gradient_norms", "batch_gradient_norms", "weight_products", "factors", "sampled_gradient_norms"):
        with pytest.raises(ModelError, match="weight gradients"):
            next(observe(probes[0], [needs]))
    with pytest.raises(ModelError, match="copies with other weights"):
        plant(probes[0].model, "noise", 0)
    assert next(observe(probes[0], ["states", "gate_gradients"])).gate_gradients is not None


class Reading:
    """A scorer of somebody else that takes parameters for numbers."""

    def score(self, probe):
        return torch.stack([sum(p.double().abs().sum() for p in layer.parameters()) for layer in probe.model.layers])[
            None
        ]


def test_a_scorer_of_somebody_else_does_not_read_codes(probes):
    with pytest.raises((ModelError, PluginError), match="packed codes"):
        scored(used("reading", Reading()), probes[0])
    assert torch.isfinite(scored(used("reading", Reading()), probes[1])).all()
    assert list(probes[0].model.layers[0].parameters())  # only while it looked


def test_eight_bits_are_decoded():
    torch.manual_seed(0)
    plain = nn.Linear(32, 16)
    packed = bnb.nn.Linear8bitLt(32, 16, has_fp16_weights=False)
    packed.load_state_dict(plain.state_dict())
    packed.to("cpu")
    packed.weight.data, packed.weight.SCB, _ = bnb.functional.int8_vectorwise_quant(plain.weight.detach().half())
    layer = nn.Sequential(packed)

    weight = max(layer_weights(layer), key=torch.numel)

    torch.testing.assert_close(
        weight, plain.weight.detach(), rtol=0, atol=float(plain.weight.detach().abs().max()) / 100
    )
    with pytest.raises(ModelError, match="Linear8bitLt"):
        assert_plain_weights(layered(packed))


class Coded(nn.Module):
    """As GPTQ and AWQ hold them: integers in buffers."""

    def __init__(self):
        super().__init__()
        self.register_buffer("qweight", torch.ones(4, 4, dtype=torch.int32))
        self.register_buffer("scales", torch.ones(4, 1))


def layered(*modules):
    owner = nn.Module()
    owner.blocks = nn.ModuleList(modules)
    return LayeredModel(owner, "blocks")


@pytest.mark.parametrize(
    "module",
    [
        Coded(),
        nn.ParameterList([nn.Parameter(torch.ones(2, 2, dtype=torch.uint8), requires_grad=False)]),
        nn.ParameterList([nn.Parameter(torch.ones(2, 2).to(torch.float8_e4m3fn), requires_grad=False)]),
        torch.ao.nn.quantized.dynamic.Linear(4, 4),
    ],
    ids=["integers in buffers", "bytes", "8-bit floats", "packed by torch.ao"],
)
def test_codes_of_other_kinds_are_refused(module):
    with pytest.raises(ModelError, match="cannot be decoded"):
        layer_weights(nn.Sequential(nn.Linear(2, 2), module))
    with pytest.raises(ModelError, match="layer 1 holds quantised weights"):
        assert_plain_weights(layered(nn.Linear(2, 2), module))
    with pytest.raises(ModelError, match="packed codes"), codes_hidden(layered(nn.Linear(2, 2), module)):
        list(layered(nn.Linear(2, 2), module).layers[1].parameters())


@pytest.mark.parametrize("kind", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
def test_plain_weights_are_given_as_they_are(kind):
    shared = nn.Linear(3, 2).to(kind)
    layer = nn.ModuleDict({"a": shared, "b": shared, "norm": nn.LayerNorm(2).to(kind)})

    found = layer_weights(layer)

    assert [p.data_ptr() for p in layer.parameters()] == [w.data_ptr() for w in found]


def test_a_machine_that_decodes_wrongly_is_found_out_when_a_model_is_loaded(probes, monkeypatch):
    assert_loaded_weights_decode(probes[0].model.model)
    monkeypatch.setattr(bnb.functional, "dequantize_4bit", lambda packed, state: torch.zeros(state.shape))

    with pytest.raises(ModelError, match="decoded wrongly on this machine"):
        assert_loaded_weights_decode(probes[0].model.model)
