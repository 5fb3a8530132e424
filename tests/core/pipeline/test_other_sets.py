"""The chosen layers beside sets that nobody looked for, all as cut, on test examples."""

from itertools import combinations

import attrs
import pytest
from tiny_recipe import TEXT, write_recipe

from lwa_core import LayeredModel, ModelError
from lwa_core.pipeline.run import run_recipe
from lwa_core.pipeline.stages.other_sets import random_sets, spaced
from lwa_core.recipe.reader import load_recipe
from lwa_core.results.figures import signed
from lwa_core.results.reading import read_results
from lwa_core.results.schema import Choice, Figure, SetResult
from lwa_core.results.warnings import warnings_for
from lwa_core.store.results import Store
from lwa_plugins.selectors.uniform import spread


@pytest.mark.parametrize("depth", range(1, 13))
def test_spaced_layers_are_those_of_the_selector(depth):
    for count in range(1, depth + 1):
        assert list(spaced(depth, count)) == spread(depth, count)


def test_random_sets_are_different_and_all_come_up():
    every = list(combinations(range(5), 2))

    assert sorted(random_sets(5, 2, 100, seed=0)) == every
    drawn = [random_sets(5, 2, 3, seed) for seed in range(200)]
    assert {len(set(sets)) for sets in drawn} == {3}
    counts = [sum(each in sets for sets in drawn) for each in every]
    assert 30 < min(counts) <= max(counts) < 95  # 60 each are expected, with a deviation of 6.5
    assert random_sets(5, 2, 3, 0) == random_sets(5, 2, 3, 0)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    here = tmp_path_factory.mktemp("sets")
    return run_recipe(load_recipe(write_recipe(here)), Store(here / "store"))


def test_the_chosen_set_as_cut_is_what_drop_leaves(folder):
    results = read_results(folder)
    dropped = {model.tier: model for model in results.models if model.step == "drop"}

    assert [0, 1] == [choice.tier for choice in results.metrics.choices]
    for choice in results.metrics.choices:
        model = dropped[choice.tier]
        assert choice.chosen.layers == model.layers
        assert choice.chosen.figure == model.metrics[results.headline]
        assert choice.chosen.kept == model.kept[results.headline]
        assert ["evenly spaced", *["random"] * 3] == [other.how for other in choice.others]
        assert len({other.layers for other in choice.others[1:]}) == 3
        for other in choice.others:
            lead = choice.chosen.figure.mean - other.figure.mean
            assert other.ahead.mean == pytest.approx(lead, abs=1e-9)
            assert other.ahead.low <= lead <= other.ahead.high


def test_no_set_stands_among_the_models(folder):
    kinds = {model.kind for model in read_results(folder).models}

    assert {"teacher", "student", "baseline"} == kinds


def test_none_are_measured_where_none_are_asked_for(tmp_path):
    text = TEXT.replace("[evaluate]", "[evaluate]\nrandom_sets = 0")

    results = read_results(run_recipe(load_recipe(write_recipe(tmp_path, text)), Store(tmp_path / "store")))

    assert results.metrics.choices == ()


def test_sets_that_a_family_cannot_be_cut_to_are_left_out(tmp_path, monkeypatch):
    keep = LayeredModel.keep

    def keeping(self, kept, inputs=None):
        if list(kept) == [1]:
            raise ModelError("the first layer has to stay")
        return keep(self, kept, inputs)

    monkeypatch.setattr(LayeredModel, "keep", keeping)
    text = TEXT.replace('use = "greedy"\nkeep = [2, 1]', 'use = "uniform"\nkeep = 1')

    results = read_results(run_recipe(load_recipe(write_recipe(tmp_path, text)), Store(tmp_path / "store")))

    (choice,) = results.metrics.choices
    assert {(0,), (2,)} == {other.layers for other in choice.others}


@pytest.mark.parametrize(
    ("ahead", "said"),
    [
        (Figure(0.01, 0.002, 0.02), None),
        (Figure(0.01, -0.002, 0.02), "is not shown to rank better or worse than"),
        (Figure(-0.01, -0.02, -0.002), "is shown to rank worse than"),
    ],
)
def test_a_choice_that_is_not_shown_better_is_said_to_be_so(folder, ahead, said):
    results = read_results(folder)
    other = SetResult(how="evenly spaced", layers=(0, 1), figure=Figure(0.1, 0.1, 0.1), ahead=ahead)
    choice = Choice(tier=0, chosen=SetResult(how="chosen", layers=(0, 2)), others=(other,))
    changed = attrs.evolve(results, metrics=attrs.evolve(results.metrics, choices=(choice,)))

    (warning, *_) = [each for each in warnings_for(changed) if each.code == "choice-no-better"] or [None]

    if said is None:
        assert warning is None
    else:
        assert f"the choice of layers 0, 2, as cut, {said} evenly spaced ones (0, 1; advantage" in warning.message
        assert signed(ahead.low) in warning.message
