"""Per-example weight gradients equal those of a loop that takes one example at a time."""

import itertools

import numpy as np
import pytest
import torch
from torch import nn
from wrapped import FAMILIES, alone, made, observed, one_by_one, wrapped_probe

from lwa_core.errors import ModelError
from lwa_core.modeling.gradients.taps import Weights, tapped
from lwa_core.modeling.layers.layered import LayeredModel
from lwa_core.modeling.probing.observation import observe
from lwa_core.testing import tiny_probe, tiny_recommender
from lwa_core.types import Quiet

WEIGHTS = ("gradient_norms", "weight_products")


def doubles(values):
    return torch.tensor(values, dtype=torch.double)


def norms(rows):
    return doubles([[sum(float(g.square().sum()) for g in layer.values()) for layer in row] for row in rows])


def products(rows, model):
    """Σ w g, Σ |w g| and Σ w² g² from the gradients of the loop (examples, layers, 3)."""
    weights = [dict(layer.named_parameters()) for layer in model.layers]
    table = []
    for row in rows:
        terms = [
            torch.cat([(own[name].detach() * g).flatten().double() for name, g in layer.items()])
            for own, layer in zip(weights, row, strict=True)
        ]
        table.append([[float(t.sum()), float(t.abs().sum()), float(t.square().sum())] for t in terms])
    return doubles(table)


def assert_as_one_by_one(probe, rtol=1e-5):
    found, rows = observed(probe, *WEIGHTS), one_by_one(probe)
    close = {"rtol": rtol, "atol": 1e-9}
    torch.testing.assert_close(found["gradient_norms"], norms(rows), **close)
    expected = products(rows, probe.model)
    close["atol"] = rtol * float(expected[..., 1].max())  # the signed sum cancels to the size of the rounding
    torch.testing.assert_close(found["weight_products"], expected, **close)


@pytest.mark.parametrize("block", ["pre-norm", "gated"])
@pytest.mark.parametrize(("width", "max_length"), [(8, 12), (32, 4)], ids=["matrix form", "ghost form"])
def test_sequential(block, width, max_length):
    assert_as_one_by_one(tiny_probe(tiny_recommender(block=block, width=width, max_length=max_length)))


@pytest.mark.parametrize("padding", ["left", "right"])
@pytest.mark.parametrize("family", FAMILIES)
def test_families(family, padding):
    """The loop has no padding at all; its rows are the same whichever side the batch is padded on."""
    name, settings = FAMILIES[family]
    assert_as_one_by_one(wrapped_probe(made(name, **settings), width=16, padding=padding))


@pytest.mark.parametrize("longest", [3, 30], ids=["ghost form", "matrix form"])
def test_both_forms_of_a_map_whose_weight_is_transposed(longest):
    name, settings = FAMILIES["GPT-2"]
    assert_as_one_by_one(wrapped_probe(made(name, **settings | {"n_positions": 32}), width=16, longest=longest))


class Net(nn.Module):
    """Embeds ids and runs blocks one after the other."""

    def __init__(self, *blocks):
        super().__init__()
        self.table, self.blocks = nn.Embedding(20, 6), nn.ModuleList(blocks)
        self.double().eval()

    def forward(self, input_ids, attention_mask=None):
        states = self.table(input_ids)
        for block in self.blocks:
            states = block(states)
        return states


class Twice(nn.Module):
    """One map used twice, and one whose weight is another's."""

    def __init__(self):
        super().__init__()
        self.first, self.second, self.third = nn.Linear(6, 6), nn.Linear(6, 6), nn.Linear(6, 6)
        self.third.weight = self.second.weight
        self.norm = nn.LayerNorm(6)

    def forward(self, states):
        inner = self.norm(self.first(torch.tanh(self.first(states))))
        return states + self.third(torch.tanh(self.second(self.norm(inner))))


class Strange(nn.Module):
    """Weights that lie directly in the block, and are multiplied in a way of their own."""

    def __init__(self):
        super().__init__()
        self.gamma, self.mix = nn.Parameter(torch.randn(6)), nn.Bilinear(6, 6, 6)

    def forward(self, states):
        return states + self.gamma * torch.tanh(self.mix(states, states))


