"""Selectors that weigh whole sets: against brute force over every subset, on planted tables and on real models."""

import itertools
import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from planted_sets import REDUNDANT, Planted, TableProbe, all_subsets, number, redundant_gates, redundant_pair
from scipy import stats

from lwa_core import LwaError
from lwa_core.modeling.files.sizes import parameter_count
from lwa_core.settings import structure
from lwa_core.statistics.subsets import every_subset
from lwa_core.testing import tiny_probe, tiny_recommender
from lwa_plugins.selectors import gate_qubo
from lwa_plugins.selectors.beam import Beam
from lwa_plugins.selectors.budget import Budget
from lwa_plugins.selectors.contiguous import Contiguous
from lwa_plugins.selectors.evolution import Evolution
from lwa_plugins.selectors.exact import Exact
from lwa_plugins.selectors.gate_qubo import GateQubo
from lwa_plugins.selectors.greedy import Greedy

SEARCHING = [Exact, Greedy, Beam, Evolution]
ALL = [*SEARCHING, GateQubo, Contiguous]


def by_name(cls):
    return cls.__name__


def test_the_subsets_of_a_table_are_those_of_a_probe():
    assert tiny_probe().subsets() == every_subset(4)


# Planted sets


@pytest.mark.parametrize("cls", SEARCHING, ids=by_name)
def test_of_a_redundant_pair_one_stays(cls):
    """Leave-one-out would let both go: they are the two layers that cost least alone."""
    assert {1, 2} == set(np.argsort(REDUNDANT)[:2].tolist())

    plan = cls(keep=(5, 4)).select(Planted(TableProbe(redundant_pair())).selection())

    one, two = plan.tiers
    assert one in ((0, 1, 3, 4, 5), (0, 2, 3, 4, 5))
    assert two in ((0, 1, 3, 5), (0, 2, 3, 5))


def test_of_a_redundant_pair_of_gates_one_stays():
    probe = TableProbe(np.zeros((64, 64)), redundant_gates())

    plan = GateQubo(keep=(5, 4)).select(Planted(probe).selection())

    one, two = plan.tiers
    assert one in ((0, 1, 3, 4, 5), (0, 2, 3, 4, 5))
    assert two in ((0, 1, 3, 5), (0, 2, 3, 5))
    assert [-1.1, -0.5] == pytest.approx([point["value"] for point in reversed(plan.trace["front"])])


