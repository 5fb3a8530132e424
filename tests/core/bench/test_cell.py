"""A benchmark of one small cell, carried out whole, beside layers that are really removed and sums written out."""

import copy
import itertools
import json
import math
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path

import attrs
import numpy as np
import pytest
import torch
from click.testing import CliRunner
from scipy.stats import rankdata, spearmanr
from tiny_recipe import TEXT

from lwa_core.bench.cell import measure_cell
from lwa_core.bench.document import load_bench
from lwa_core.bench.running import save
from lwa_core.cli import main
from lwa_core.pipeline.plan import make_plan
from lwa_core.store.results import Store

BENCH = """\
name = "small"
seeds = [0]

[[cell]]
recipe = "tiny.toml"
set = ["recommender.layers=4", "recommender.epochs=2", "calibration.examples=40"]

[[score]]
use = "leave-one-out"

[[score]]
use = "shapley"
method = "exact"

[[score]]
use = "banzhaf"
method = "exact"

[[score]]
use = "borda"
of = ["leave-one-out", "banzhaf"]

[[score]]
use = "borda"
name = "borda-of-all"

[[select]]
use = "exact"

[[select]]
use = "greedy"

[repair]
use = "patch"

[heal]
use = "fine-tune"
epochs = 1

[measure]
test = 60
healed = [0.5]
controls = 4
"""
DEPTH = 4
FULL = tuple(range(DEPTH))


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bench")
    (folder / "tiny.toml").write_text(TEXT, encoding="utf-8")
    (folder / "bench.toml").write_text(BENCH, encoding="utf-8")
    events = []
    bench, store = load_bench(folder / "bench.toml"), Store(folder / "store")
    result = measure_cell(bench, bench.cells[0], store, [lambda event, run: events.append(event)])
    return folder, bench, result, events


def entry(result, name):
    return next(each for each in result["entries"] if each["name"] == name)


@pytest.fixture(scope="module")
def naive(measured):
    """Losses of test and calibration examples with layers really taken out: subset -> losses."""
    folder, bench, _, _ = measured
    store = Store(folder / "store")
    recipe = bench.cells[0].recipe
    plan = make_plan(recipe)
    data = plan.data.stored(store)
    teacher = plan.teacher.stored(store).load().layered
    tables = {}
    for name, examples, count in (("test", data.test, 60), ("calibration", data.calibration, 40)):
        rows = np.arange(len(examples))
        if len(rows) > count:
            rows = np.sort(np.random.default_rng(0).choice(len(rows), size=count, replace=False))
        chosen = examples.take(rows)
        batch = recipe.recommender.instance.example_batch(data.histories(chosen), data.targets(chosen))
        tables[name] = {}
        for size in range(DEPTH + 1):
            for kept in itertools.combinations(range(DEPTH), size):
                model = copy.deepcopy(teacher.base).eval()
                setattr(model, teacher.path, torch.nn.ModuleList([teacher.layers[layer] for layer in kept]))
                with torch.no_grad():
                    hidden, targets = recipe.recommender.instance.encode(model, batch)
                    logits = recipe.recommender.instance.head(model, hidden).double()
                tables[name][kept] = torch.nn.functional.cross_entropy(logits, targets, reduction="none").numpy()
    return tables


@pytest.fixture(scope="module")
def naive_ndcg(measured):
    """NDCG@10 of test examples with layers really taken out, over all items not seen before: subset -> values."""
    folder, bench, _, _ = measured
    recipe, store = bench.cells[0].recipe, Store(folder / "store")
    plan = make_plan(recipe)
    data, teacher = plan.data.stored(store), plan.teacher.stored(store).load().layered
    rows = np.arange(len(data.test))
    if len(rows) > 60:
        rows = np.sort(np.random.default_rng(0).choice(len(rows), size=60, replace=False))
    chosen = data.test.take(rows)
    histories, targets = data.histories(chosen), data.targets(chosen)
    batch = recipe.recommender.instance.example_batch(histories, targets)
    found = {}
    for kept in (kept for size in range(DEPTH + 1) for kept in itertools.combinations(range(DEPTH), size)):
        model = copy.deepcopy(teacher.base).eval()
        setattr(model, teacher.path, torch.nn.ModuleList([teacher.layers[layer] for layer in kept]))
        with torch.no_grad():
            hidden, _ = recipe.recommender.instance.encode(model, batch)
            logits = recipe.recommender.instance.head(model, hidden).numpy()
        gains = []
        for row, (history, target) in enumerate(zip(histories, targets, strict=True)):
            scores = logits[row].copy()
            if recipe.evaluate.filter_seen:
                scores[list(set(np.asarray(history).tolist()) - {int(target)})] = -np.inf
            ahead = int((np.delete(scores, target) >= scores[target]).sum())
            gains.append(1 / math.log2(ahead + 2) if ahead < 10 else 0.0)
        found[kept] = np.array(gains)
    return found