class Notes(Quiet):
    """A reporter that keeps what it is told."""

    told = ""

    def note(self, message):
        self.told += message


def net_probe(*blocks, **settings):
    torch.manual_seed(0)
    return wrapped_probe(Net(*[block() for block in blocks]), width=6, **settings)


def test_uses_of_tied_weights_are_added_up_before_they_are_squared():
    probe = net_probe(Twice, Twice)
    assert Weights(probe.model).unknown is None

    assert_as_one_by_one(probe, rtol=1e-9)

    tied = one_by_one(probe)[0][0]
    assert "third.bias" in tied
    assert "third.weight" not in tied  # it came as `second.weight`


def test_weights_that_two_layers_share_count_in_both():
    torch.manual_seed(0)
    first, second = Twice(), Twice()
    second.first = first.first

    assert_as_one_by_one(wrapped_probe(Net(first, second), width=6), rtol=1e-9)


def test_modules_of_unknown_kinds_are_taken_one_example_at_a_time():
    probe = net_probe(Strange, Strange)
    assert type(Weights(probe.model).unknown) is Strange

    probe.report = Notes()
    assert_as_one_by_one(probe, rtol=1e-9)
    assert "hooks cannot follow Strange" in probe.report.told
    assert [len(part.losses) for part in observe(probe, ["gradient_norms"])] == [1] * probe.examples
    with pytest.raises(ModelError, match="per-example gradients of a Strange are not known"):
        tapped(probe.model, lambda *_: None).__enter__()


@pytest.mark.parametrize("blocks", [(Twice, Twice), (Strange, Strange)], ids=["hooks", "loop"])
def test_the_gradient_of_a_batch_is_that_of_its_mean_loss(blocks):
    probe = net_probe(*blocks, batch=64)
    losses = [torch.nn.functional.cross_entropy(probe.logits(b), b["targets"]) for b in probe.batches()]

    found = [part.batch_gradient_norms for part in observe(probe, ["batch_gradient_norms"])]

    if Weights(probe.model).unknown is None:
        grads = [
            torch.autograd.grad(losses[0], list(layer.parameters()), retain_graph=True) for layer in probe.model.layers
        ]
        expected = doubles([[sum(float(g.square().sum()) for g in of) for of in grads]])
        torch.testing.assert_close(torch.cat(found), expected, rtol=1e-9, atol=1e-12)
    else:  # micro-batches of one
        order = torch.from_numpy(probe.order)
        torch.testing.assert_close(torch.cat(found), norms(one_by_one(probe))[order], rtol=1e-9, atol=0)


def test_the_mean_of_squares_is_not_the_square_of_the_mean():
    probe = tiny_probe()
    probe.batch = probe.examples

    (seen,) = observe(probe, ["gradient_norms", "batch_gradient_norms"])

    assert (seen.gradient_norms.mean(dim=0) > 1.5 * seen.batch_gradient_norms[0]).all()


def naive_factors(probe, kinds):
    """(examples, layers, maps, 2) by hooks on one example at a time: mean ‖a‖² and sum ‖g‖²."""
    table = []
    for n in range(probe.examples):
        rows = [[] for _ in probe.model.layers]
        handles = []
        for row, layer in zip(rows, probe.model.layers, strict=True):
            for module in (m for m in layer.modules() if type(m).__name__ in kinds):

                def after(module, args, output, row=row):
                    a = args[0].detach()[0].square().sum(dim=-1).mean() + (module.bias is not None)
                    row.append(pair := [float(a)])
                    output.register_hook(lambda g: pair.append(float(g.square().sum())))

                handles.append(module.register_forward_hook(after))
        single_loss(probe, n).backward()
        for handle in handles:
            handle.remove()
        table.append(rows)
    probe.model.model.zero_grad()
    return doubles(table)


def single_loss(probe, n):
    batch = alone(probe, n)
    return torch.nn.functional.cross_entropy(probe.logits(batch), batch["targets"])


