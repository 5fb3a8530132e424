"""A ranker recommends from item ids, says what it does not know, and comes back from its folder as it was."""

import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lwa_core import Catalogue, LwaError, ModelError, PluginError, Recommendations
from lwa_core.recommendation.loading import load_ranker
from lwa_core.recommendation.ranker import Ranker
from lwa_core.settings import unstructure
from lwa_core.testing import tiny_probe, tiny_recommender

IDS = tuple(f"item {i}" for i in range(30))
RECOMMENDER = tiny_recommender(layers=2)


def make_ranker(**changes):
    model = tiny_probe(RECOMMENDER).model.model.eval()
    known = {"catalogue": Catalogue(ids=IDS), "component": "sequential", "settings": unstructure(RECOMMENDER)}
    return Ranker(model, RECOMMENDER, **{**known, **changes})


@pytest.fixture(scope="module")
def ranker():
    return make_ranker()


def expected_items(ranker, history, k):
    """The k best unseen items, by sorting the scores of the known part of the history in plain Python."""
    known = [IDS.index(item) for item in history if item in IDS]
    scores = ranker.scores([np.array(known, dtype=np.int32)])[0].tolist()
    left = [i for i in range(len(IDS)) if not (ranker.filter_seen and i in known)]
    return [IDS[i] for i in sorted(left, key=lambda i: (-scores[i], i))[:k]]


@pytest.mark.parametrize("filter_seen", [True, False])
@pytest.mark.parametrize("history", [["item 3"], ["item 1", "item 2", "item 1"], [f"item {i}" for i in range(20)], []])
def test_recommends_the_best_items_best_first(history, filter_seen):
    ranker = make_ranker(filter_seen=filter_seen)

    answer = ranker.recommend(history, k=5)

    assert list(answer.items) == expected_items(ranker, history, 5)
    assert list(answer.scores) == sorted(answer.scores, reverse=True)
    assert answer.unknown == ()


@settings(max_examples=25)
@given(
    st.lists(st.lists(st.sampled_from([*IDS, "new", "newer"]), max_size=15), min_size=1, max_size=6),
    st.integers(1, 40),
)
def test_many_histories_are_answered_as_each_alone(ranker, histories, k):
    for history, answer in zip(histories, ranker.recommend_many(histories, k), strict=True):
        alone = ranker.recommend(history, k)
        assert answer.items == alone.items
        assert answer.unknown == alone.unknown == tuple(item for item in history if item not in IDS)
        np.testing.assert_allclose(answer.scores, alone.scores, rtol=1e-4, atol=1e-5)


def test_the_trace_names_the_saved_model_and_its_layers(ranker, tmp_path):
    ranker.save(tmp_path)
    loaded = load_ranker(tmp_path)

    before, after = (each.recommend(["item 3"], context={"mode": "accurate"}).trace for each in (ranker, loaded))

    assert (None, 12) == (before.model, len(after.model))
    assert after.model == load_ranker(tmp_path).recommend([]).trace.model
    assert (2, 1, "accurate") == (before.layers, before.tiers, before.mode)
    with pytest.raises(LwaError, match="no mode 'best'"):
        ranker.recommend(["item 3"], context={"mode": "best"})


def test_no_histories_have_no_answers(ranker):
    assert ranker.recommend_many([]) == []


def test_unknown_ids_are_left_out_and_reported(ranker):
    answer = ranker.recommend(["item 3", "new", "item 4", "newer", "new"])

    assert answer.unknown == ("new", "newer", "new")
    assert answer.items == ranker.recommend(["item 3", "item 4"]).items


def test_a_history_without_any_known_id_is_answered_as_an_empty_one(ranker):
    answer = ranker.recommend(["new", "newer"], k=30)

    assert answer.unknown == ("new", "newer")
    assert answer.items == ranker.recommend([], k=30).items
    assert sorted(answer.items) == sorted(IDS)


