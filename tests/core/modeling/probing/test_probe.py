"""The prefix trie answers as models with really removed layers do, and costs what it says."""

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from layer_games import counted, layers_probe, llama_probe, without_fast_tail

from lwa_core.errors import LwaError
from lwa_core.modeling.probing.example_metrics import ExampleMetrics, ndcg_of
from lwa_core.modeling.probing.probe import Probe
from lwa_core.testing import tiny_probe, tiny_recommender

ALL = [kept for n in range(5) for kept in itertools.combinations(range(4), n)]


def made(kind, monkeypatch):
    if kind == "language model":
        return llama_probe()
    block, _, tail = kind.partition(", ")
    probe = tiny_probe(tiny_recommender(block=block))
    return without_fast_tail(probe, monkeypatch) if tail else probe


def subsets(depth):
    return [kept for n in range(depth + 1) for kept in itertools.combinations(range(depth), n)]


def alone(probe, kept):
    """Logits of every example, one at a time, from a model that really lacks the other layers."""
    student = probe.model.keep(kept).model.eval() if kept else None
    rows = []
    for number, history in enumerate(probe.histories):
        batch = probe.subject.example_batch([history], probe.targets[number : number + 1])
        with torch.no_grad(), probe.model.skipping(()):  # of no layers at all there is no model
            model = probe.model.model if student is None else student
            rows.append(probe.subject.head(model, probe.subject.encode(model, batch)[0])[0])
    return torch.stack(rows).double()


@pytest.mark.parametrize("kind", ["pre-norm", "gated", "pre-norm, whole tail", "gated, whole tail", "language model"])
def test_every_subset_answers_as_a_model_with_really_removed_layers(kind, monkeypatch):
    probe = made(kind, monkeypatch)
    keeps = subsets(probe.depth)
    losses, divergences, ranks = (
        probe.evaluate(keeps, "loss"),
        probe.evaluate(keeps, "kl"),
        probe.ranks(keeps),
    )

    full = alone(probe, keeps[-1]).log_softmax(dim=1)
    for row, kept in enumerate(keeps):
        logits = alone(probe, kept)
        odds = logits.log_softmax(dim=1)
        own = [float(odds[n, target]) for n, target in enumerate(probe.targets)]
        # Where another item is as good as the target but for rounding, its rank may be one place off.
        certain = [
            all(abs(float(logits[n, target] - other)) > 1e-5 for i, other in enumerate(logits[n]) if i != target)
            for n, target in enumerate(probe.targets)
        ]
        places = [1 + sum(float(o) > float(logits[n, t]) for o in logits[n]) for n, t in enumerate(probe.targets)]
        np.testing.assert_allclose(losses[row], own, atol=1e-5)
        np.testing.assert_allclose(-divergences[row], (full.exp() * (full - odds)).sum(dim=1), atol=1e-5)
        assert all(a == b for a, b, sure in zip(places, ranks[row], certain, strict=True) if sure)
        assert sum(certain) > 0.9 * len(certain)


@pytest.mark.parametrize("kind", ["pre-norm", "gated, whole tail", "language model"])
def test_an_answer_never_depends_on_what_else_was_asked(kind, monkeypatch):
    """To the last bit: what is stored is then the same whoever asked for it."""
    probe = made(kind, monkeypatch)
    keeps = subsets(probe.depth)
    together = probe.evaluate(keeps, "loss")

    for row, kept in enumerate(keeps):
        assert np.array_equal(made(kind, monkeypatch).evaluate([kept], "loss")[0], together[row])
        assert np.array_equal(made(kind, monkeypatch).evaluate([kept, keeps[row - 1]], "loss")[0], together[row])


# Cost


@pytest.mark.parametrize("tail", ["fast tail", "whole tail"])
@settings(max_examples=25)
@given(keeps=st.lists(st.sets(st.integers(0, 4)).map(lambda s: tuple(sorted(s))), min_size=1, max_size=8))
def test_cost_is_the_number_of_layers_that_run(tail, keeps):
    with pytest.MonkeyPatch.context() as patch:
        probe = layers_probe(5)
        if tail == "whole tail":
            without_fast_tail(probe, patch)
        with counted(probe) as ran:
            probe.evaluate(keeps)

        assert len(ran) == pytest.approx(5 * probe.cost)


