"""The toolkit from Python: from a frame to recommendations, and from what a run left."""

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch
from heard import Heard
from tiny_recipe import TEXT, run

import lwa_core
from lwa_core import DataError, LwaError, ModelError, PluginError, RecipeError
from lwa_core.data.saving import load_prepared

SETTINGS = {"layers": 2, "width": 16, "max_length": 8, "epochs": 2, "batch": 16}


def rows(users=30, items=25):
    """Everybody walks round the items, each from another start: the next item is the one after."""
    return {
        "user": [f"u{user}" for user in range(users) for _ in range(8)],
        "item": [f"i{(3 * user + step) % items}" for user in range(users) for step in range(8)],
        "time": [1000 * user + step for user in range(users) for step in range(8)],
    }


@pytest.fixture(scope="module")
def fitted():
    return lwa_core.fit(pl.DataFrame(rows()), **SETTINGS)


def test_fits_a_polars_frame_and_recommends(fitted):
    answer = fitted.recommend(["i3", "i4", "i5"], k=4)

    assert len(fitted.catalogue) == 25
    assert len(fitted.model.blocks) == 2
    assert len(answer.items) == len(answer.scores) == 4
    assert not {"i3", "i4", "i5"} & set(answer.items)


def test_a_pandas_frame_gives_the_same_model(fitted):
    again = lwa_core.fit(pd.DataFrame(rows()), **SETTINGS)

    assert again.catalogue.ids == fitted.catalogue.ids
    weights = fitted.model.state_dict()
    assert all(torch.equal(value, weights[name]) for name, value in again.model.state_dict().items())


def test_the_seed_decides_the_model(fitted):
    other = lwa_core.fit(pl.DataFrame(rows()), seed=1, **SETTINGS)

    assert not torch.equal(other.model.norm.weight, fitted.model.norm.weight)


def test_times_and_not_rows_decide_the_order_of_events(fitted):
    shuffled = pl.DataFrame(rows()).sample(fraction=1.0, shuffle=True, seed=0)

    by_time = lwa_core.fit(shuffled, timestamp="time", **SETTINGS)

    assert set(by_time.catalogue.ids) == set(fitted.catalogue.ids)
    in_order = lwa_core.fit(pl.DataFrame(rows()), timestamp="time", **SETTINGS)
    assert by_time.recommend(["i3"]) == in_order.recommend(["i3"])


def test_columns_of_other_names():
    frame = pl.DataFrame(rows()).rename({"user": "who", "item": "what"})

    ranker = lwa_core.fit(frame, user="who", item="what", **{**SETTINGS, "epochs": 0})

    assert len(ranker.catalogue) == 25


def test_it_learns_what_is_there_to_learn():
    """After item n comes item n + 1: enough training finds that out, and uses every event but the last for it."""
    ranker = lwa_core.fit(pl.DataFrame(rows()), **{**SETTINGS, "epochs": 40, "learning_rate": 1e-2})

    hits = sum(
        f"i{(n + 3) % 25}" in ranker.recommend([f"i{(n + j) % 25}" for j in range(3)], 3).items for n in range(25)
    )
    assert hits > 20


def test_progress_is_reported():
    heard = Heard()

    lwa_core.fit(pl.DataFrame(rows()), report=heard, **SETTINGS)

    assert heard.steps[-1] == (len(heard.steps), len(heard.steps))


def test_an_id_that_was_never_seen_is_reported(fitted):
    answer = fitted.recommend(["i3", "elsewhere"])

    assert answer.unknown == ("elsewhere",)
    assert answer.items == fitted.recommend(["i3"]).items


def test_the_ranker_is_saved_and_loaded(fitted, tmp_path):
    fitted.save(tmp_path / "mine")

    assert lwa_core.load(tmp_path / "mine").recommend(["i3"]) == fitted.recommend(["i3"])
    assert lwa_core.load(str(tmp_path / "mine")).recommend(["i3"]) == fitted.recommend(["i3"])


def test_an_unknown_column_is_named_with_those_there_are():
    with pytest.raises(DataError, match=r"no column 'who' \(user\)") as caught:
        lwa_core.fit(pl.DataFrame(rows()), user="who", **SETTINGS)

    assert "'user', 'item', 'time'" in caught.value.hint


@pytest.mark.parametrize("frame", [[("u", "i")], None, "interactions.csv"])
def test_something_that_is_no_frame(frame):
    with pytest.raises(DataError, match="polars or pandas DataFrame"):
        lwa_core.fit(frame)