@pytest.mark.parametrize("filter_seen", [True, False])
def test_no_more_items_than_there_are(filter_seen):
    ranker = make_ranker(filter_seen=filter_seen)

    answer = ranker.recommend(["item 3", "item 4"], k=1000)

    assert len(answer.items) == len(answer.scores) == (28 if filter_seen else 30)
    assert np.isfinite(answer.scores).all()
    assert ("item 3" in answer.items) != filter_seen


def test_a_history_of_every_item_leaves_nothing(ranker):
    assert ranker.recommend(IDS, k=3) == Recommendations(items=(), scores=(), known=len(IDS))


def test_ids_that_are_numbers_are_the_same_as_their_text():
    ranker = make_ranker(catalogue=Catalogue(ids=tuple(map(str, range(30)))))

    assert ranker.recommend([3, 4]) == ranker.recommend(["3", "4"])


@pytest.mark.parametrize("ask", [lambda r: r.recommend("item 3"), lambda r: r.recommend_many(["item 3"])])
def test_a_string_is_no_history(ranker, ask):
    with pytest.raises(LwaError, match="a list of item ids, not one string: 'item 3'"):
        ask(ranker)


@pytest.mark.parametrize("filter_seen", [True, False])
def test_comes_back_from_its_folder_as_it_was(tmp_path, filter_seen):
    catalogue = Catalogue(IDS, titles=tuple(f"Ünïcode {i}" for i in IDS), categories=(("a", "b"), *[()] * 29))
    ranker = make_ranker(catalogue=catalogue, filter_seen=filter_seen)

    ranker.save(tmp_path / "model")
    loaded = load_ranker(tmp_path / "model")

    histories = [np.array([1, 2, 3], dtype=np.int32), np.zeros(0, dtype=np.int32)]
    assert torch.equal(ranker.scores(histories), loaded.scores(histories))
    assert (catalogue.ids, catalogue.titles) == (loaded.catalogue.ids, loaded.catalogue.titles)
    assert catalogue.categories == loaded.catalogue.categories
    assert loaded.recommender == RECOMMENDER
    assert loaded.recommend(["item 3", "new"]) == ranker.recommend(["item 3", "new"])


@pytest.fixture
def saved(ranker, tmp_path):
    ranker.save(tmp_path)
    return tmp_path


def change(file, **changes):
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))


@pytest.mark.parametrize("name", ["ranker.json", "items.json"])
@pytest.mark.parametrize("text", [None, "", "{"])
def test_a_folder_without_its_description_is_no_model(saved, name, text):
    (saved / name).unlink() if text is None else (saved / name).write_text(text)

    with pytest.raises(ModelError, match=f"holds no model that lwa saved: cannot read .*{name}"):
        load_ranker(saved)


@pytest.mark.parametrize(
    ("name", "text"), [("ranker.json", "{}"), ("ranker.json", "[]"), ("items.json", "{}"), ("items.json", '{"ids": 3}')]
)
def test_a_description_that_says_something_else_is_refused(saved, name, text):
    (saved / name).write_text(text)

    with pytest.raises(ModelError, match=name):
        load_ranker(saved)


def test_the_plugin_of_its_recommender_must_be_there(saved):
    change(saved / "ranker.json", recommender="tower")

    with pytest.raises(PluginError, match="tower"):
        load_ranker(saved)


def test_settings_that_its_recommender_does_not_have_are_refused(saved):
    change(saved / "ranker.json", settings={"storeys": 3})

    with pytest.raises(ModelError, match="storeys"):
        load_ranker(saved)


def test_a_catalogue_of_another_size_is_refused(saved):
    change(saved / "items.json", ids=[*IDS, "one more"])
    change(saved / "ranker.json", format=1)  # which knew no checksums

    with pytest.raises(ModelError, match="ranks 30 items, but its catalogue holds 31"):
        load_ranker(saved).recommend(["item 3"])


@pytest.mark.parametrize(
    ("k", "said"), [("3", "not str '3'"), (2.5, "not float 2.5"), (None, "not null"), (True, "not bool True")]
)
def test_k_is_a_whole_number(ranker, k, said):
    with pytest.raises(LwaError, match=f"k is a whole number of at least 1, {said}"):
        ranker.recommend([], k=k)