@settings(max_examples=50)
@given(keeps=st.lists(st.sets(st.integers(0, 4)).map(lambda s: tuple(sorted(s))), min_size=1, max_size=8))
def test_a_layer_runs_once_for_each_distinct_prefix_that_keeps_it(keeps):
    probe = layers_probe(5, examples=1)
    probe.evaluate(keeps)

    whole = {tuple(range(n)) for n in range(1, 6)}
    ends = {kept[: kept.index(layer) + 1] for kept in keeps for layer in kept}

    assert 5 * probe.cost == pytest.approx(len(whole | ends))


@pytest.mark.parametrize("depth", [1, 2, 3, 6, 8])
def test_costs_of_well_known_families(depth):
    layers = range(depth)
    families = {
        "all subsets": (subsets(depth), (2**depth - 1) / depth),
        "leave one out": ([tuple(j for j in layers if j != i) for i in layers], (depth + 1) / 2),
        "prefixes": ([tuple(range(n)) for n in range(depth + 1)], 1),
        "nothing": ([()], 1),
    }
    for keeps, expected in families.values():
        probe = layers_probe(depth, examples=1)
        with counted(probe) as ran:
            probe.evaluate(keeps)

        assert expected == pytest.approx(probe.cost)
        assert len(ran) == pytest.approx(depth * expected)


def test_answers_are_remembered():
    probe = layers_probe(4)
    first = probe.evaluate(ALL)
    cost = probe.cost

    with counted(probe) as ran:
        assert np.array_equal(probe.evaluate(ALL[::-1]), first[::-1])
        assert np.array_equal(probe.evaluate([[3, 1, 1]]), first[[ALL.index((1, 3))]])
        probe.ranks(ALL)
        probe.evaluate(ALL, "ndcg")

    assert (ran, cost) == ([], probe.cost)


def test_cost_counts_what_others_answered_before():
    """A scorer's price is that of running it alone."""
    first = layers_probe(4)
    first.evaluate(ALL)
    second = layers_probe(4)
    second._answers = first._answers

    with counted(second) as ran:
        second.evaluate([(0, 2, 3)])

    assert ran == []
    assert second.cost == pytest.approx((4 + 2) / 4)


# States that a search holds


FAMILIES = st.lists(
    st.lists(st.sets(st.integers(0, 4)).map(lambda s: tuple(sorted(s))), min_size=1, max_size=5), min_size=1, max_size=4
)


@pytest.mark.parametrize("tail", ["fast tail", "whole tail"])
@settings(max_examples=25)
@given(
    families=FAMILIES,
    utilities=st.lists(st.sampled_from(["loss", "kl"]), min_size=4, max_size=4),
    room=st.integers(0, 20),
)
def test_cost_is_the_number_of_layers_that_run_whatever_is_held(tail, families, utilities, room):
    with pytest.MonkeyPatch.context() as patch:
        probe = layers_probe(5)
        if tail == "whole tail":
            without_fast_tail(probe, patch)
        state = 4 * probe.width * sum(batch["attention_mask"].numel() for batch in probe.batches())
        with counted(probe) as ran, probe.holding(room * state):
            for keeps, utility in zip(families, utilities, strict=False):
                probe.evaluate(keeps, utility)
            held = sum(len(walk.held) + len(walk.full) - 1 for walk in probe._held.walks.values())

        assert len(ran) == pytest.approx(5 * probe.cost)
        assert held <= room


@settings(max_examples=25)
@given(families=FAMILIES)
def test_a_search_runs_a_layer_once_for_each_distinct_prefix_of_all_that_it_asks(families):
    searching, at_once = layers_probe(5, examples=1), layers_probe(5, examples=1)
    with searching.holding():
        asked = [searching.evaluate(keeps) for keeps in families]

    assert np.array_equal(np.concatenate(asked), at_once.evaluate([kept for keeps in families for kept in keeps]))
    assert searching.cost == pytest.approx(at_once.cost)


def test_every_question_begins_anew_outside_of_a_search():
    probe = layers_probe(4)
    with counted(probe) as ran:
        probe.evaluate([(0, 2)])
        probe.evaluate([(0, 2, 3)])

    assert [0, 1, 2, 3, 2, 0, 1, 2, 3, 2, 3] == ran
    assert 4 * probe.cost == pytest.approx(len(ran))


# Utilities


def test_ndcg_utility_is_the_ndcg_of_the_ranked_target():
    probe = tiny_probe(utility="ndcg")

    values = probe.evaluate([(0, 1, 2, 3)])[0]

    for number, value in enumerate(values):
        scores = alone(probe.part([number]), (0, 1, 2, 3))[0].tolist()
        rank = sorted(scores, reverse=True).index(scores[probe.targets[number]]) + 1
        assert value == pytest.approx(1 / math.log2(1 + rank) if rank <= 10 else 0.0)


