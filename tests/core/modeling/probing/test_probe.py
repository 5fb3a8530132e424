"""The prefix trie answers as models with really removed layers do, and costs what it says."""

import itertools
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from layer_games import counted, layers_probe, llama_probe, without_fast_tail, without_layer_0_it_overflows
from scipy.optimize import minimize_scalar

from lwa_core.errors import LwaError, ModelError
from lwa_core.modeling.probing.example_metrics import SCALES, ExampleMetrics
from lwa_core.modeling.probing.prefix_trie import evaluations
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


def test_64_pairs_of_orders_of_12_layers_take_about_130_passes():
    """What docs/guide.md says, where all subsets take 341."""
    rng, counts = np.random.default_rng(0), []
    for _ in range(5):
        orders = [rng.permutation(12).tolist() for _ in range(64)]
        walks = [walk for order in orders for walk in (order, order[::-1])]
        keeps = {tuple(sorted(walk[:n])) for walk in walks for n in range(13)}
        counts.append(len(evaluations(keeps, 12)) / 12)

    assert np.mean(counts) == pytest.approx(130, abs=5)
    assert 341 == round(len(evaluations(subsets(12), 12)) / 12)


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
    utilities=st.lists(st.sampled_from(["loss", "kl", "scaled-loss"]), min_size=4, max_size=4),
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


def naive_ndcg(scores, target, k, banned=()):
    """Of one target, by writing out every place that it can have among the items which tie with it."""
    if target in banned:
        return 0.0
    others = [score for item, score in enumerate(scores) if item != target and item not in banned]
    first = 1 + sum(score > scores[target] for score in others)
    last = first + sum(score == scores[target] for score in others)
    gains = [1 / math.log2(1 + place) if place <= k else 0.0 for place in range(first, last + 1)]
    return sum(gains) / len(gains)


@pytest.mark.parametrize(("k", "filter_seen"), [(10, False), (10, True), (3, True)])
def test_ndcg_utility_is_the_ndcg_of_the_ranked_target(k, filter_seen):
    plain = tiny_probe(utility="ndcg")
    probe = Probe(
        plain.model, plain.subject, plain.histories, plain.targets, utility="ndcg", k=k, filter_seen=filter_seen
    )
    rows = probe.evaluate(ALL)

    for kept, values in zip(ALL, rows, strict=True):
        scores = alone(probe, kept).tolist()
        banned = [set(history.tolist()) if filter_seen else set() for history in probe.histories]
        expected = [naive_ndcg(*each, k, seen) for *each, seen in zip(scores, probe.targets, banned, strict=True)]
        assert expected == pytest.approx(values.tolist())


def test_a_model_whose_report_has_no_ndcg_has_no_such_utility():
    plain = tiny_probe()
    probe = Probe(plain.model, plain.subject, plain.histories, plain.targets, k=None)

    with pytest.raises(LwaError, match="the report of this model has none"):
        probe.evaluate([()], "ndcg")


def test_a_model_that_scores_all_items_alike_has_the_ndcg_of_chance():
    probe = tiny_probe(items=200, utility="ndcg")
    with torch.no_grad():
        probe.model.model.norm.weight.zero_()
        probe.model.model.norm.bias.zero_()

    chance = sum(1 / math.log2(1 + place) for place in range(1, 11)) / 200
    assert probe.evaluate([(0, 1, 2, 3)])[0] == pytest.approx(chance)


def test_the_full_model_does_not_diverge_from_itself():
    assert not tiny_probe(utility="kl").evaluate([(0, 1, 2, 3)]).any()


# Answers that are not finite

BAD = [math.nan, math.inf]


def test_infinite_losses_and_no_place_where_an_answer_is_not_finite():
    low = -math.inf
    logits = torch.tensor(
        [[1.0, 2.0, 2.0, 0.5], [low, low, 3.0, 1.0], [4.0, low, low, 4.0], *([0.0, bad, 5.0, 1.0] for bad in BAD)]
    )
    logits = torch.cat([logits, torch.tensor([[bad, 0.0, 0.0, 0.0] for bad in BAD] + [[low] * 4])])
    targets = torch.tensor([1, 0, 0, 0, 0, 0, 0, 0])
    judge = ExampleMetrics(targets, besides="kl")
    judge(torch.zeros(8, 4))  # the full model

    losses, ranks, tied, divergences = judge(logits)

    expected = [math.log(sum(math.exp(x - 2) for x in (1.0, 2.0, 2.0, 0.5))), math.inf, math.log(2)]
    assert expected + [math.inf] * 5 == pytest.approx(losses.tolist())
    assert [2, 0, 2, 0, 0, 0, 0, 0] == ranks.tolist()
    assert [1, 0, 1, 0, 0, 0, 0, 0] == tied.tolist()
    assert [True] + [False] * 7 == divergences.isfinite().tolist()
    assert not divergences.isnan().any()


