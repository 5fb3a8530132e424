"""What one pass over the examples shows: finite differences, exact expectations, and what transformers itself gives."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from softmax_model import FeatureRecommender
from torch import nn
from wrapped import alone, made, observed, one_by_one, wrapped_probe

from lwa_core.errors import ModelError, PluginError
from lwa_core.modeling.layers.layered import LayeredModel
from lwa_core.modeling.probing.observation import OBSERVABLES, drawn, observe, passes
from lwa_core.modeling.probing.probe import Probe
from lwa_core.testing import tiny_probe, tiny_recommender

SIZES = {"vocab_size": 40, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 3, "num_attention_heads": 2}
LLAMA = ("LlamaModel", SIZES | {"num_key_value_heads": 1, "head_dim": 8})
BERT = ("BertModel", SIZES | {"max_position_embeddings": 32})


def test_asks_for_what_there_is():
    with pytest.raises(PluginError, match="nothing called gradient_norm to observe"):
        next(observe(tiny_probe(), ["gradient_norm"]))


def test_everything_comes_from_one_forward_one_backward_and_one_backward_a_drawing():
    assert passes([]) == passes(["states", "attention"]) == 1
    assert passes(OBSERVABLES, draws=3) == 5
    probe, forward, backward = tiny_probe(), [], []
    batches = len(list(probe.batches()))
    list(observe(probe, OBSERVABLES))  # whatever is looked up once for a model
    probe.model.layers[0].register_forward_hook(lambda *_: forward.append(1))
    probe.model.layers[-1].register_forward_hook(
        lambda _, __, out: (out.register_hook(lambda _: backward.append(1)), None)[1]
    )

    for seen in observe(probe, OBSERVABLES, draws=3):
        assert all(getattr(seen, name) is not None for name in OBSERVABLES)

    assert len(forward) == batches
    assert len(backward) == 4 * batches


def test_what_nobody_asked_for_is_none():
    for seen in observe(tiny_probe(), ["states"]):
        assert all(getattr(seen, name) is None for name in OBSERVABLES - {"states"})


@pytest.mark.parametrize("padding", ["left", "right"])
def test_losses_states_and_last_positions_are_those_of_each_example_alone(padding):
    probe = wrapped_probe(made(*LLAMA[:1], **LLAMA[1]), width=16, padding=padding)
    (seen,) = observe(probe, ["states", "target_vectors"])

    for row, n in enumerate(probe.order):
        batch = alone(probe, n)
        with probe.model.observe() as states, torch.no_grad():
            logits = probe.logits(batch)
        torch.testing.assert_close(seen.losses[row], F.cross_entropy(logits, batch["targets"]), rtol=1e-6, atol=1e-9)
        for ours, theirs in zip(seen.states, states, strict=True):
            torch.testing.assert_close(seen.at_last(ours)[row], theirs[0, -1], rtol=1e-5, atol=1e-6)
            mean = seen.over_positions(ours[..., 0])[row]
            torch.testing.assert_close(mean, theirs[0, :, 0].mean(), rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(seen.target_vectors[row], probe.subject.table[batch["targets"][0]])


# Gates


def hand_gated_losses(probe, gates):
    """Losses with h + g (block(h) − h), written into the blocks' forward methods (examples,)."""
    layers = list(probe.model.layers)
    originals = [layer.forward for layer in layers]

    def gated(forward, gate):
        def call(states, *args, **kwargs):
            return states + gate * (forward(states, *args, **kwargs) - states)

        return call

    for layer, original, gate in zip(layers, originals, gates, strict=True):
        layer.forward = gated(original, gate)
    try:
        losses = [F.cross_entropy(probe.logits(b := alone(probe, n)), b["targets"]) for n in range(probe.examples)]
    finally:
        for layer in layers:
            del layer.forward
    return torch.stack(losses)


