"""Models to ask about layer subsets, and a count of the layers that really run."""

from contextlib import ExitStack, contextmanager, nullcontext

import numpy as np
import pytest
import torch

from lwa_core.modeling.layers.layered import LayeredModel
from lwa_core.modeling.probing.batching import Batching
from lwa_core.modeling.probing.probe import Probe
from lwa_core.testing import tiny_probe, tiny_recommender


class LanguageModel:
    """A causal language model as a recommender: its tokens are the items, padded on the left."""

    def example_batch(self, histories, targets=None):
        width = max(map(len, histories))
        ids = torch.zeros(len(histories), width, dtype=torch.long)
        for row, history in enumerate(histories):
            ids[row, width - len(history) :] = torch.from_numpy(history.astype("int64"))
        mask = torch.tensor([[i >= width - len(h) for i in range(width)] for h in histories]).long()
        labels = torch.zeros_like(ids)
        if targets is not None:
            labels[:, -1] = torch.from_numpy(targets) + 1
        return {"input_ids": ids, "attention_mask": mask, "labels": labels}

    def encode(self, model, batch):
        told = model.model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"])
        return told.last_hidden_state[:, -1], batch.get("targets")

    def head(self, model, hidden):
        return model.lm_head(hidden)


def llama_probe(layers=3, examples=6):
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    config = LlamaConfig(
        hidden_size=16, intermediate_size=32, num_hidden_layers=layers, num_attention_heads=2, vocab_size=20
    )
    model = LlamaForCausalLM(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    rng = np.random.default_rng(0)
    histories = [rng.integers(1, 20, n).astype(np.int32) for n in rng.integers(2, 8, examples)]
    return Probe(LayeredModel(model), LanguageModel(), histories, rng.integers(0, 20, examples), batch=4)


def without_fast_tail(probe, monkeypatch):
    """The same probe, of a recommender that offers no shorter way through the end of its model."""
    monkeypatch.setattr(type(probe.subject), "has_fast_tail", lambda self, model: False)
    return probe


def layers_probe(layers, *, examples=3, items=30, batch=None, **settings):
    """A small model of this many layers, its examples in one micro-batch where not told otherwise."""
    probe = tiny_probe(tiny_recommender(layers=layers, width=8, **settings), examples=examples, items=items)
    probe.batch = batch or examples
    return probe


@contextmanager
def counted(probe):
    """Collects the layers that run, in order; a last block that answers at one position only runs as well.

    What is seen once for each model, before its first question, is not counted.
    """
    assert probe.replays
    assert probe.batching is Batching.ANY
    probe.settle()
    ran = []
    layers = list(probe.model.layers)
    with pytest.MonkeyPatch.context() as patch, ExitStack() as stack:
        for number, layer in enumerate(layers):
            stack.callback(layer.register_forward_hook(lambda *_, number=number: ran.append(number)).remove)
        kind = type(probe.subject)
        if hasattr(kind, "last_layer"):
            real = kind.last_layer

            def last_layer(self, model, layer, states, batch):
                ran.append(layers.index(layer))
                return real(self, model, layer, states, batch)

            patch.setattr(kind, "last_layer", last_layer)
        yield ran


def zero_block(probe, layer):
    """Make a block add nothing."""
    block = probe.model.layers[layer]
    with torch.no_grad():
        for linear in (block.attention.o_proj, block.down_proj):
            linear.weight.zero_()
            linear.bias.zero_()


def without_layer_0_it_overflows(utility="loss"):
    """A probe of three layers whose full model is finite, and of which layers 1 and 2 alone, or 1 alone, overflow."""
    probe = tiny_probe(tiny_recommender(layers=3), examples=12, utility=utility)
    first, second, _ = probe.model.layers
    with torch.no_grad():
        first.down_proj.bias[0] -= 20.0
        second.feed_forward_norm.weight.fill_(1.0)
        second.feed_forward_norm.bias.zero_()
        second.up_proj.weight.zero_()
        second.up_proj.weight[:, 0] = 100.0
        second.up_proj.bias.zero_()
        second.down_proj.weight.mul_(1e38)
    return probe


class Game:
    """A made-up probe whose utility of each example is any function of the kept layers.

    Args:
        depth: Number of layers.
        value: kept layers -> utility of each example (examples,).
    """

    def __init__(self, depth, value, seed=0):
        self.depth, self.value = depth, value
        self.generator = np.random.default_rng(seed)
        self.facts = {}
        self.known = {}
        self.examples = len(np.atleast_1d(value(())))

    def evaluate(self, keeps, utility=None):
        keeps = [tuple(int(layer) for layer in kept) for kept in keeps]
        for kept in keeps:
            assert kept == tuple(sorted(set(kept)))
            if kept not in self.known:
                self.known[kept] = np.atleast_1d(self.value(kept)).astype(float)
        return np.stack([self.known[kept] for kept in keeps])

    subsets = Probe.subsets

    def unanswered(self, keeps):
        return np.isinf(self.evaluate(keeps)).sum(axis=1)

    def holding(self):
        return nullcontext()

    def tell(self, name, value):
        self.facts[name] = value
