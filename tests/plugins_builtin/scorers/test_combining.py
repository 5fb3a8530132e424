"""Scorers that combine the scores of others: what they get, what they make of it, when they run."""

import attrs
import numpy as np
import pytest
import tiny_recipe
import torch

from lwa_core.pipeline.plan import make_plan
from lwa_core.pipeline.scoring import read_scores
from lwa_core.recipe.reader import check_recipe, load_recipe
from lwa_core.store.files import read_json
from lwa_core.store.results import Store
from lwa_core.testing import check_scorer, tiny_board
from lwa_core.types import LayerScores, ScoreBoard
from lwa_plugins.scorers.borda import Borda
from lwa_plugins.scorers.robust_rank_aggregation import RobustRankAggregation

ONE = '[[score]]\nuse = "fisher"\n\n'
RECIPE = tiny_recipe.TEXT.replace(
    ONE, '[[score]]\nuse = "borda"\n\n[[score]]\nuse = "random"\n\n' + ONE, 1
).replace('use = "greedy"\nkeep = [2, 1]', 'use = "top-k"\nby = "borda"\nkeep = [2, 1]')  # fmt: skip


def board(*rows):
    return ScoreBoard({f"s{i}": LayerScores(f"s{i}", np.array([row], dtype=float)) for i, row in enumerate(rows)})


@pytest.mark.parametrize("scorer", [Borda(), RobustRankAggregation()], ids=lambda scorer: type(scorer).__name__)
def test_conforms(scorer):
    check_scorer(scorer)


def test_the_conformance_check_finds_a_table_that_follows_units():
    @attrs.frozen
    class Mean:
        def combine(self, board):
            return torch.from_numpy(board.means(board.names).mean(axis=0))[None]

    with pytest.raises(AssertionError, match="a scorer's unit changed the table"):
        check_scorer(Mean())


def test_borda_has_one_row_of_points_a_scorer():
    table = Borda().combine(board([0.1, 9.0, 0.3], [-5, -7, -6], [2, 2, 2]))

    assert [[0.0, 2.0, 1.0], [2.0, 0.0, 1.0], [1.0, 1.0, 1.0]] == table.tolist()


def test_borda_of_a_condorcet_cycle_is_a_draw():
    scores = LayerScores("b", Borda().combine(board([1, 2, 3], [2, 3, 1], [3, 1, 2])).numpy())

    assert [1.0, 1.0, 1.0] == scores.mean.tolist()


def test_robust_rank_aggregation_of_an_example_by_hand():
    """Two scorers, three layers. The first layer is ranked first by both: r = 1/3, 1/3.

    P(Beta(1, 2) ≤ 1/3) = 1 − (2/3)² = 5/9 and P(Beta(2, 1) ≤ 1/3) = 1/9, so ρ = 1/9; P(ρ' ≤ 1/9) is
    1 − (1 − a)² + (b − a)² with a = 1 − √(8/9) and b = √(1/9).
    """
    a = 1 - np.sqrt(8 / 9)
    expected = 1 - (1 - a) ** 2 + (1 / 3 - a) ** 2

    table = RobustRankAggregation().combine(board([3, 2, 1], [30, 20, 10]))

    assert (1, 3) == table.shape
    assert -np.log10(expected) == pytest.approx(table[0, 0].item())
    assert 0.0 == table[0, 2]


def test_a_layer_that_few_rank_high_stands_out_although_others_rank_it_low():
    """Top by five of ten and last by the others, against always in the middle: Borda sees no difference."""
    rows = [np.r_[10.0, 0.0, np.random.default_rng(i).permutation(10) - 4.5] for i in range(5)]
    rows += [np.r_[-10.0, 0.0, np.random.default_rng(5 + i).permutation(10) - 4.5] for i in range(5)]

    rra = RobustRankAggregation().combine(board(*rows))[0]
    borda = Borda().combine(board(*rows)).mean(dim=0)

    assert rra[0] > 2 > rra[1]
    assert borda[0] == borda[1]


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    run_folder, events = tiny_recipe.run(folder, folder / "store", text=RECIPE)
    return run_folder, events, folder


def test_it_runs_after_the_others_and_the_board_keeps_the_order_of_the_recipe(done):
    run_folder, events, _ = done
    scored = [stage for stage in tiny_recipe.computed(events) if stage.startswith("score")]

    assert ["score random", "score fisher", "score block-influence", "score leave-one-out", "score borda"] == scored
    names = [scores["name"] for scores in read_json(run_folder / "metrics.json")["scores"]]
    assert ["borda", "random", "fisher", "block-influence", "leave-one-out"] == names