def test_losses_and_gains_are_those_of_layers_really_removed_on_test_examples(measured, naive):
    for name in ("leave-one-out", "exact", "greedy", "uniform", "last-first"):
        told = entry(measured[2], name)
        assert [3, 2] == [len(kept) for kept in told["kept"]]
        losses = [naive["test"][tuple(kept)].mean() for kept in told["kept"]]
        chance = [
            np.mean([naive["test"][kept] for kept in itertools.combinations(range(DEPTH), size)]) for size in (3, 2)
        ]
        np.testing.assert_allclose(told["loss"], losses, atol=1e-5)
        assert told["gain"]["mean"] == pytest.approx(np.mean(chance) - np.mean(losses), abs=1e-5)


def test_what_is_chosen_is_chosen_on_calibration_examples(measured, naive):
    sets = {size: list(itertools.combinations(range(DEPTH), size)) for size in (3, 2)}
    best = [min(sets[size], key=lambda kept: naive["calibration"][kept].mean()) for size in (3, 2)]
    order = list(np.argsort(leave_one_out(value_of(naive))))

    assert [list(kept) for kept in best] == entry(measured[2], "exact")["kept"]
    assert [sorted(order[1:]), sorted(order[2:])] == entry(measured[2], "leave-one-out")["kept"]


def value_of(naive):
    return {kept: -losses.mean() for kept, losses in naive["calibration"].items()}


def leave_one_out(value):
    return np.array([value[FULL] - value[FULL[:layer] + FULL[layer + 1 :]] for layer in FULL])


def shapley(value):
    found = np.zeros(DEPTH)
    for order in itertools.permutations(FULL):
        for place, layer in enumerate(order):
            gain = value[tuple(sorted(order[: place + 1]))] - value[tuple(sorted(order[:place]))]
            found[layer] += gain / math.factorial(DEPTH)
    return found


def banzhaf(value):
    return np.array(
        [
            np.mean([worth for kept, worth in value.items() if layer in kept])
            - np.mean([worth for kept, worth in value.items() if layer not in kept])
            for layer in FULL
        ]
    )


def agreement(scores, value):
    return {
        "leave-one-out": pytest.approx(spearmanr(scores, leave_one_out(value))[0]),
        "shapley": pytest.approx(spearmanr(scores, shapley(value))[0]),
    }


def test_agreement_is_with_leave_one_out_and_shapley_values_written_out(measured, naive):
    value = value_of(naive)
    for name, scores in (("leave-one-out", leave_one_out), ("shapley", shapley), ("banzhaf", banzhaf)):
        assert agreement(scores(value), value) == entry(measured[2], name)["agrees"]


def test_a_combining_scorer_gets_the_scores_that_it_names_and_never_those_of_baselines(measured, naive):
    value = value_of(naive)
    ranks = {name: rankdata(f(value)) for name, f in (("loo", leave_one_out), ("s", shapley), ("b", banzhaf))}

    assert agreement(ranks["loo"] + ranks["b"], value) == entry(measured[2], "borda")["agrees"]
    assert agreement(sum(ranks.values()), value) == entry(measured[2], "borda-of-all")["agrees"]


def test_costs_are_layer_evaluations_over_the_depth(measured):
    """Leave-one-out: the whole once, then what lies behind each gap; all subsets: each layer on every way before it."""
    cost = {each["name"]: each["passes"] for each in measured[2]["entries"]}

    assert cost["leave-one-out"] == (4 + 3 + 2 + 1) / 4
    assert cost["shapley"] == cost["exact"] == (1 + 2 + 4 + 8) / 4
    assert cost["borda"] == cost["uniform"] == cost["last-first"] == 0


SELFMADE = """\
import attrs
import torch
from lwa_core import Component, hookimpl


@attrs.frozen
class Silent:
    'Three forward passes and one backward one of its own, of which it says nothing.'

    def score(self, probe):
        with torch.no_grad():
            for _ in range(2):
                for batch in probe.batches():
                    probe.logits(batch)
        for batch in probe.batches():
            probe.logits(batch).sum().backward()
        probe.model.model.zero_grad()
        return torch.zeros(1, probe.depth)


@attrs.frozen
class Finisher:
    observes = frozenset({"states"})

    def observe(self, seen):
        return torch.zeros(len(seen.mask), len(seen.states) - 1)

    def finish(self, rows, probe):
        with torch.no_grad():
            for batch in probe.batches():
                probe.logits(batch)
        return rows


@hookimpl
def lwa_scorers():
    return [Component("silent", Silent), Component("finisher", Finisher)]
"""


def test_passes_that_a_scorer_makes_by_itself_are_counted_whatever_it_says(measured, tmp_path):
    scorers = ["silent", "finisher", "fisher", "hutchinson", "conductance", "linear-probe", "laplace", "kfac-trace"]
    heads = "".join(f'[[score]]\nuse = "{name}"\n' for name in scorers)
    text = BENCH.replace("seeds = [0]", 'seeds = [0]\nplugins = ["selfmade.py"]')
    measure = "[measure]\ntest = 60\nhealed = [0.5]\ncontrols = 0\n"
    text = text[: text.index("[[score]]")] + heads + measure
    (tmp_path / "selfmade.py").write_text(SELFMADE, encoding="utf-8")
    (tmp_path / "tiny.toml").write_text(TEXT, encoding="utf-8")
    (tmp_path / "bench.toml").write_text(text, encoding="utf-8")
    bench = load_bench(tmp_path / "bench.toml")

    told = measure_cell(bench, bench.cells[0], Store(measured[0] / "store"))

    cost = {each["name"]: each["passes"] for each in told["entries"]}
    assert (4.0, 2.0) == (cost["silent"], cost["finisher"])
    # What ours say of themselves is what they do: nothing is added to it.
    defaults = {use.name: use.instance for use in bench.scorers}
    assert 2.0 == cost["fisher"]
    assert 2 + 4 * defaults["hutchinson"].draws == cost["hutchinson"]


