"""An index finds what scoring all items finds, asks for enough to leave items out, and is refused below a bar."""

from __future__ import annotations

import json
import sys

import attrs
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lwa_core import LwaError, ModelError, NeedsError, open_bundle

pytest.importorskip("torch")
pytest.importorskip("onnxruntime")
pytest.importorskip("onnx")
pytest.importorskip("faiss")

from heard import Heard
from made_bundles import LastItem, made_bundle

from lwa_core.pipeline import bundles, indexes
from lwa_core.store.checksums import checksums

ITEMS, WIDTH = 20_000, 16


def vectors(items=ITEMS, width=WIDTH):
    """Clustered, as trained vectors are."""
    rng = np.random.default_rng(0)
    centres = rng.standard_normal((200, width))
    return (centres[rng.integers(0, 200, items)] + 0.3 * rng.standard_normal((items, width))).astype(np.float32)


HISTORIES = [np.random.default_rng(row).integers(0, ITEMS, 3).astype(np.int32) for row in range(60)]


@pytest.fixture(scope="module", params=[("pq4", "float32"), ("sq8", "int8")], ids=lambda param: param[0])
def served(request, tmp_path_factory):
    """A bundle with an index of each kind."""
    kind, table = request.param
    kinds = {kind: indexes.KINDS[kind]}
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(indexes, "KINDS", {**kinds})
        folder = tmp_path_factory.mktemp("indexed") / "made"
        made_bundle(folder, vectors(), exporter=LastItem(table), histories=HISTORIES, index=True, recall=0.95)
    return open_bundle(folder)


few = st.lists(st.integers(0, ITEMS - 1).map("i{}".format), max_size=5)


@settings(deadline=None, max_examples=40)
@given(st.lists(few, min_size=1, max_size=4), st.integers(1, 12), few, st.booleans())
def test_the_index_answers_as_scoring_all_items_does(served, histories, k, exclude, filter_seen):
    asked = {"k": k, "exclude": exclude, "filter_seen": filter_seen}
    histories = [history or ["i0"] for history in histories]
    exact = attrs.evolve(served, nearest=None).recommend_many(histories, **asked)
    for ours, theirs, history in zip(served.recommend_many(histories, **asked), exact, histories, strict=True):
        assert (False, True) == (ours.trace.exact, theirs.trace.exact)
        assert k == len(ours.items) == len(set(ours.items))
        assert len(set(ours.items) & set(theirs.items)) >= 0.8 * k
        known = dict(zip(theirs.items, theirs.scores, strict=True))
        for item, score in zip(ours.items, ours.scores, strict=True):
            assert score == pytest.approx(known.get(item, score), rel=1e-4, abs=1e-4)
        assert not set(ours.items) & {*exclude, *(history if filter_seen else [])}


def test_what_was_measured_stands_in_the_description(served):
    said = served.described.index
    assert 60 == said.queries
    assert 0.95 <= said.recall <= 1
    assert said.candidates == indexes.KINDS[said.kind].candidates


def test_all_items_are_scored_where_few_are_allowed_or_many_left_out_or_wanted(served):
    for asked in ({"allow": ["i1", "i2", "i3"]}, {"exclude": [f"i{item}" for item in range(5000)]}, {"k": 2000}):
        answer = served.recommend(["i7"], **asked)
        assert answer.trace.exact
        assert answer == attrs.evolve(served, nearest=None).recommend(["i7"], **asked)


def test_what_the_network_cannot_say_is_not_asked_of_the_index(served):
    class Failing:
        def run(self, *_):
            raise RuntimeError("out of order")

    fallen = attrs.evolve(served, network=Failing(), popularity=np.arange(ITEMS))
    assert (f"i{ITEMS - 1}",) == fallen.recommend(["i7"], 1).items