def test_it_combines_all_but_the_baseline_and_selection_follows_it(done):
    run_folder, _, _ = done
    metrics = read_json(run_folder / "metrics.json")
    scores = {entry["name"]: entry for entry in metrics["scores"]}
    own = ["fisher", "block-influence", "leave-one-out"]

    points = np.mean([np.argsort(np.argsort(scores[name]["mean"])) for name in own], axis=0)

    assert points.tolist() == pytest.approx(scores["borda"]["mean"])
    assert own == scores["borda"]["combines"]
    assert scores["fisher"]["combines"] is None
    best = np.argsort(points, kind="stable")[::-1]
    assert [sorted(best[:2].tolist()), [best[0]]] == metrics["plan"]["tiers"]


def test_combined_scores_and_baselines_are_no_part_of_the_concordance(done):
    agreement = read_json(done[0] / "metrics.json")["agreement"]

    assert ["random", "fisher", "block-influence", "leave-one-out"] == agreement["names"]
    assert ["fisher", "block-influence", "leave-one-out"] == agreement["concordance"]["names"]


def test_its_key_depends_on_what_it_combines_alone(done):
    _, _, folder = done

    def keys(text, *overrides):
        plan = make_plan(load_recipe(tiny_recipe.write_recipe(folder, text), overrides))
        return {stage.name: stage.key for stage in plan.scores}

    first = keys(RECIPE)
    more = keys(RECIPE.replace(ONE, ONE + '[[score]]\nuse = "weight-magnitude"\n\n', 1))
    named = RECIPE.replace('use = "borda"\n', 'use = "borda"\nof = ["fisher", "leave-one-out"]\n', 1)

    assert first["score borda"] != more["score borda"]
    assert first["score fisher"] == more["score fisher"]
    assert (
        keys(named)["score borda"] == keys(named.replace('use = "random"', 'use = "weight-magnitude"'))["score borda"]
    )
    assert keys(named)["score borda"] != first["score borda"]


def test_it_reuses_the_tables_of_the_others(done):
    _, _, folder = done
    named = RECIPE.replace('use = "borda"\n', 'use = "borda"\nof = ["fisher", "leave-one-out"]\n', 1)

    run_folder, events = tiny_recipe.run(folder, folder / "store", text=named)

    assert "score borda" in tiny_recipe.computed(events)
    assert "score fisher" not in tiny_recipe.computed(events)
    found = {entry["name"]: entry for entry in read_json(run_folder / "metrics.json")["scores"]}
    assert ["fisher", "leave-one-out"] == found["borda"]["combines"]
    assert 2 == found["borda"]["count"]


def test_the_stored_table_says_what_it_is_made_of(done):
    _, _, folder = done
    plan = make_plan(load_recipe(tiny_recipe.write_recipe(folder, RECIPE)))
    stage = plan.scores[-1]

    scores = read_scores("borda", Store(folder / "store").path(stage.kind, stage.key))

    assert ["fisher", "block-influence", "leave-one-out"] == scores.facts["combines"]
    assert (3, "rank points") == (scores.count, scores.unit)


def test_a_recipe_with_nothing_to_combine_says_so(tmp_path):
    only = tiny_recipe.TEXT.split("[[score]]")[0] + '[[score]]\nuse = "borda"\n\n' + "[select]" + (
        tiny_recipe.TEXT.split("[select]")[1]
    )  # fmt: skip
    for text in (only, only.replace("[select]", '[[score]]\nuse = "random"\n\n[select]')):
        recipe, (problem,) = check_recipe(tiny_recipe.write_recipe(tmp_path, text))

        assert recipe is None
        assert ("nothing-to-combine", ("score", 0, "use")) == (problem.code, problem.path)
        assert "'borda' has nothing to combine" in problem.message

    named = only.replace('"borda"\n', '"borda"\nof = ["random"]\n').replace(
        "[select]", '[[score]]\nuse = "random"\n\n[select]'
    )
    assert [] == check_recipe(tiny_recipe.write_recipe(tmp_path, named))[1]


def test_combined_scores_are_not_combined_again(tmp_path):
    twice = RECIPE.replace('use = "borda"\n', 'use = "borda"\nof = ["fisher", "rra"]\n', 1).replace(
        ONE, ONE + '[[score]]\nuse = "robust-rank-aggregation"\nname = "rra"\n\n', 1
    )

    recipe, (problem,) = check_recipe(tiny_recipe.write_recipe(tmp_path, twice))

    assert recipe is None
    assert "'rra' combines the scores of others and cannot be combined by 'borda'" == problem.message
    assert ("score", 0, "of", 1) == problem.path


def test_the_board_of_tests_has_one_table_a_name():
    made = tiny_board(("a", "b"), depth=3)

    assert [(1, 3), (2, 3)] == [made[name].samples.shape for name in made.names]