def test_what_sets_keep_of_the_ndcg_is_that_of_ranks_of_layers_really_removed(measured, naive_ndcg):
    means = {kept: values.mean() / naive_ndcg[FULL].mean() for kept, values in naive_ndcg.items()}
    for name in ("leave-one-out", "greedy", "last-first"):
        told = entry(measured[2], name)
        expected = np.mean([means[tuple(kept)] for kept in told["kept"]])
        assert expected == pytest.approx(told["kept_quality"], abs=1e-6)
    by_size = [np.mean([means[kept] for kept in means if len(kept) == size]) for size in (3, 2)]
    assert np.mean(by_size) == pytest.approx(measured[2]["random"]["kept"], abs=1e-6)
    best = [max(means[kept] for kept in means if len(kept) == size) for size in (3, 2)]
    assert 0 < measured[2]["best"]["kept"] <= np.mean(best) + 1e-9


def test_the_cell_says_how_many_pairs_it_tells_apart(measured):
    told = measured[2]
    entries = len(told["entries"])

    assert entries * (entries - 1) // 2 == told["pairs"]
    assert 0 <= told["apart"] <= told["pairs"]


def test_cut_and_healed_models_are_ranked_on_all_test_users(measured):
    teacher = measured[2]["teacher"]["ndcg@10"]
    for told in measured[2]["entries"]:
        (step,) = told["healed"]
        assert step["kept"] == told["kept"][1]
        assert 0 < step["cut"] <= 1
        assert 0 < step["repaired"] <= 1
        assert 0 < step["healed"] <= 1
        assert len({step["cut"], step["repaired"], step["healed"]}) > 1
    assert 0 < teacher <= 1


def test_controls_place_the_planted_layers(measured):
    for told in measured[2]["entries"]:
        if told["kind"] == "scorer" and not told["name"].startswith("borda"):
            assert {"identity", "duplicate", "noise"} == set(told["planted"])
            assert all(1 <= place <= DEPTH + 1 for place in told["planted"].values())
            assert {"mean", "low", "high"} <= set(told["untrained_gain"])


def test_what_was_measured_is_not_measured_again(measured):
    folder, bench, _, events = measured
    again = []

    result = measure_cell(bench, bench.cells[0], Store(folder / "store"), [lambda event, run: again.append(event)])

    assert result == measured[2]
    assert any(event.kind == "stage-finished" for event in events)
    assert not [event.stage for event in again if event.kind == "stage-finished"]


def test_other_test_examples_cost_a_table_of_them_only(measured):
    folder, bench, _, _ = measured
    store, finished, examples = Store(folder / "store"), {}, {}

    for test in (60, 50):
        asked = attrs.evolve(bench, measure=attrs.evolve(bench.measure, controls=0, test=test))
        events = []
        told = measure_cell(asked, asked.cells[0], store, [lambda event, run, kept=events: kept.append(event)])
        finished[test] = [event.stage for event in events if event.kind == "stage-finished"]
        examples[test] = told["examples"]["test"]

    assert examples == {60: 60, 50: 50}
    assert finished[60], "without controls the entries are others"
    assert not finished[50]


def test_the_command_adds_a_scorer_and_never_touches_what_it_wrote_before(measured):
    folder = measured[0]
    command = ["bench", str(folder / "bench.toml"), "--store", str(folder / "store"), "--scorer", "weight-magnitude"]

    done = CliRunner().invoke(main, command)

    assert done.exit_code == 0, done.output
    (written,) = (folder / "results").glob("*.json")
    result = json.loads(written.read_text(encoding="utf-8"))
    (cell,) = result["cells"]
    assert "weight-magnitude" in [each["name"] for each in cell["entries"]]
    assert measured[2]["entries"][0] == cell["entries"][0]
    assert "weight-magnitude" in written.with_suffix(".md").read_text(encoding="utf-8")
    (said,) = [each for each in result["entries"] if each["name"] == "weight-magnitude"]
    assert ("scorer", "weight-magnitude", "lwa") == (said["kind"], said["component"], said["distribution"])
    assert {"plugin", "version", "component_version", "settings"} <= set(said)
    source = find_spec("lwa_plugins.scorers.weight_magnitude").origin
    assert sha256(Path(source).read_bytes()).hexdigest() == said["code_sha256"]
    before = written.read_bytes()
    assert save(result, "", folder / "results") != save(result, "", folder / "results") != written
    assert before == written.read_bytes()
