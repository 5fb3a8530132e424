"""A compressor that names a scorer gets its scores, and its students follow from them."""

import numpy as np
import pytest
from tiny_recipe import TEXT, write_recipe

from lwa_core.errors import RecipeError
from lwa_core.pipeline.plan import make_plan
from lwa_core.pipeline.run import run_recipe
from lwa_core.recipe.reader import load_recipe
from lwa_core.results.reading import read_results
from lwa_core.store.results import Store
from lwa_core.types import DepthPlan

WEIGHED = TEXT.replace(
    'use = "distill"\nepochs = 2', 'use = "distill"\nepochs = 1\nlayer_weights = "scores"\nof = ["fisher"]'
)
PLAN = DepthPlan(3, [(0, 2)])


def keys_of(folder, text):
    (tier,) = make_plan(load_recipe(write_recipe(folder, text))).tiers(PLAN)
    return [model.key for model in tier.models]


def test_students_follow_from_the_scores_that_are_named_and_no_others(tmp_path):
    drop, plain = keys_of(tmp_path, TEXT)
    other = TEXT.replace('[[score]]\nuse = "fisher"', '[[score]]\nuse = "fisher"\nname = "mine"')
    more = WEIGHED.replace("[select]", '[[score]]\nuse = "cka"\n\n[select]')
    calibrated = WEIGHED + "\n[calibration]\nexamples = 50\n"

    weighed = keys_of(tmp_path, WEIGHED)

    assert keys_of(tmp_path, other) == [drop, plain]
    assert keys_of(tmp_path, more) == weighed
    assert keys_of(tmp_path, calibrated)[0] == weighed[0] == drop
    assert keys_of(tmp_path, calibrated)[1] != weighed[1] != plain


def test_a_scorer_that_is_not_there_is_named_at_its_place(tmp_path):
    with pytest.raises(RecipeError, match=r"names no .*score.*: 'fishy'") as caught:
        load_recipe(write_recipe(tmp_path, WEIGHED.replace('of = ["fisher"]', 'of = ["fishy"]')))

    assert "did you mean 'fisher'?" in str(caught.value)


def test_a_run_distils_by_the_scores_of_its_own_teacher(tmp_path, monkeypatch):
    from lwa_plugins.compressors import _losses

    seen = []
    original = _losses.HiddenTargets.__init__

    def noting(self, kept, depth, matches="next-kept", weights=None):
        seen.append((kept, weights))
        original(self, kept, depth, matches, weights)

    monkeypatch.setattr(_losses.HiddenTargets, "__init__", noting)

    folder = run_recipe(load_recipe(write_recipe(tmp_path, WEIGHED)), Store(tmp_path / "store"))

    fisher = next(scores for scores in read_results(folder).metrics.scores if scores.name == "fisher")
    kept, weights = seen[-1]
    assert np.allclose(weights, [fisher.mean[layer] for layer in kept])
