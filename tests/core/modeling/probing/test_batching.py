"""Examples share a micro-batch only where that leaves their answers as they are alone."""

import numpy as np
import pytest
import torch
from side_channels import Subject, histories_of, plain_losses, sharing_probe
from torch import nn

from lwa_core import LayeredModel, Probe
from lwa_core.modeling import batching_of, chunked, observe
from lwa_core.modeling.probing.batching import Batching

LENGTHS = [4, 2, 4, 3, 2, 4, 5]


class Leaking(nn.Module):
    """Each position gets the mean over time of all, padding too; `mixing`: and over the examples."""

    def __init__(self, mixing):
        super().__init__()
        torch.manual_seed(0)
        self.embedding, self.out = nn.Embedding(8, 4), nn.Linear(4, 7)
        self.blocks = nn.ModuleList([nn.Linear(4, 4) for _ in range(3)])
        self.mixing = mixing

    def forward(self, ids):
        hidden = self.embedding(ids)
        for block in self.blocks:
            hidden = hidden + block(hidden)
        return hidden + hidden.mean(dim=(0, 1) if self.mixing else 1, keepdim=True)


def leaking_probe(mixing=False, batch=4, lengths=LENGTHS):
    model = LayeredModel(Leaking(mixing), "blocks")
    return Probe(model, Subject(), histories_of(lengths), np.arange(len(lengths)) % 7, batch=batch)


def losses(probe):
    found = np.zeros(probe.examples)
    done = 0
    for seen in observe(probe, ["states", "gate_gradients"]):
        found[probe.order[done : done + len(seen.losses)]] = seen.losses
        done += len(seen.losses)
    return found


@pytest.mark.parametrize(("mixing", "expected"), [(False, Batching.EQUAL_LENGTHS), (True, Batching.ALONE)])
def test_no_figure_depends_on_the_size_of_the_micro_batch(mixing, expected):
    one, many = leaking_probe(mixing, batch=1), leaking_probe(mixing)

    assert many.batching is expected
    np.testing.assert_allclose(many.evaluate([(0, 2), ()]), one.evaluate([(0, 2), ()]), rtol=1e-5)
    np.testing.assert_allclose(losses(many), losses(one), rtol=1e-5)
    np.testing.assert_allclose(many.gate_gradients(), one.gate_gradients(), rtol=1e-4, atol=1e-7)


def test_what_leaks_nothing_is_asked_in_whole_batches():
    probe = sharing_probe("argument")

    assert probe.batching is Batching.ANY
    assert [3, 2] == [len(batch["targets"]) for batch in probe.batches()]
    np.testing.assert_allclose(-probe.evaluate([(1, 3)])[0], plain_losses(probe, (1, 3)), rtol=1e-5)


def test_examples_of_one_length_that_change_each_other_are_asked_alone():
    assert leaking_probe(mixing=True, lengths=[4] * 5).batching is Batching.ALONE
    assert leaking_probe(mixing=False, lengths=[4] * 5).batching is Batching.ANY


def test_batches_keep_the_order_and_hold_one_length():
    order = np.argsort(LENGTHS, kind="stable")

    found = [rows.tolist() for rows in chunked(order, LENGTHS, 2, Batching.EQUAL_LENGTHS)]

    assert order.tolist() == [row for rows in found for row in rows]
    assert [[1, 4], [3], [0, 2], [5], [6]] == found
    assert [[1, 4], [3, 0], [2, 5], [6]] == [rows.tolist() for rows in chunked(order, LENGTHS, 2, Batching.ANY)]


@pytest.mark.parametrize(("leak", "expected"), [(0.0, Batching.ANY), (0.01, Batching.EQUAL_LENGTHS)])
@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_rounding_is_no_leak(leak, expected, precision):
    """A hundredth is more than float32 rounds by, and less than bfloat16 does."""

    def ask(rows):
        known = np.asarray(LENGTHS)[rows]
        return torch.tensor(1.0 + 0.3 * known + leak * (known.max() - known))[:, None]

    told = batching_of(ask, LENGTHS, "it", precision)

    assert told is (Batching.ANY if precision is torch.bfloat16 else expected)