def test_without_faiss_every_item_is_scored(served, tmp_path, monkeypatch):
    made_bundle(tmp_path / "made", vectors(), histories=HISTORIES, index=True, recall=0.9)
    monkeypatch.setitem(sys.modules, "faiss", None)
    answer = open_bundle(tmp_path / "made").recommend(["i7"])
    assert (10, True) == (len(answer.items), answer.trace.exact)
    with pytest.raises(NeedsError, match="needs faiss"):
        made_bundle(tmp_path / "other", vectors(), histories=HISTORIES, index=True)


# What is refused


def test_an_index_below_the_bar_is_refused_or_left_out_and_told(tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    noise = rng.standard_normal((ITEMS, 64)).astype(np.float32)  # nothing to be learned from
    monkeypatch.setattr(indexes, "KINDS", {"pq4": attrs.evolve(indexes.KINDS["pq4"], candidates=1)})
    with pytest.raises(ModelError, match=r"finds 0\.\d+ of the ten best items, less than 0\.99"):
        made_bundle(tmp_path / "made", noise, histories=HISTORIES, index=True)
    assert [] == list(tmp_path.iterdir())
    monkeypatch.setattr(bundles, "SMALLEST", 1000)
    report = Heard()
    served = made_bundle(tmp_path / "made", noise, histories=HISTORIES, report=report)
    assert (None, None) == (served.nearest, served.described.index)
    assert ["no-index"] == [code for code, _ in report.warnings]


def test_no_index_is_made_without_histories_or_where_nobody_asks(tmp_path, monkeypatch):
    with pytest.raises(ModelError, match="measured on histories"):
        made_bundle(tmp_path / "made", vectors(), index=True)
    assert made_bundle(tmp_path / "few", vectors(), histories=HISTORIES).nearest is None
    monkeypatch.setattr(bundles, "SMALLEST", 1000)
    assert made_bundle(tmp_path / "none", vectors(), histories=HISTORIES, index=False).nearest is None
    assert made_bundle(tmp_path / "many", vectors(), histories=HISTORIES, recall=0.9).nearest is not None


@pytest.mark.parametrize("recall", [1.5, -0.1, True, "much"])
def test_a_bar_is_a_share(tmp_path, recall):
    with pytest.raises(LwaError, match="a share from 0 to 1"):
        made_bundle(tmp_path / "made", vectors(100), recall=recall)


@pytest.mark.parametrize(
    ("index", "said"),
    [
        ({"kind": "hnsw"}, "there is no index"),
        ({"candidates": 0}, "there is no index"),
        ({"candidates": 10**9}, "there is no index"),
        ({"kind": "sq8"}, r"index-trained.npy is float32 \(256,\), not float32 \(32,\)"),
    ],
)
def test_an_index_that_is_none_is_refused_in_words(tmp_path, index, said):
    made_bundle(tmp_path / "made", vectors(), histories=HISTORIES, index=True, recall=0.9)
    file = tmp_path / "made" / "bundle.json"
    told = json.loads(file.read_text("utf-8"))
    assert "pq4" == told["index"]["kind"]
    told["index"] |= index
    file.write_text(json.dumps(told), encoding="utf-8")
    with pytest.raises(ModelError, match=said):
        open_bundle(tmp_path / "made")


def test_damaged_arrays_of_an_index_are_refused_in_words(tmp_path):
    made_bundle(tmp_path / "made", vectors(), histories=HISTORIES, index=True, recall=0.9)
    file = tmp_path / "made" / "index-trained.npy"
    trained = np.load(file)
    trained[3] = np.nan
    np.save(file, trained)
    with pytest.raises(ModelError, match="not the file that was saved"):
        open_bundle(tmp_path / "made")
    told = json.loads((tmp_path / "made" / "bundle.json").read_text("utf-8"))
    told["files"] = dict(checksums(tmp_path / "made", but="bundle.json"))
    (tmp_path / "made" / "bundle.json").write_text(json.dumps(told), encoding="utf-8")
    with pytest.raises(ModelError, match="holds what is no number"):
        open_bundle(tmp_path / "made")