@pytest.mark.parametrize("kind", ["pre-norm", "gated", "Llama"])
def test_gate_gradients_are_finite_differences_and_those_of_each_example_alone(kind):
    if kind == "Llama":
        probe = wrapped_probe(made(*LLAMA[:1], **LLAMA[1]), width=16)
    else:
        probe = tiny_probe(tiny_recommender(block=kind), examples=6)
        probe.model.model.double()
    found = observed(probe, "gate_gradients")["gate_gradients"]

    gates = [torch.ones((), dtype=torch.double, requires_grad=True) for _ in range(probe.depth)]
    rows = [torch.autograd.grad(loss, gates, retain_graph=True) for loss in hand_gated_losses(probe, gates)]
    torch.testing.assert_close(found, torch.tensor(rows, dtype=torch.double), rtol=1e-5, atol=1e-8)

    step = 1e-2 if kind == "Llama" else 1e-4  # the norms of the family are made in single precision
    for layer in range(probe.depth):
        with torch.no_grad():
            high, low = (
                hand_gated_losses(probe, [1 + sign * step * (i == layer) for i in range(probe.depth)])
                for sign in (1, -1)
            )
        torch.testing.assert_close(found[:, layer], (high - low) / (2 * step), rtol=2e-3, atol=1e-4)


def test_gate_gradients_are_not_those_of_drawn_labels():
    alone_asked = observed(tiny_probe(), "gate_gradients")["gate_gradients"]
    with_draws = observed(tiny_probe(), "gate_gradients", "sampled_gradient_norms", draws=2)["gate_gradients"]

    torch.testing.assert_close(with_draws, alone_asked)


# Labels that the model draws


def test_sampled_norms_have_the_exact_expectation_over_labels():
    """Σ_y p(y) ‖∇ log p(y)‖² over all five items, one example and one label at a time."""
    probe = tiny_probe(tiny_recommender(layers=2, width=8), examples=5, items=5)
    exact = torch.zeros(probe.examples, probe.depth, dtype=torch.double)
    for label in range(5):
        rows = one_by_one(probe, np.full(probe.examples, label))
        for n, row in enumerate(rows):
            batch = alone(probe, n)
            chance = float(probe.logits(batch).detach().double().softmax(dim=1)[0, label])
            exact[n] += chance * torch.tensor([sum(float(g.square().sum()) for g in layer.values()) for layer in row])

    draws = observed(probe, "sampled_gradient_norms", draws=600)["sampled_gradient_norms"].double()

    assert draws.shape == (5, 2, 600)
    error = draws.std(dim=2) / 600**0.5
    assert ((draws.mean(dim=2) - exact).abs() / error).max() < 4


def test_labels_are_drawn_by_their_probabilities():
    logits = torch.tensor([[0.0, 1.0, 2.0, -20.0], [3.0, 0.0, 0.0, 0.0]])
    chances = torch.rand(20_000, 2, dtype=torch.double, generator=torch.Generator().manual_seed(0))
    labels = drawn(logits, chances)

    assert labels.shape == (20_000, 2)
    for column, p in enumerate(logits.double().softmax(dim=1)):
        counts = torch.bincount(labels[:, column], minlength=4) / 20_000
        assert ((counts - p).abs() <= 4 * (p * (1 - p) / 20_000).sqrt() + 1e-6).all()


def test_the_seed_says_which_labels_are_drawn():
    one, again, other = tiny_probe(), tiny_probe(), tiny_probe()
    other.seed = 1
    one, again, other = (observed(p, "sampled_gradient_norms")["sampled_gradient_norms"] for p in (one, again, other))

    assert torch.equal(one, again)
    assert not torch.equal(one, other)


class Logistic(nn.Module):
    """p(y = 1 | x) = σ(w·x)."""

    def __init__(self, width):
        super().__init__()
        self.blocks = nn.ModuleList([nn.Linear(width, 1, bias=False)])
        self.double().eval()

    def forward(self, x):
        return self.blocks[0](x)


class Binary(FeatureRecommender):
    """The model's output is the logit of item 1; that of item 0 is zero."""

    def head(self, model, hidden):
        return torch.cat([torch.zeros_like(hidden), hidden], dim=1)


