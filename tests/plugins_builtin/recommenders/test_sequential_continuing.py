"""A saved model goes on training: rows by item id, new items, and what is refused in words."""

import json

import numpy as np
import polars as pl
import pytest
import tiny_recipe
import torch
from heard import Heard
from tiny_recipe import TEXT, write_recipe

from lwa_core import Catalogue, LayeredModel, ModelError, fit, load
from lwa_core.modeling.files.saving import save_model
from lwa_core.pipeline.plan import make_plan
from lwa_core.recipe.reader import load_recipe
from lwa_core.types import Quiet
from lwa_plugins.recommenders.sequential import Sequential

SMALL = {"layers": 1, "width": 8, "max_length": 8, "epochs": 1, "batch": 16}
GOING_ON = {"max_length": 8, "batch": 16}
OLD = [f"i{number:02d}" for number in range(1, 13)]


def frame(items, users=30, length=8):
    """Users who go through the items in their order, from different places on."""
    rows = [(f"u{user}", items[(user + step) % len(items)]) for user in range(users) for step in range(length)]
    return pl.DataFrame(rows, schema=["user", "item"], orient="row")


@pytest.fixture(scope="module")
def before(tmp_path_factory):
    """A model of the old items, and the folder where it was saved."""
    folder = tmp_path_factory.mktemp("before") / "model"
    ranker = fit(frame(OLD), **SMALL)
    ranker.save(folder)
    return ranker, folder


def rows_of(ranker):
    table = ranker.model.item_embedding.weight.detach()[ranker.model.config.first_item :]
    return dict(zip(ranker.catalogue.ids, table, strict=True))


# New ids sort before, between and behind the old ones, so that all places move; two old items are gone.
NOW = ["a", *OLD[:5], "i05b", *OLD[7:], "z"]


def test_rows_of_known_items_are_copied_by_id_and_new_ones_lie_around_the_mean(before):
    ranker, folder = before
    heard = Heard()

    again = fit(frame(NOW), checkpoint=folder, **{**GOING_ON, "epochs": 0}, report=heard)

    old, new = rows_of(ranker), rows_of(again)
    assert sorted(NOW) == sorted(new)
    for item in set(OLD) & set(NOW):
        assert torch.equal(old[item], new[item])
    mean = torch.stack(list(old.values())).mean(dim=0)
    for item in ("a", "i05b", "z"):
        off = new[item] - mean
        assert 0 < float(off.abs().max()) < 6 * ranker.model.config.initializer_range
    assert not torch.equal(new["a"], new["z"])
    for name, value in ranker.model.named_parameters():
        if name != "item_embedding.weight":
            assert torch.equal(value, dict(again.model.named_parameters())[name])
    said = "3 of 13 items are new to the model, and 2 that it knows are not in the data"
    assert ("checkpoint-items", said) in heard.warnings


def test_without_training_old_answers_stay_as_they_were(before):
    ranker, folder = before
    again = fit(frame([*OLD, "a", "z"]), checkpoint=str(folder), **{**GOING_ON, "epochs": 0})

    for history in (["i01"], ["i03", "i04", "i09"], OLD[:8]):
        expected, given = ranker.score(history, OLD), again.score(history, OLD)
        assert {item: pytest.approx(value, rel=1e-5, abs=1e-6) for item, value in expected.items()} == given
        assert ranker.recommend(history, k=4).items == again.recommend(history, k=4, allow=OLD).items


def test_new_items_are_learnt_and_the_result_is_a_model_like_any_other(before, tmp_path):
    _, folder = before
    settings = {**GOING_ON, "epochs": 40, "learning_rate": 0.01, "patience": 40}

    again = fit(frame(NOW, users=60), checkpoint=folder, filter_seen=False, **settings)
    again.save(tmp_path / "again")

    for item, following in (("i05", "i05b"), ("i12", "z"), ("z", "a")):
        assert following in again.recommend([item], k=2).items
    assert again.recommend(["z", "a"], k=3).items == load(tmp_path / "again").recommend(["z", "a"], k=3).items
    third = fit(frame([*NOW, "zz"]), checkpoint=tmp_path / "again", **{**GOING_ON, "epochs": 0})
    assert torch.equal(rows_of(again)["a"], rows_of(third)["a"])


def test_equal_items_start_from_the_very_model(before):
    ranker, folder = before
    heard = Heard()
    again = fit(frame(OLD), checkpoint=folder, **{**GOING_ON, "epochs": 0}, report=heard)

    assert all(torch.equal(a, b) for a, b in zip(ranker.model.parameters(), again.model.parameters(), strict=True))
    assert not any(code == "checkpoint-items" for code, _ in heard.warnings)