def test_a_frame_of_no_rows():
    with pytest.raises(DataError):
        lwa_core.fit(pl.DataFrame({"user": [], "item": []}, schema={"user": pl.String, "item": pl.String}))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"storeys": 2}, "unknown setting 'storeys'"),
        ({"layers": "2"}, "layers"),
        ({"layers": 0}, "layers"),
        ({"width": 10, "heads": 3}, "heads must divide width"),
    ],
)
def test_a_wrong_setting_is_named(wrong, message):
    with pytest.raises(RecipeError, match=message) as caught:
        lwa_core.fit(pl.DataFrame(rows()), **wrong)

    assert len(caught.value.problems) == 1


def test_every_wrong_setting_is_named():
    with pytest.raises(RecipeError, match=r"storeys.*dropout|dropout.*storeys"):
        lwa_core.fit(pl.DataFrame(rows()), storeys=2, dropout=3.0)


def test_a_recommender_that_nobody_offers():
    with pytest.raises(PluginError, match="sequentail") as caught:
        lwa_core.fit(pl.DataFrame(rows()), "sequentail")

    assert "did you mean 'sequential'?" in str(caught.value)


# What a run leaves


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory):
    base = tmp_path_factory.mktemp("api")
    return run(base, base / "store", "evaluate.requests=0", text=TEXT.replace('use = "greedy"', 'use = "uniform"'))[0]


def test_loads_the_last_student_of_a_run_where_none_is_named(run_folder):
    assert len(lwa_core.load(run_folder).model.blocks) == 1
    assert lwa_core.load(run_folder).recommend([]) == lwa_core.load(run_folder, "distill-1").recommend([])


@pytest.mark.parametrize(("name", "depth"), [("teacher", 3), ("drop-2", 2), ("distill-2", 2), ("drop-1", 1)])
def test_loads_a_model_of_a_run_by_name(run_folder, name, depth):
    assert len(lwa_core.load(run_folder, name).model.blocks) == depth


def test_loads_a_model_from_its_own_folder(run_folder):
    model = lwa_core.load(run_folder / "models" / "drop-2")

    assert model.recommend([], 3) == lwa_core.load(run_folder, "drop-2").recommend([], 3)


@pytest.mark.parametrize("name", ["popularity", "nobody"])
def test_a_model_that_the_run_does_not_have(run_folder, name):
    """A baseline is no model that could be loaded."""
    with pytest.raises(ModelError, match=f"the run has no model '{name}'") as caught:
        lwa_core.load(run_folder, name)

    assert caught.value.hint == "it has: teacher, drop-2, distill-2, drop-1, distill-1"


def test_a_folder_of_something_else(tmp_path):
    with pytest.raises(ModelError, match="neither the folder of a model nor of a finished run"):
        lwa_core.load(tmp_path)


def test_a_model_asked_by_name_of_a_folder_that_is_one_model(run_folder):
    with pytest.raises(ModelError, match="is the folder of one model"):
        lwa_core.load(run_folder / "models" / "drop-2", "teacher")


def test_a_run_whose_models_were_taken_away(run_folder, tmp_path):
    (tmp_path / "metrics.json").write_text(json.dumps({"models": [{"name": "teacher", "kind": "teacher"}]}))

    with pytest.raises(ModelError, match="holds no model that lwa saved"):
        lwa_core.load(tmp_path)


def test_scores_are_for_every_item_of_the_catalogue(fitted):
    scores = fitted.scores([np.array([1, 2], dtype=np.int32), np.zeros(0, dtype=np.int32)])

    assert scores.shape == (2, 25)


def test_users_who_come_back_get_what_they_come_back_to():
    """Everybody goes round four items of their own: the next item is known, and has been seen."""
    rng = np.random.default_rng(0)
    favourites = [rng.choice(40, 4, replace=False) for _ in range(120)]
    frame = {
        "user": [f"u{user}" for user in range(120) for _ in range(16)],
        "item": [f"i{favourites[user][step % 4]}" for user in range(120) for step in range(16)],
    }
    learns = {"layers": 2, "width": 32, "heads": 2, "epochs": 25, "max_length": 12, "batch": 32, "learning_rate": 5e-3}

    ranker = lwa_core.fit(frame, dropout=0.0, **learns)

    assert ranker.filter_seen is False
    hits = [
        ranker.recommend([f"i{own[step % 4]}" for step in range(15)], 1).items[0] == f"i{own[3]}" for own in favourites
    ]
    assert np.mean(hits) > 0.9
    with pytest.raises(DataError, match="every validation target is already in its history"):
        lwa_core.fit(frame, filter_seen=True, **learns)


