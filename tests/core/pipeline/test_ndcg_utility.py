"""The utility `ndcg` is the NDCG@k that the report has: all sets of layers of a trained model on the same examples."""

import math

import numpy as np
import pytest
from tiny_recipe import TEXT, write_recipe

from lwa_core.pipeline.events import Bus
from lwa_core.pipeline.graph import Run
from lwa_core.pipeline.plan import make_plan
from lwa_core.pipeline.task import make_probe
from lwa_core.recipe.reader import load_recipe
from lwa_core.recommendation.ranking import rank_examples
from lwa_core.statistics.rank_metrics import ndcg
from lwa_core.store.results import Store
from lwa_core.types import Quiet, RunContext

K = 40


@pytest.fixture(scope="module", params=["true", "false"], ids=["seen items filtered", "all items"])
def trained(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("ndcg")
    overrides = ["recommender.layers=4", "recommender.epochs=2", "calibration.examples=60"]
    overrides += [f"evaluate.k=[3, {K}]", f"evaluate.filter_seen={request.param}"]
    recipe = load_recipe(write_recipe(folder, TEXT), overrides)
    plan = make_plan(recipe)
    run = Run(recipe, Store(folder / "store"), Bus(recipe.registry, RunContext("ndcg", folder), ()))
    return plan.task, run.value(plan.data), run.value(plan.teacher).live


def test_is_what_the_evaluation_of_the_same_examples_gives(trained):
    task, data, live = trained
    probe = make_probe(task, data, live, Quiet())
    subsets = probe.subsets()
    found = probe.evaluate(subsets, "ndcg")
    examples = data.calibration
    rows = [drawn_row(data, examples, probe, n) for n in range(probe.examples)]

    for kept, values in zip(subsets, found, strict=True):
        with live.layered.skipping(kept):
            ranking = rank_examples(live.ranker.scores, data, examples, filter_seen=probe.filter_seen, depth=K)
            scores = live.ranker.scores(probe.histories).double().numpy()
        reported = ndcg(ranking.ranks, K, ranking.tied)[rows]
        naive = [
            placed(s, h, t, probe.filter_seen) for s, h, t in zip(scores, probe.histories, probe.targets, strict=True)
        ]
        assert reported == pytest.approx(values)
        assert naive == pytest.approx(values)
    assert len(np.unique(found.mean(axis=1).round(12))) > 8  # the sets differ


def drawn_row(data, examples, probe, number):
    """Which of the calibration examples the probe's is."""
    histories, targets = data.histories(examples), data.targets(examples)
    return next(
        row
        for row in range(len(examples))
        if np.array_equal(histories[row], probe.histories[number]) and targets[row] == probe.targets[number]
    )


def placed(scores, history, target, filter_seen):
    """NDCG@K by going through every item; the scores of trained models do not tie."""
    seen = set(history.tolist()) if filter_seen else set()
    if target in seen:
        return 0.0
    rank = 1 + sum(scores[item] > scores[target] for item in range(len(scores)) if item not in seen)
    return 1 / math.log2(1 + rank) if rank <= K else 0.0
