"""A job for compressors: a tiny teacher with random weights, and data for it."""

import copy

import attrs
import numpy as np
import polars as pl
import pytest
import torch
from heard import Heard
from tiny_recipe import write_recipe

from lwa_core.data.frames import source_from_frame
from lwa_core.data.prepare import prepare
from lwa_core.data.sections import Filter, Split
from lwa_core.pipeline.recommendation_task import RankerModel, RecommendationTask
from lwa_core.pipeline.stages.students import Compression
from lwa_core.recipe.reader import load_recipe
from lwa_core.recommendation.fitting import score_histories
from lwa_core.recommendation.ranker import Ranker
from lwa_core.testing import tiny_probe, tiny_recommender

ITEMS = 30
KEPT = (0, 2)
HISTORIES = [np.array(history, dtype=np.int32) for history in ([3], [1, 2, 3, 4], [29] * 20)]


class Silent(Heard):
    """Of steps that have nothing to note."""

    def note(self, message):
        pytest.fail(message)


def made_data():
    rng = np.random.default_rng(0)
    rows = [(user, item) for user in range(40) for item in rng.permutation(ITEMS)[: rng.integers(6, 12)]]
    frame = pl.DataFrame(rows, schema=["user", "item"], orient="row")
    return prepare(source_from_frame(frame), Filter(), Split(), 0)


def make_job(data, folder, *, kept=KEPT, report=None, **settings):
    """A job before its first step: the student is a copy of the teacher.

    Of the recipe it takes the seed and whether seen items are filtered.
    """
    recommender = tiny_recommender(**{"dropout": 0.1, **settings})
    teacher = tiny_probe(recommender, items=len(data.catalogue)).model
    recipe = load_recipe(write_recipe(folder))
    used = attrs.evolve(recipe.recommender, instance=recommender)
    student = Ranker(copy.deepcopy(teacher.model), recommender, data.catalogue, used.component, used.settings)
    return Compression(
        task=RecommendationTask(recipe.replaced(recommender=used)),
        data=data,
        teacher=teacher,
        model=RankerModel.of(student),
        kept=kept,
        seed=0,
        workspace=folder,
        report=report or Silent(),
    )


def weights(model):
    return {name: value.clone() for name, value in model.state_dict().items()}


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(value, other[name]) for name, value in one.items())


def scores(job, model):
    return score_histories(job.subject, model.eval(), HISTORIES)