def test_the_fisher_information_of_logistic_regression_is_x_s_x():
    """F = XᵀSX with S = diag p (1 − p); its trace is the expectation of what is drawn."""
    torch.manual_seed(0)
    x = torch.randn(40, 3, dtype=torch.double)
    model = Logistic(3)
    histories = [np.array([row], dtype=np.int32) for row in range(40)]
    probe = Probe(LayeredModel(model), Binary(x), histories, np.zeros(40, dtype=np.int64), batch=16)
    p = torch.sigmoid(x @ model.blocks[0].weight[0].detach())
    fisher = x.T @ torch.diag(p * (1 - p)) @ x

    found = observed(probe, "sampled_gradient_norms", "gradient_norms", draws=400)
    draws = found["sampled_gradient_norms"][:, 0]

    lengths = x.square().sum(dim=1)
    torch.testing.assert_close(found["gradient_norms"][:, 0], p.square() * lengths)  # y = 0 was observed
    for values, positive, negative in zip(draws, (1 - p).square() * lengths, p.square() * lengths, strict=True):
        assert set(np.round(values.tolist(), 9)) <= {round(float(positive), 9), round(float(negative), 9)}
    totals = draws.sum(dim=0)
    assert abs(float(totals.mean() - fisher.trace())) < 4 * float(totals.std()) / 400**0.5


# Attention


@pytest.mark.parametrize("padding", ["left", "right"])
@pytest.mark.parametrize("family", [LLAMA, BERT], ids=["Llama", "BERT"])
def test_attention_is_what_transformers_shows_in_its_slow_form(family, padding):
    name, settings = family
    probe = wrapped_probe(made(name, **settings).float(), width=16, padding=padding)
    eager = made(name, **settings, attn_implementation="eager").float()
    assert (probe.model.model.config._attn_implementation, eager.config._attn_implementation) == ("sdpa", "eager")
    eager.load_state_dict(probe.model.model.state_dict())
    (seen,) = observe(probe, ["attention"])
    (batch,) = probe.batches()
    kinds = {"attention_mask": batch["attention_mask"]}
    if padding == "left":
        kinds["position_ids"] = (batch["attention_mask"].cumsum(dim=1) - 1).clamp(min=0)
    with torch.no_grad():
        expected = eager(batch["input_ids"], output_attentions=True, **kinds).attentions

    real = seen.mask[:, None, :, None]
    assert len(seen.attention) == len(expected) == 3
    for layer, slow in zip(seen.attention, expected, strict=True):
        ours, theirs = (torch.where(real, looked, 0) for looked in (layer.probabilities, slow))
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)
        shown = (slow > 0).sum(dim=-1)
        counted = seen.mask[:, None].expand_as(shown)
        assert torch.equal(layer.visible.expand_as(shown)[counted], shown[counted])


def test_attention_that_cannot_be_seen_is_refused():
    name, settings = LLAMA
    probe = wrapped_probe(made(name, **settings, attn_implementation="eager"), width=16)

    with pytest.raises(ModelError, match="cannot be seen"):
        list(observe(probe, ["attention"]))


def test_attention_of_sequential_adds_up_and_looks_back_only():
    for seen in observe(tiny_probe(), ["attention"]):
        for layer in seen.attention:
            assert (layer.probabilities.triu(1) == 0).all()
            torch.testing.assert_close(layer.probabilities.sum(dim=-1), torch.ones(layer.probabilities.shape[:3]))
            positions = torch.arange(1, layer.visible.shape[-1] + 1)
            assert torch.equal(layer.visible, positions.expand_as(layer.visible))


def test_a_model_that_answers_nan_is_not_observed():
    probe = tiny_probe()
    with torch.no_grad():
        probe.model.layers[1].down_proj.bias.fill_(torch.nan)

    with pytest.raises(ModelError, match="the full model's answers to 7 of 7 examples are not finite"):
        list(observe(probe, {"states"}))
