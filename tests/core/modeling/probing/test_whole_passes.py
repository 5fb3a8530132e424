"""Where layers hand on more than their states, subsets are asked by whole passes, whatever the way."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from side_channels import DEPTH, WAYS, plain_losses, sharing_probe

from lwa_core import ModelError
from lwa_core.modeling.probing.whole_passes import telling_subsets
from lwa_core.testing import tiny_probe, tiny_recommender

SUBSETS = [kept for n in range(DEPTH + 1) for kept in itertools.combinations(range(DEPTH), n)]


@pytest.mark.parametrize("way", WAYS)
def test_answers_are_those_of_a_plain_loop_in_whatever_order_they_are_asked(way):
    probe = sharing_probe(way)
    expected = {kept: plain_losses(probe, kept) for kept in SUBSETS}

    assert not probe.replays
    together = -probe.evaluate(SUBSETS)
    shuffled = np.random.default_rng(1).permutation(len(SUBSETS))
    one_by_one = sharing_probe(way)
    for row in shuffled:
        np.testing.assert_allclose(together[row], expected[SUBSETS[row]], rtol=1e-5)
        assert np.array_equal(together[row], -one_by_one.evaluate([SUBSETS[row]])[0])


@pytest.mark.parametrize("way", WAYS)
def test_a_search_that_holds_states_gets_the_same(way):
    probe = sharing_probe(way)
    with probe.holding():
        found = [-probe.evaluate([kept])[0] for kept in [(0, 1, 2, 4), (1, 2, 4), (0, 1, 2, 4, 5), ()]]

    for kept, losses in zip([(0, 1, 2, 4), (1, 2, 4), (0, 1, 2, 4, 5), ()], found, strict=True):
        np.testing.assert_allclose(losses, plain_losses(probe, kept), rtol=1e-5)


def test_a_subset_costs_a_whole_pass_then_and_it_is_said():
    told = []
    probe = sharing_probe("argument")
    probe.report = Noting(told)

    probe.evaluate([(0, 1), (0, 2), (0, 1)])

    assert probe.cost == 2
    assert told == ["layers of Model hand on more than their states, so each subset of them takes a whole pass: slow"]


class Noting:
    def __init__(self, told):
        self.told = told

    def note(self, message):
        self.told.append(message)

    def progress(self, *_):
        pass


def test_layers_that_hand_on_nothing_are_replayed():
    assert tiny_probe(tiny_recommender()).replays


def test_a_model_that_remembers_what_it_was_asked_is_refused():
    probe = sharing_probe("argument")
    asked = []

    def drift(_, __, output):
        asked.append(1)
        return output + 0.01 * len(asked)

    probe.model.model.blocks[2].register_forward_hook(drift)

    with pytest.raises(ModelError, match="differently when it is asked again"):
        probe.evaluate([(0,)])


def test_a_model_that_draws_random_numbers_is_refused():
    probe = sharing_probe("argument")
    probe.model.model.blocks[2].register_forward_hook(lambda _, __, output: output + torch.randn_like(output))

    with pytest.raises(ModelError, match="differently each time"):
        list(probe.batches())


@settings(max_examples=60)
@given(depth=st.integers(2, 40), data=st.data())
def test_any_two_layers_are_told_apart(depth, data):
    first, second = data.draw(st.lists(st.integers(0, depth - 1), min_size=2, max_size=2, unique=True))

    found = telling_subsets(depth)

    assert any(first in kept and second not in kept for kept in found)
    assert any(second in kept and first not in kept for kept in found)
    assert len(found) <= 5 + 2 * depth.bit_length()