@pytest.mark.parametrize(
    ("history", "said"),
    [
        (None, "a request is for a history or for a user"),
        (5, "not int"),
        ({"a": 1}, "not dict"),
        ({1, 2}, "not set"),
        (b"1,2", "not one string"),
        ([["1"]], r"a history, item 0: list \['1'\] is no id"),
        ([1, None], "a history, item 1: null is no id"),
        ([float("nan")], "nan is no id"),
        ([True], "True is a truth value"),
        (torch.tensor(3), "not one number"),
    ],
)
def test_what_is_no_history_is_refused_by_name(ranker, history, said):
    with pytest.raises(LwaError, match=said):
        ranker.recommend(history)


@pytest.mark.parametrize(
    "make", [list, tuple, iter, np.array, torch.tensor, lambda h: [float(i) for i in h], lambda h: [str(i) for i in h]]
)
def test_a_history_of_any_kind_gets_one_answer(make):
    ranker = make_ranker(catalogue=Catalogue(ids=tuple(map(str, range(30)))))

    assert ranker.recommend(["3", "4"]) == ranker.recommend(make([3, 4]))


def test_seen_excluded_and_allowed_items(ranker):
    best = make_ranker(filter_seen=False).recommend(["item 3"], k=30).items

    def answer(**how):
        return ranker.recommend(["item 3"], k=30, **how).items

    assert [item for item in best if item != "item 3"] == list(answer())
    assert best == answer(filter_seen=False)
    assert [item for item in best if item not in ("item 3", "item 5")] == list(answer(exclude=["item 5", "new"]))
    assert [item for item in best if item in ("item 7", "item 8")] == list(answer(allow=["item 3", "item 7", "item 8"]))
    with pytest.raises(LwaError, match="knows none of the 1 items that are allowed"):
        answer(allow=["new"])


def test_scores_of_chosen_items_are_those_of_the_answer(ranker):
    answer = make_ranker(filter_seen=False).recommend(["item 3"], k=30)
    scores = dict(zip(answer.items, answer.scores, strict=True))

    assert {item: scores[item] for item in ("item 3", "item 9")} == ranker.score(["item 3"], ["item 3", "item 9"])
    with pytest.raises(LwaError, match="does not know the item 'new'"):
        ranker.score([], ["new"])


def test_a_description_is_one_line(ranker):
    assert "Ranker('sequential', 30 items, seen items left out)" == repr(ranker)


def test_many_histories_are_answered_in_batches(ranker, monkeypatch):
    sizes = []
    model = ranker.recommender

    class Counting(type(model)):
        def scores(self, network, batch):
            found = super().scores(network, batch)
            sizes.append(found.numel())
            return found

    counted = make_ranker()
    object.__setattr__(counted, "recommender", Counting(**unstructure(model)))
    monkeypatch.setattr("lwa_core.recommendation.answering.SCORES_AT_ONCE", 90)

    answers = counted.recommend_many([[f"item {i}"] for i in range(10)], k=10**6)

    assert [ranker.recommend([f"item {i}"], k=30).items for i in range(10)] == [answer.items for answer in answers]
    assert [90, 90, 90, 30] == sizes


@pytest.mark.parametrize("many", [30, 31, 10**30])
def test_more_than_there_is_gives_all_there_is(many):
    answer = make_ranker(filter_seen=False).recommend(["item 1"], k=many)

    assert sorted(IDS) == sorted(answer.items)


def test_a_name_longer_than_any_files_is_a_file_that_is_missing(saved):
    description = json.loads((saved / "ranker.json").read_text("utf-8"))
    description["files"]["x" * 300] = {"bytes": 1, "sha256": "0"}
    (saved / "ranker.json").write_text(json.dumps(description), "utf-8")

    with pytest.raises(ModelError, match="x is missing"):
        load_ranker(saved)
