"""Passes of a scorer's own, counted at the layers whatever it says of them."""

import copy

import pytest
import torch
from torch import nn

from lwa_core.bench.layer_calls import LayerCalls
from lwa_core.modeling.layers.layered import LayeredModel


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(4, 4)

    def forward(self, hidden):
        return hidden + self.linear(hidden)


class Net(nn.Module):
    def __init__(self, depth=3):
        super().__init__()
        self.layers = nn.ModuleList(Block() for _ in range(depth))

    def forward(self, hidden):
        for layer in self.layers:
            hidden = layer(hidden)
        return hidden


EXAMPLES = torch.randn(10, 5, 4)


@pytest.fixture
def calls():
    return LayerCalls(LayeredModel(Net(), "layers"), examples=10)


def test_a_forward_pass_over_all_examples_is_one(calls):
    with calls.watched(), torch.no_grad():
        calls.model.model(EXAMPLES)

    assert 1.0 == calls.passes


def test_parts_of_the_examples_and_of_the_layers_count_as_such(calls):
    with calls.watched(), torch.no_grad():
        calls.model.model(EXAMPLES[:5])
        calls.model.layers[0](EXAMPLES)

    assert pytest.approx(0.5 + 1 / 3) == calls.passes


def test_a_backward_pass_counts_as_one(calls):
    with calls.watched():
        calls.model.model(EXAMPLES).sum().backward()

    assert 2.0 == calls.passes


def test_a_copy_is_counted_too(calls):
    with calls.watched(), torch.no_grad():
        copy.deepcopy(calls.model.model)(EXAMPLES)

    assert 1.0 == calls.passes


def test_what_is_counted_elsewhere_is_not_counted_here(calls):
    with calls.watched(), torch.no_grad():
        with calls.paused():
            calls.model.model(EXAMPLES)
        calls.model.model(EXAMPLES)

    assert 1.0 == calls.passes


def test_no_hook_is_left(calls):
    with calls.watched(), torch.no_grad():
        pass
    calls.model.model(EXAMPLES)

    assert 0.0 == calls.passes
    assert not any(layer._forward_hooks for layer in calls.model.layers)