def test_masked_models_keep_the_mask_and_cut_ones_their_layers(tmp_path):
    ranker = fit(frame(OLD), objective="masked", **{**SMALL, "layers": 3})
    network = LayeredModel(ranker.model).keep([0, 2]).model
    type(ranker)(network, ranker.recommender, ranker.catalogue, "sequential", ranker.settings).save(tmp_path / "m")

    again = fit(frame(NOW), objective="masked", checkpoint=tmp_path / "m", **{**GOING_ON, "epochs": 0})

    assert torch.equal(network.item_embedding.weight[:2], again.model.item_embedding.weight[:2])
    assert 2 == len(again.model.blocks)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"max_length": 9}, "knows 8 positions, not 9"),
        ({"objective": "masked"}, "was made for objective = 'next-item'"),
        ({"times": True}, "was made for times = false"),
        ({"item_table": False}, "has an item table"),
        ({"vectors": ("somewhere.npy",)}, "has 0 tables of vectors, and 1 are given"),
    ],
)
def test_a_model_that_does_not_fit_the_settings_is_refused_before_training(before, settings, said):
    _, folder = before
    asked = Sequential(checkpoint=str(folder), **{"max_length": 8, **settings})
    with pytest.raises(ModelError, match=said):
        asked.build(Catalogue(tuple(OLD)), Quiet())


def test_other_ids_a_changed_file_and_weights_without_ids_are_refused(before, tmp_path):
    ranker, folder = before
    with pytest.raises(ModelError, match="knows none of the 2 items"):
        Sequential(checkpoint=str(folder), max_length=8).build(Catalogue(("x", "y")), Quiet())
    ranker.save(tmp_path / "changed")
    items = json.loads((tmp_path / "changed" / "items.json").read_text("utf-8"))
    (tmp_path / "changed" / "items.json").write_text(json.dumps({**items, "ids": items["ids"][::-1]}), "utf-8")
    with pytest.raises(ModelError, match="is not as it was saved"):
        Sequential(checkpoint=str(tmp_path / "changed"), max_length=8).build(Catalogue(tuple(NOW)), Quiet())
    save_model(ranker.model, tmp_path / "bare")
    with pytest.raises(ModelError, match=r"ranks 12 items, but the data has 13"):
        Sequential(checkpoint=str(tmp_path / "bare"), max_length=8).build(Catalogue(tuple(NOW)), Quiet())
    (tmp_path / "nowhere").mkdir()
    with pytest.raises(ModelError):
        Sequential(checkpoint=str(tmp_path / "nowhere"), max_length=8).build(Catalogue(tuple(NOW)), Quiet())


def test_another_recommenders_model_is_refused(tmp_path):
    fit(frame(OLD), "backbone", **SMALL).save(tmp_path / "b")
    with pytest.raises(ModelError, match="was made by 'backbone', not by 'sequential'"):
        Sequential(checkpoint=str(tmp_path / "b"), max_length=8).build(Catalogue(tuple(OLD)), Quiet())


def vectors_file(folder, ids, factor=1.0, size=5):
    """Vectors by id, the same for an id wherever it comes."""
    table = [factor * np.random.default_rng([*map(ord, item)]).normal(size=size) for item in ids]
    np.save(folder / "v.npy", np.array(table))
    (folder / "v.json").write_text(json.dumps(ids), "utf-8")
    return str(folder / "v.npy")