def test_ndcg_of_ranks():
    assert [1.0, 1 / math.log2(3), 1 / math.log2(11), 0.0] == pytest.approx(ndcg_of(np.array([1, 2, 10, 11])).tolist())


def test_the_full_model_does_not_diverge_from_itself():
    assert not tiny_probe(utility="kl").evaluate([(0, 1, 2, 3)]).any()


def test_the_judge_counts_ties_for_the_target_and_sees_infinite_logits():
    low = -math.inf
    logits = torch.tensor([[1.0, 2.0, 2.0, 0.5], [low, low, 3.0, 1.0], [4.0, low, low, 4.0]])

    losses, ranks = ExampleMetrics(torch.tensor([1, 0, 0]), kl=False)(logits)

    assert [1, 3, 1] == ranks.tolist()
    expected = [math.log(sum(math.exp(x - 2) for x in (1.0, 2.0, 2.0, 0.5))), math.inf, math.log(2)]
    assert expected == pytest.approx(losses.tolist())


@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float16])
def test_half_precision_logits_are_judged_in_single_precision(kind):
    torch.manual_seed(0)
    logits, targets = torch.randn(8, 3000).to(kind), torch.arange(8)

    losses, ranks = ExampleMetrics(targets, kl=False)(logits)

    exact = logits.double()
    own = exact[torch.arange(8), targets]
    np.testing.assert_allclose(losses, exact.logsumexp(dim=1) - own, rtol=1e-6)
    assert [1 + int((row > mine).sum()) for row, mine in zip(exact, own, strict=True)] == ranks.tolist()


@pytest.mark.parametrize("kept", [(0, 4), (-1, 2), (7,)])
def test_refuses_layers_that_are_not_there(kept):
    with pytest.raises(LwaError, match=r"cannot keep layers .* with layers 0\.\.3"):
        tiny_probe().evaluate([(0, 1), kept])


def test_refuses_an_unknown_utility():
    with pytest.raises(LwaError, match="there is no utility 'recall'"):
        tiny_probe().evaluate([()], "recall")


def test_all_subsets_come_in_the_order_of_their_bits_and_not_of_too_many_layers():
    assert [(), (0,), (1,), (0, 1), (2,), (0, 2), (1, 2), (0, 1, 2)] == layers_probe(3).subsets()
    with pytest.raises(LwaError, match="2\\^17 rows"):
        layers_probe(17).subsets()


# Gates and parts


def test_gate_gradients_are_the_slope_of_the_loss():
    """By central differences in double precision, at gates that are all different."""
    probe = tiny_probe(examples=5)
    probe.model.model.double()
    gates = np.array([0.3, 1.0, 0.7, 0.1])

    def losses(at):
        rows = np.empty(probe.examples)
        for start, batch in zip(range(0, 5, probe.batch), probe.batches(), strict=True):
            with torch.no_grad(), probe.model.gated(torch.tensor(at)):
                logits = probe.logits(batch)
            rows[probe.order[start : start + probe.batch]] = torch.nn.functional.cross_entropy(
                logits, batch["targets"], reduction="none"
            )
        return rows

    found = probe.gate_gradients(gates.tolist())

    for layer in range(4):
        step = np.eye(4)[layer] * 1e-5
        slope = (losses(gates + step) - losses(gates - step)) / 2e-5
        np.testing.assert_allclose(found[:, layer], slope, rtol=1e-6, atol=1e-9)
    assert probe.cost == pytest.approx(2)


def test_a_part_answers_for_its_examples_and_draws_from_the_same_generator():
    probe = tiny_probe()
    rows = [17, 3, 8]
    part = probe.part(rows)

    np.testing.assert_allclose(part.evaluate(ALL), probe.evaluate(ALL)[:, rows], atol=1e-6)
    assert (part.examples, part.cost) == (3, probe.cost)
    assert part.generator is probe.generator


def test_the_order_of_examples_and_the_size_of_micro_batches_play_no_part():
    probe = tiny_probe()
    one = Probe(probe.model, probe.subject, probe.histories[::-1], probe.targets[::-1].copy(), batch=1)

    np.testing.assert_allclose(one.evaluate(ALL)[:, ::-1], probe.evaluate(ALL), atol=1e-5)
    assert np.array_equal(one.ranks(ALL)[:, ::-1], probe.ranks(ALL))