def test_what_was_left_out_is_told_and_returned():
    heard = Heard()
    frame = pl.DataFrame({**rows(), "stars": [n % 5 for n in range(240)]})
    frame = pl.concat([frame, pl.DataFrame({"user": [None], "item": ["i1"], "time": [1], "stars": [1]})])

    ranker = lwa_core.fit(frame, rating="stars", min_rating=1, user_core=2, report=heard, **{**SETTINGS, "epochs": 0})

    assert {"rows without a user": 1} == ranker.facts["dropped"]
    assert [241, 240, 192, 192, 192] == [step["rows"] for step in ranker.facts["steps"]]
    assert ("rows-dropped", "left out: 1 rows without a user") in heard.warnings


def test_generators_of_the_caller_are_left_alone():
    import random

    random.seed(1), np.random.seed(1), torch.manual_seed(1)
    expected = random.random(), np.random.random(), torch.rand(1).item()
    random.seed(1), np.random.seed(1), torch.manual_seed(1)

    lwa_core.fit(pl.DataFrame(rows()), **{**SETTINGS, "epochs": 1})

    assert expected == (random.random(), np.random.random(), torch.rand(1).item())


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"seed": -1}, "seed"),
        ({"seed": "x"}, "seed"),
        ({"duplicates": "frist"}, "first"),
        ({"user_core": 0}, "user_core"),
        ({"layer": 2}, "did you mean 'layers'"),
    ],
)
def test_arguments_pass_the_checks_of_recipes(arguments, said):
    with pytest.raises(RecipeError, match=said):
        lwa_core.fit(pl.DataFrame(rows()), **{**SETTINGS, **arguments})


def test_a_ranker_is_saved_where_a_text_says(tmp_path, fitted):
    fitted.save(str(tmp_path / "a" / "model"))

    assert fitted.recommend(["i3"]) == lwa_core.load(str(tmp_path / "a" / "model")).recommend(["i3"])


# Users of the data


def test_a_user_is_asked_for_by_all_that_they_did():
    table = rows()
    ranker = lwa_core.fit(pl.DataFrame(table), **SETTINGS)
    history = [item for user, item in zip(table["user"], table["item"], strict=True) if user == "u4"]

    assert ranker.recommend(user="u4", k=5) == ranker.recommend(history, k=5)
    together = ranker.recommend_many(users=["u4", "u9"])
    assert [one.items for one in together] == [ranker.recommend(user=user).items for user in ("u4", "u9")]
    assert ranker.score(items=["i1", "i2"], user="u4") == ranker.score(history, ["i1", "i2"])
    assert ranker.recommend(user="u4", k=50, filter_seen=False, exclude=["i1"]).known == 8


def test_users_of_a_model_with_times_have_theirs():
    ranker = lwa_core.fit(pl.DataFrame(rows()), timestamp="time", times=True, **SETTINGS)
    history, when = [f"i{12 + step}" for step in range(8)], [4000 + step for step in range(8)]

    assert ranker.recommend(user="u4") == ranker.recommend(history, times=when)


@pytest.mark.parametrize("name", ["teacher", None])
def test_a_model_of_a_run_knows_its_users(run_folder, name):
    data = load_prepared(run_folder / "data")
    ranker, user = lwa_core.load(run_folder, name), data.user_ids[7]
    history = [data.catalogue.ids[i] for i in data.items[data.offsets[7] : data.offsets[8]]]

    assert history  # the test target is the newest of what they did
    assert ranker.recommend(user=user) == ranker.recommend(user=int(user)) == ranker.recommend(history)


@pytest.mark.parametrize(
    ("request_", "said"),
    [
        ({}, "a request is for a history or for a user"),
        ({"history": ["i1"], "user": "u1"}, "a request is for a history or for a user"),
        ({"user": "u1", "times": [1]}, "the times of a user's history are known"),
        ({"user": "nobody"}, "the data has no user 'nobody'"),
        ({"user": 1.5}, "user: "),
        ({"user": ["u1"]}, "user: "),
        ({"user": True}, "user: "),
    ],
)
def test_who_is_no_user_is_refused(fitted, request_, said):
    with pytest.raises(LwaError, match=said):
        fitted.recommend(**request_)


def test_a_model_without_its_run_says_that_it_knows_nobody(run_folder):
    with pytest.raises(LwaError, match="loaded by its run, or just fitted") as caught:
        lwa_core.load(run_folder / "models" / "teacher").recommend(user="1")

    assert caught.value.hint == "load the folder of the run, or give a history"


def test_a_run_whose_histories_are_gone_answers_all_else(run_folder, tmp_path):
    copy = Path(shutil.copytree(run_folder, tmp_path / "run"))
    shutil.rmtree(copy / "data")
    ranker = lwa_core.load(copy)

    assert ranker.recommend([], 3) == lwa_core.load(run_folder).recommend([], 3)
    with pytest.raises(LwaError, match="holds no histories of users that can be read"):
        ranker.recommend(user="1")