def test_a_block_that_undoes_itself_goes_though_each_of_its_layers_turns_the_states():
    """Layer 1 adds a large vector and layer 2 takes it away; layer 3 turns the states a little."""
    probe = tiny_probe()
    large = 50 * torch.randn(16, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        for layer, added in ((1, large), (2, -large)):
            block = probe.model.layers[layer]
            for linear in (block.attention.o_proj, block.down_proj):
                linear.weight.zero_()
                linear.bias.zero_()
            block.down_proj.bias.copy_(added)

    plan = Contiguous(keep=(3, 2)).select(Planted(probe).selection())

    assert plan.tiers[1] == (0, 3)
    assert set(plan.tiers[0]) > {1, 2}


# Against brute force


@pytest.fixture(scope="module")
def real():
    """A real model's answers: mean utility and divergence of every subset, from really removed layers."""
    probe = tiny_probe(tiny_recommender(layers=5), examples=12)
    batch = probe.subject.example_batch(probe.histories, probe._targets)

    def log_odds(kept):
        with torch.no_grad():
            return probe.subject.scores(probe.model.keep(kept).model.eval(), batch).double().log_softmax(dim=1)

    full = log_odds(range(5))
    targets = torch.as_tensor(probe._targets)
    means, kl = {}, {}
    for kept in all_subsets(5):
        if kept:
            own = log_odds(kept)
            means[kept] = float(own.gather(1, targets[:, None]).mean())
            kl[kept] = float((full.exp() * (full - own)).sum(dim=1).mean())
    return means, kl


def real_selection(**settings):
    return Planted(tiny_probe(tiny_recommender(layers=5), examples=12), **settings).selection()


def of_size(values, size):
    return [kept for kept in values if len(kept) == size]


def test_exact_is_the_best_of_really_cut_models(real):
    means, _ = real

    plan = Exact(keep=(4, 3, 2, 1)).select(real_selection())

    assert tuple(max(of_size(means, size), key=means.get) for size in (4, 3, 2, 1)) == plan.tiers


@pytest.mark.parametrize("width", [1, 2, 10])
def test_beam_is_the_naive_beam_over_really_cut_models(real, width):
    means, _ = real
    beam, expected = [tuple(range(5))], []
    while len(beam[0]) > 1:
        smaller = {kept for kept in of_size(means, len(beam[0]) - 1) if any(set(kept) < set(big) for big in beam)}
        beam = sorted(smaller, key=means.get, reverse=True)[:width]
        expected.append(beam[0])

    plan = Beam(keep=(4, 3, 2, 1), width=width).select(real_selection())

    assert tuple(expected) == plan.tiers
    if width == 10:  # as many as there are sets of any size
        assert Exact(keep=(4, 3, 2, 1)).select(real_selection()).tiers == plan.tiers


def test_a_beam_of_one_is_greedy():
    plan = Greedy(keep=(4, 2)).select(real_selection())

    assert Beam(keep=(4, 2), width=1).select(real_selection()).tiers == plan.tiers
    assert [1, 1, 1] == [len([r["removed"]]) for r in plan.trace["removals"]]
    removed = {r["removed"] for r in plan.trace["removals"]}
    assert set(plan.tiers[1]) == set(range(5)) - removed


def test_evolution_finds_the_least_divergent_of_really_cut_models(real):
    _, kl = real

    plan = Evolution(keep=(4, 3, 2, 1), offspring=8, generations=8).select(real_selection())

    assert tuple(min(of_size(kl, size), key=kl.get) for size in (4, 3, 2, 1)) == plan.tiers
    assert [kl[tier] for tier in plan.tiers] == pytest.approx([h[-1] for h in plan.trace["divergence"]], abs=1e-5)
    assert all(list(h) == sorted(h, reverse=True) for h in plan.trace["divergence"])


def test_evolution_follows_the_seed_and_its_generations_the_depth():
    plans = [Evolution(keep=3, offspring=2).select(real_selection(seed=seed)) for seed in (5, 5, 6)]

    assert plans[0] == plans[1]
    assert plans[0].trace["divergence"] != plans[2].trace["divergence"]
    assert 1 + 3 * 2 / 1.5 == len(plans[0].trace["divergence"][0])


def test_gate_qubo_is_the_least_of_a_double_sum_over_every_removal():
    gradients = tiny_probe(tiny_recommender(layers=5), examples=12).gate_gradients()
    expected = []
    for size in (4, 3, 2, 1):
        values = {kept: expansion(gradients, kept) for kept in itertools.combinations(range(5), size)}
        expected.append(min(values, key=values.get))

    plan = GateQubo(keep=(4, 3, 2, 1)).select(real_selection())

    assert tuple(expected) == plan.tiers
    assert plan.trace["exact"] is True
    assert 2 == plan.trace["passes"]


def expansion(gradients, kept):
    """−Σ ḡ + ½ ΣΣ Γ over the removed layers, one term at a time."""
    removed = [layer for layer in range(gradients.shape[1]) if layer not in kept]
    first = sum(np.mean([row[layer] for row in gradients]) for layer in removed)
    second = sum(np.mean([row[i] * row[j] for row in gradients]) for i in removed for j in removed)
    return -first + second / 2


def angles(probe):
    """The mean angle between every two block boundaries, from hooks, one history at a time: no padding."""
    states = []
    hooks = [
        layer.register_forward_pre_hook(lambda _, args: states[-1].append(args[0][0, -1].double().numpy()))
        for layer in (*probe.model.layers, probe.model.model.norm)
    ]
    for history in probe.histories:
        states.append([])
        with torch.no_grad():
            probe.subject.scores(probe.model.model, probe.subject.example_batch([history]))
    for hook in hooks:
        hook.remove()

    def angle(a, b):
        return np.arccos(a @ b / np.sqrt(a @ a * (b @ b))) / np.pi

    ends = itertools.combinations(range(probe.depth + 1), 2)
    return {(start, end): np.mean([angle(row[start], row[end]) for row in states]) for start, end in ends}


def without_block(depth, start, end):
    return tuple(layer for layer in range(depth) if not start <= layer < end)


@pytest.mark.parametrize("block", ["pre-norm", "gated"])
def test_contiguous_is_the_least_angle_of_hooked_states(block):
    probe = tiny_probe(tiny_recommender(layers=5, block=block), examples=12)
    turned = angles(probe)
    blocks = [min((b for b in turned if b[1] - b[0] == n), key=turned.get) for n in (1, 2, 3, 4)]

    plan = Contiguous(keep=(5, 4, 3, 2, 1)).select(Planted(probe).selection())

    assert ((0, 1, 2, 3, 4), *(without_block(5, *ends) for ends in blocks)) == plan.tiers
    values = [point["value"] for point in plan.trace["front"]]
    assert [0, *(-turned[ends] for ends in blocks)] == pytest.approx(values, abs=1e-6)


# Budgets

tables = st.integers(0, 2**32 - 1)
budgets = st.floats(0.5, 12.0)


def planted(seed, depth=5, examples=3):
    rng = np.random.default_rng(seed)
    gradients = rng.normal(size=(20, depth))
    costs = tuple(rng.uniform(0.3, 3.0, depth).round(3).tolist())
    return Planted(TableProbe(rng.normal(size=(2**depth, examples)), gradients), costs, 1.0)


def affordable(plant, limit):
    subsets = [kept for kept in all_subsets(plant.probe.depth) if kept]
    return [kept for kept in subsets if 1 + sum(plant.costs[layer] for layer in kept) <= limit + 1e-9]


def mean_of(plant, kept):
    return plant.probe.table[number(kept)].mean()


@given(tables, budgets.map(lambda x: 1 + round(x, 2)))
def test_exact_within_a_budget_is_the_best_that_fits(seed, limit):
    plant = planted(seed)
    plant.selection().costs("parameters")
    fitting = affordable(plant, limit)
    if not fitting:
        with pytest.raises(LwaError, match="no layer fits into"):
            select(Exact, plant, limit)
        return

    plan = select(Exact, plant, limit)

    assert max(fitting, key=lambda kept: mean_of(plant, kept)) == plan.tiers[0]


def select(cls, plant, limit, **settings):
    """With a budget of parameters, which are counted in ones: everything times a thousand."""
    selection = plant.selection()
    thousand = tuple(1000 * cost for cost in plant.costs)
    selection._costs["parameters"] = type(selection.costs("parameters"))("parameters", thousand, 1000 * plant.base)
    return cls(parameters=round(1000 * limit), **settings).select(selection)


@given(tables, budgets.map(lambda x: 1 + round(x, 2)), st.sampled_from([1, 2, 20]))
def test_beam_within_a_budget_is_the_best_that_it_saw_and_that_fits(seed, limit, width):
    plant = planted(seed)
    fitting = affordable(plant, limit)
    if not fitting:
        return
    beam, seen = [tuple(range(5))], {tuple(range(5))}
    while len(beam[0]) > 1:
        smaller = {tuple(sorted({*kept} - {layer})) for kept in beam for layer in kept}
        hopeful = [kept for kept in smaller if any(set(fit) <= set(kept) for fit in fitting)]
        beam = sorted(hopeful, key=lambda kept: -mean_of(plant, kept))[:width]
        seen |= set(hopeful)

    plan = select(Beam, plant, limit, width=width)

    assert max(seen & set(fitting), key=lambda kept: mean_of(plant, kept)) == plan.tiers[0]
    if width == 20:
        assert select(Exact, plant, limit).tiers == plan.tiers
    if width == 1:
        assert select(Greedy, plant, limit).tiers == plan.tiers


@given(tables, budgets.map(lambda x: 1 + round(x, 2)))
def test_gate_qubo_within_a_budget_is_the_least_that_fits(seed, limit):
    plant = planted(seed)
    fitting = affordable(plant, limit)
    if not fitting:
        return

    plan = select(GateQubo, plant, limit)

    values = {kept: expansion(plant.probe.gradients, kept) for kept in fitting}
    assert min(values.values()) == pytest.approx(values[plan.tiers[0]])


@settings(max_examples=20)
@given(tables, budgets.map(lambda x: 1 + round(x, 2)))
def test_evolution_within_a_budget_fits_and_is_the_best_that_it_saw(seed, limit):
    plant = planted(seed)
    fitting = affordable(plant, limit)
    if not fitting:
        return

    plan = select(Evolution, plant, limit, offspring=4)

    seen = {kept for kept in plant.probe.asked if kept in set(fitting)}
    front = {tuple(point["kept"]) for point in plan.trace["front"]}
    assert max(seen, key=lambda kept: mean_of(plant, kept)) == plan.tiers[0]
    assert front <= set(fitting)


@pytest.mark.parametrize("limit", [3.0, 5.5, 8.0, 10.9, 11.0])
def test_contiguous_within_a_budget_is_the_least_angle_that_fits(limit):
    plant = Planted(tiny_probe(tiny_recommender(layers=5), examples=12), (1.0, 2.0, 3.0, 1.5, 2.5))
    turned = {without_block(5, *ends): angle for ends, angle in angles(plant.probe).items() if ends != (0, 5)}
    turned[(0, 1, 2, 3, 4)] = 0.0

    plan = select(Contiguous, plant, limit)

    assert min(set(turned) & set(affordable(plant, limit)), key=turned.get) == plan.tiers[0]


@pytest.mark.parametrize("cls", ALL, ids=by_name)
def test_a_budget_counts_the_whole_model_and_is_told(cls):
    probe = tiny_probe()
    layer, whole = parameter_count(probe.model.layers[0]), parameter_count(probe.model.model)

    plan = cls(parameters=whole - 2 * layer).select(Planted(probe).selection())

    assert 2 >= len(plan.tiers[0])
    assert plan.trace["budget"]["cost"] == whole - (4 - len(plan.tiers[0])) * layer
    assert plan.trace["budget"]["limit"] == whole - 2 * layer
    for point in plan.trace["front"]:
        assert point["cost"] == whole - (4 - point["layers"]) * layer
        assert point["fits"] is (point["layers"] <= 2)


@pytest.mark.parametrize("cls", [GateQubo, Contiguous, Evolution], ids=by_name)
def test_a_budget_for_all_keeps_all_where_the_criterion_is_distance_to_the_full_model(cls):
    probe = tiny_probe()
    plan = cls(milliseconds=1e9).select(Planted(probe).selection())

    if cls is GateQubo:  # it may predict a gain
        assert plan.trace["front"][0]["value"] == 0
    else:
        assert plan.tiers == ((0, 1, 2, 3),)


@pytest.mark.parametrize("cls", [*ALL, Budget], ids=by_name)
def test_a_budget_that_nothing_fits_says_what_would(cls):
    with pytest.raises(LwaError, match=r"no layer fits into 1e-06 megabytes") as caught:
        cls(megabytes=1e-6).select(Planted(tiny_probe()).selection())

    assert "raise select.megabytes to at least" in caught.value.hint


@pytest.mark.parametrize("cls", ALL, ids=by_name)
@pytest.mark.parametrize(
    "table", [{}, {"keep": 2, "parameters": 5}, {"megabytes": 1.0, "milliseconds": 1.0}, {"keep": []}], ids=str
)
def test_depth_or_one_budget_has_to_be_given(cls, table):
    made, problems = structure(cls, table, ("select",))

    assert made is None
    assert any("exactly one of keep, " in p.message or "must not be empty" in p.message for p in problems)


@pytest.mark.parametrize("cls", ALL, ids=by_name)
def test_more_layers_than_there_are_is_an_error(cls):
    with pytest.raises(LwaError, match="cannot keep 5 of 4 layers"):
        cls(keep=(2, 5)).select(Planted(tiny_probe()).selection())


def test_exact_refuses_what_has_no_table():
    with pytest.raises(LwaError, match=r"2\^17 rows"):
        Exact(keep=2).select(Planted(tiny_probe(tiny_recommender(layers=17), examples=2)).selection())


# The front


def test_the_front_holds_the_best_of_every_depth_with_its_paired_difference():
    plant = planted(3, examples=20)
    table = plant.probe.table

    told = Exact(keep=2).select(plant.selection()).trace

    assert told == json.loads(json.dumps(told))
    assert [5, 4, 3, 2, 1] == [point["layers"] for point in told["front"]]
    assert ("loss", 20, 31) == (told["utility"], told["examples"], told["sets"])
    for point in told["front"]:
        best = max(itertools.combinations(range(5), point["layers"]), key=lambda kept: mean_of(plant, kept))
        difference = table[number(best)] - table[-1]
        smaller = [other["utility"] for other in told["front"] if other["layers"] < point["layers"]]
        assert list(best) == point["kept"]
        assert mean_of(plant, best) == pytest.approx(point["utility"])
        assert (difference.mean(), stats.sem(difference)) == pytest.approx(
            (point["difference"], point["standard_error"])
        )
        assert point["dominated"] is any(value >= point["utility"] for value in smaller)


@pytest.mark.parametrize(
    ("cls", "depths"),
    [(Greedy, [5, 4, 3]), (Beam, [5, 4, 3]), (Evolution, [4, 3]), (GateQubo, [4, 3]), (Contiguous, [4, 3])],
    ids=str,
)
def test_the_front_has_the_depths_that_were_looked_at(cls, depths):
    told = cls(keep=(3, 4)).select(real_selection()).trace

    assert depths == [point["layers"] for point in told["front"]]
    assert told == json.loads(json.dumps(told))


def test_the_passes_of_a_choice_are_those_before_the_front_is_measured():
    assert 1 == Contiguous(keep=(3, 2)).select(real_selection()).trace["passes"]
    assert 31 / 5 == Exact(keep=2).select(real_selection()).trace["passes"]


def test_one_example_has_no_standard_error():
    told = Greedy(keep=3).select(planted(0, examples=1).selection()).trace

    assert [None] * 3 == [point["standard_error"] for point in told["front"]]


# Above sixteen layers


@pytest.mark.parametrize("seed", range(5))
def test_the_local_search_finds_what_weighing_all_sets_finds(seed, monkeypatch):
    plant = planted(seed, depth=9)
    weighed = [GateQubo(keep=(7, 5, 3)).select(plant.selection()), select(GateQubo, plant, 7.0)]
    monkeypatch.setattr(gate_qubo, "ENUMERATED", 4)

    searched = [GateQubo(keep=(7, 5, 3)).select(plant.selection()), select(GateQubo, plant, 7.0)]

    assert [plan.tiers for plan in weighed] == [plan.tiers for plan in searched]
    assert [(True, False)] * 2 == [(a.trace["exact"], b.trace["exact"]) for a, b in zip(weighed, searched, strict=True)]


def test_no_swap_improves_what_the_local_search_finds():
    rng = np.random.default_rng(0)
    gradients = rng.normal(size=(60, 20)) @ rng.normal(size=(20, 20))
    probe = TableProbe(np.zeros((1, 2)), gradients)
    probe.depth, probe.evaluate = 20, lambda keeps, utility=None: np.zeros((len(keeps), 2))
    probe.unanswered = lambda keeps: np.zeros(len(keeps), dtype=int)

    (kept,) = GateQubo(keep=12).select(Planted(probe).selection()).tiers

    own = expansion(gradients, kept)
    for old in kept:
        for new in set(range(20)) - set(kept):
            assert expansion(gradients, sorted({*kept, new} - {old})) >= own - 1e-9


def test_the_local_search_needs_no_random_start():
    probe = TableProbe(np.zeros((1, 2)), np.random.default_rng(0).normal(size=(60, 18)))
    probe.depth, probe.evaluate = 18, lambda keeps, utility=None: np.zeros((len(keeps), 2))
    probe.unanswered = lambda keeps: np.zeros(len(keeps), dtype=int)

    plan = GateQubo(keep=15, starts=0).select(Planted(probe).selection())

    best = min(expansion(probe.gradients, kept) for kept in itertools.combinations(range(18), 15))
    assert best <= -plan.trace["front"][0]["value"] + 1e-9