@pytest.mark.parametrize("item_table", [True, False])
def test_new_items_get_their_vectors_on_the_models_scale(tmp_path, item_table):
    ranker = fit(frame(OLD), vectors=[vectors_file(tmp_path, OLD)], item_table=item_table, **SMALL)
    ranker.save(tmp_path / "m")
    file = vectors_file(tmp_path, sorted({*OLD, *NOW}, reverse=True), factor=3.0)
    heard = Heard()

    again = fit(
        frame([*NOW, "zz"]), checkpoint=tmp_path / "m", vectors=[file], **{**GOING_ON, "epochs": 0}, report=heard
    )

    held = dict(zip(OLD, ranker.model.side.vectors_0, strict=True))
    made = dict(zip(again.catalogue.ids, again.model.side.vectors_0, strict=True))
    for item in set(OLD) & set(NOW):
        assert torch.equal(held[item], made[item])
    raw = {item: np.random.default_rng([*map(ord, item)]).normal(size=5) for item in NOW}
    scale = np.linalg.norm(held["i01"]) / np.linalg.norm(raw["i01"])
    assert not made["zz"].any()
    assert ("side-information", "v.npy has no vector for 1 items that are new to the model") in heard.warnings
    for item in ("a", "i05b", "z"):
        np.testing.assert_allclose(made[item], scale * raw[item], rtol=1e-4)
    table = dict(zip(again.catalogue.ids, again.model.item_table().detach(), strict=True))
    if not item_table:
        expected = again.model.side.maps["0"].weight.detach().double().numpy() @ (scale * raw["a"])
        np.testing.assert_allclose(table["a"], expected, rtol=1e-3, atol=1e-6)

    np.save(tmp_path / "v.npy", np.random.default_rng(0).normal(size=(len({*OLD, *NOW}), 5)))
    with pytest.raises(ModelError, match=r"v\.npy does not hold the vectors that the model was made with"):
        fit(frame(NOW), checkpoint=tmp_path / "m", vectors=[file], **GOING_ON)
    vectors_file(tmp_path, NOW, size=4)
    with pytest.raises(ModelError, match="vectors of size 4, and those of the model have 5"):
        fit(frame(NOW), checkpoint=tmp_path / "m", vectors=[file], **GOING_ON)


def test_new_items_of_which_nothing_is_known_are_warned_of_or_refused(tmp_path):
    attributes = tmp_path / "a.json"
    attributes.write_text(
        json.dumps({item: ["odd" if int(item[1:]) % 2 else "even", item[1]] for item in OLD}), "utf-8"
    )
    heard = Heard()
    for item_table, name in ((True, "with"), (False, "without")):
        fit(frame(OLD), attributes=str(attributes), item_table=item_table, **SMALL).save(tmp_path / name)

    again = fit(frame(NOW), checkpoint=tmp_path / "with", **{**GOING_ON, "epochs": 0}, report=heard)

    said = "3 items that are new to the model have no attributes and no vectors"
    assert ("side-information", said) in heard.warnings
    old = load(tmp_path / "with")
    tables = [dict(zip(each.catalogue.ids, each.model.item_table().detach(), strict=True)) for each in (old, again)]
    for item in set(OLD) & set(NOW):
        torch.testing.assert_close(tables[0][item], tables[1][item])
    assert torch.equal(rows_of(again)["a"], tables[1]["a"])
    again.save(tmp_path / "again")
    assert again.recommend(["a"], k=3).items == load(tmp_path / "again").recommend(["a"], k=3).items
    with pytest.raises(ModelError, match=r"3 items are new to the model in .*: nothing stands for them"):
        fit(frame(NOW), checkpoint=tmp_path / "without", **GOING_ON)


def test_a_run_goes_on_from_the_teacher_of_another(tmp_path):
    less = TEXT.replace("keep = [2, 1]", "keep = [2]").replace("epochs = 3", "epochs = 1")
    first, _ = tiny_recipe.run(tmp_path, tmp_path / "store", text=less)
    teacher = first / "models" / "teacher"
    going_on = ("data.users=150", "data.items=240", f'recommender.checkpoint="{teacher}"')

    second, _ = tiny_recipe.run(tmp_path, tmp_path / "store", *going_on, text=less, smoke_test=True)

    old, new = load(first, "teacher"), load(second, "teacher")
    shared = set(old.catalogue.ids) & set(new.catalogue.ids)
    assert shared
    assert set(new.catalogue.ids) - shared
    assert old.model.config.hidden_size == new.model.config.hidden_size
    warnings = json.loads((second / "metrics.json").read_text("utf-8"))["warnings"]
    assert any(each["code"] == "checkpoint-items" for each in warnings)


def test_the_content_of_the_folder_is_part_of_the_key(before, tmp_path):
    ranker, _ = before
    text = TEXT.replace('use = "sequential"', 'use = "sequential"\ncheckpoint = "model"').replace("[2, 1]", "[1]")
    file = write_recipe(tmp_path, text)
    keys = []
    for scale in (1.0, 1.0, 2.0):
        with torch.no_grad():
            ranker.model.norm.weight.mul_(scale)
        ranker.save(tmp_path / "model")
        keys.append(make_plan(load_recipe(file)).teacher.key)
    with torch.no_grad():
        ranker.model.norm.weight.div_(2)

    assert keys[0] == keys[1] != keys[2]