@pytest.mark.parametrize("padding", ["left", "right"])
@pytest.mark.parametrize("family", ["GPT-2", "Llama"])
def test_factors_are_squared_lengths_over_the_real_positions(family, padding):
    name, settings = FAMILIES[family]
    probe = wrapped_probe(made(name, **settings), width=16, padding=padding)

    found = observed(probe, "factors")["factors"]

    expected = naive_factors(probe, {"Linear", "Conv1D"})
    for layer in range(probe.depth):  # the maps may come in any order
        ours, theirs = (table[:, layer][:, table[:, layer, :, 1].sum(dim=0).argsort()] for table in (found, expected))
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-12)


@pytest.mark.parametrize("name", ["gradient_norms", "weight_products", "factors", "gate_gradients"])
def test_rows_do_not_depend_on_the_size_of_the_micro_batches(name):
    tables = []
    for batch in (1, 3, 64):
        probe = tiny_probe()
        probe.batch = batch
        tables.append(observed(probe, name)[name])

    for a, b in itertools.pairwise(tables):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5 * float(a.abs().max()))


def test_nothing_is_left_behind():
    probe = tiny_probe()
    frozen = probe.model.layers[1].up_proj.weight.requires_grad_(False)

    observed(probe, *WEIGHTS, "factors", "gate_gradients")

    modules = list(probe.model.model.modules())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in modules)
    assert [id(p) for p in probe.model.model.parameters() if not p.requires_grad] == [id(frozen)]
    assert all(p.grad is None for p in probe.model.model.parameters())


@pytest.mark.parametrize("block", [Twice, Strange], ids=["hooks", "loop"])
def test_weights_that_training_holds_fixed_count_as_well(block):
    probe, fixed = net_probe(block, block), net_probe(block, block)
    fixed.model.model.requires_grad_(False)

    names = ("gradient_norms", "weight_products", "gate_gradients")
    expected, found = (observed(p, *names) for p in (probe, fixed))

    for name in names:
        torch.testing.assert_close(found[name], expected[name], rtol=1e-9, atol=1e-12)
    assert not any(p.requires_grad for p in fixed.model.model.parameters())


def test_half_precision_weights_give_single_precision_gradients():
    probe = tiny_probe()
    expected = observed(probe, "gradient_norms")["gradient_norms"]
    probe.model.model.bfloat16()

    found = observed(probe, "gradient_norms")["gradient_norms"]

    np.testing.assert_allclose(found.sum(dim=0), expected.sum(dim=0), rtol=0.1)


class Turned(nn.Module):
    """Swaps examples and positions before its map, which hooks cannot know."""

    def __init__(self):
        super().__init__()
        self.map = nn.Linear(6, 6)

    def forward(self, states):
        return states + torch.tanh(self.map(states.transpose(0, 1))).transpose(0, 1)


@pytest.mark.parametrize("longest", [6, 30], ids=["as many positions as examples", "more"])
def test_a_map_that_is_called_in_an_unusual_way_is_noticed(longest):
    assert_as_one_by_one(net_probe(Turned, Turned, longest=longest), rtol=1e-9)


def test_linear_regression_has_a_closed_form():
    """One Linear block, squared error: the gradient of example n is 2 (w·x − y) xᵀ."""

    class Regression(nn.Module):
        def __init__(self):
            super().__init__()
            self.blocks = nn.ModuleList([nn.Linear(3, 1, bias=False)])

        def forward(self, x):
            return self.blocks[0](x)

    torch.manual_seed(0)
    model, x, y, found = Regression(), torch.randn(5, 1, 3), torch.randn(5), []

    with tapped(LayeredModel(model), lambda layers, use, matrix: found.append((layers, use.squared_norm()))) as tap:
        tap.backward((model(x)[:, 0, 0] - y).square().sum())

    with torch.no_grad():
        expected = (2 * (model(x)[:, 0, 0] - y)).square() * x[:, 0].square().sum(dim=1)
    ((layers, squared),) = found
    assert layers == (0,)
    torch.testing.assert_close(squared, expected.double(), rtol=1e-5, atol=1e-8)