def test_items_that_the_full_model_rules_out_do_not_count_for_the_divergence():
    judge = ExampleMetrics(torch.tensor([0]), besides="kl")
    judge(torch.tensor([[1.0, 2.0, -math.inf]]))

    *_, divergence = judge(torch.tensor([[2.0, 2.0, 1.0]]))

    p = [math.exp(x) / (math.e + math.exp(2)) for x in (1, 2)]
    q = math.exp(2) / (2 * math.exp(2) + math.e)
    assert sum(a * math.log(a / q) for a in p) == pytest.approx(float(divergence))


@pytest.mark.parametrize("bad", BAD)
@pytest.mark.parametrize("utility", ["loss", "ndcg", "kl", "scaled-loss"])
def test_of_a_full_model_answers_that_are_not_finite_are_an_error(bad, utility):
    probe = tiny_probe()
    with torch.no_grad():
        probe.model.layers[1].down_proj.bias.fill_(bad)

    with pytest.raises(ModelError, match="the full model's answers to 20 of 20 examples are not finite"):
        probe.evaluate([(0, 2)], utility)
    assert probe._answers.losses == {}
    with pytest.raises(ModelError, match="gates are not finite on 20 of 20 examples"):
        probe.gate_gradients()


def test_the_scaled_loss_is_that_at_the_best_temperature_of_each_set():
    probe = tiny_probe()
    (batch,) = probe.batches(size=probe.examples)
    order, targets = probe.order, batch["targets"]

    found = probe.evaluate([(0, 2), (1,)], "scaled-loss")

    for row, kept in enumerate([(0, 2), (1,)]):
        with torch.no_grad(), probe.model.skipping(kept):
            logits = probe.logits(batch).double()

        def losses(log_scale, logits=logits):
            return F.cross_entropy(logits * math.exp(log_scale), targets, reduction="none")

        inside = (math.log(SCALES[0]), math.log(SCALES[-1]))
        best = minimize_scalar(lambda scale, own=losses: float(own(scale).mean()), bounds=inside, method="bounded")
        assert best.fun <= -found[row].mean() <= best.fun + 1e-3
        at = min(inside[0] + np.arange(len(SCALES)) * math.log(2) / 6, key=lambda scale: float(losses(scale).mean()))
        np.testing.assert_allclose(-found[row][order], losses(at).numpy(), rtol=1e-5)


def test_the_scale_of_the_logits_does_not_matter_to_the_scaled_loss():
    rng = np.random.default_rng(0)
    targets = torch.from_numpy(rng.integers(0, 9, 50))
    logits = torch.from_numpy(rng.normal(size=(50, 9)))
    logits[range(50), targets] += 2.0

    plain, louder = (ExampleMetrics(targets, "scaled")(logits * scale) for scale in (1.0, 2 ** (3 / 6)))

    for table in (plain, louder):
        assert 0 < table[-1].mean(dim=1).argmin() < len(SCALES) - 1
    torch.testing.assert_close(plain[-1][3:], louder[-1][:-3])
    assert plain[-1].mean(dim=1).min() == pytest.approx(float(louder[-1].mean(dim=1).min()), rel=1e-6)
    assert abs(float(plain[0].mean() - louder[0].mean())) > 0.01


@given(broken=st.sets(st.integers(0, 7), min_size=1, max_size=7))
def test_a_set_with_answers_that_are_not_finite_is_the_worst_by_every_utility(broken):
    """Whichever examples break, the mean of no finite set is lower, and of the ndcg those examples add nothing."""
    rng = np.random.default_rng(0)
    table, targets = torch.from_numpy(rng.normal(size=(8, 5))), torch.from_numpy(rng.integers(0, 5, 8))
    judge = ExampleMetrics(targets, besides="kl")
    judge(torch.zeros(8, 5, dtype=torch.double))
    whole = judge(table)
    hurt = table.clone()
    hurt[sorted(broken), 3] = math.nan

    losses, ranks, _, divergences = judge(hurt)

    assert losses.mean() == divergences.mean() == math.inf
    assert sorted(broken) == torch.nonzero(ranks == 0)[:, 0].tolist() == torch.nonzero(losses.isinf())[:, 0].tolist()
    fine = [row for row in range(8) if row not in broken]
    assert torch.equal(losses[fine], whole[0][fine])
    assert torch.equal(ranks[fine], whole[1][fine])


def test_a_layer_that_breaks_without_another_is_counted_for_every_set():
    probe = without_layer_0_it_overflows()

    assert [0, 0, 0, 10] == probe.unanswered([(0, 1, 2), (0, 1), (0, 2), (1, 2)]).tolist()
    assert [True, True, True, False] == np.isfinite(probe.evaluate([(0, 1, 2), (0, 1), (0, 2), (1, 2)])).all(1).tolist()


@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float16])
def test_half_precision_logits_are_judged_in_single_precision(kind):
    torch.manual_seed(0)
    logits, targets = torch.randn(8, 3000).to(kind), torch.arange(8)

    losses, ranks, _ = ExampleMetrics(targets)(logits)

    exact = logits.double()
    own = exact[torch.arange(8), targets]
    np.testing.assert_allclose(losses, exact.logsumexp(dim=1) - own, rtol=1e-6)
    assert [int((row >= mine).sum()) for row, mine in zip(exact, own, strict=True)] == ranks.tolist()


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
