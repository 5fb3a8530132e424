"""A network that fails is answered for by popularity, and every answer says how it came about."""

from __future__ import annotations

import hashlib
import json

import numpy as np
import pytest

from lwa_core import LwaError, ModelError, open_bundle

pytest.importorskip("torch")
pytest.importorskip("onnxruntime")
pytest.importorskip("onnx")

from made_bundles import made_bundle, write_graph

from lwa_core.store.checksums import checksums

COUNTS = np.array([3, 9, 1, 9, 0, 4])


@pytest.fixture(scope="module")
def table():
    return np.random.default_rng(0).standard_normal((6, 4)).astype(np.float32)


def broken(folder, of):
    """The bundle with a network that does something else with the state."""
    write_graph(folder / "network.onnx", 4, of)
    told = json.loads((folder / "bundle.json").read_text("utf-8"))
    told["files"] = dict(checksums(folder, but="bundle.json"))
    (folder / "bundle.json").write_text(json.dumps(told), encoding="utf-8")
    return open_bundle(folder)


@pytest.fixture
def served(table, tmp_path):
    """A bundle with popularity, whose network gives the logarithm of the last item's vector: of some, no number."""
    made_bundle(tmp_path / "made", table, popularity=COUNTS)
    return broken(tmp_path / "made", "Log")


def test_a_sound_answer_is_the_networks(table, tmp_path):
    served = made_bundle(tmp_path / "made", table, popularity=COUNTS)
    answer = served.recommend(["i2"], 3)
    expected = [f"i{item}" for item in np.argsort(-(table @ table[2])) if item != 2][:3]
    assert (tuple(expected), None) == (answer.items, answer.trace.fell_back)


def test_what_is_no_number_is_answered_by_popularity_and_says_so(served):
    answer = served.recommend(["i2"], 3)
    assert ("i1", "i3", "i5") == answer.items
    assert (9.0, 9.0, 4.0) == answer.scores
    assert "scores that are no numbers" in answer.trace.fell_back


def test_popularity_leaves_out_what_is_to_be_left_out(served):
    assert ("i5", "i0") == served.recommend(["i3"], 2, exclude=["i1"]).items
    assert ("i3", "i2") == served.recommend(["i3"], 2, allow=["i2", "i3"], filter_seen=False).items


def test_a_failing_network_is_answered_by_popularity_for_all(served, monkeypatch):
    class Failing:
        def run(self, *_):
            raise RuntimeError("out of order")

    import attrs

    answers = attrs.evolve(served, network=Failing()).recommend_many([["i0"], ["i1"]], 1)
    assert [("i1",), ("i3",)] == [answer.items for answer in answers]
    assert {"the network fails: out of order"} == {answer.trace.fell_back for answer in answers}


def test_only_the_rows_at_fault_fall_back(table, tmp_path):
    made_bundle(tmp_path / "made", np.abs(table) * [[1], [1], [-1], [1], [1], [1]], popularity=COUNTS)
    served = broken(tmp_path / "made", "Sqrt")
    sound, fallen = served.recommend_many([["i0"], ["i2"]], 2)
    assert (None, True) == (sound.trace.fell_back, fallen.trace.fell_back is not None)
    assert ("i1", "i3") == fallen.items


def test_without_popularity_a_failure_is_an_error(table, tmp_path):
    made_bundle(tmp_path / "made", table)
    served = broken(tmp_path / "made", "Log")
    with pytest.raises(ModelError, match="scores that are no numbers"):
        served.recommend(["i2"], 3)


def test_popularity_of_other_items_is_refused(table, tmp_path):
    with pytest.raises(ModelError, match="popularity of 2 items"):
        made_bundle(tmp_path / "made", table, popularity=np.array([1, 2]))


# Traces


def test_the_trace_says_which_bundle_answered_and_how(table, tmp_path):
    served = made_bundle(tmp_path / "made", table)
    trace = served.recommend(["i2"], 3, context={"device": "phone", "mode": "fast"}).trace
    said = hashlib.sha256((tmp_path / "made" / "bundle.json").read_bytes()).hexdigest()
    assert said.startswith(trace.model)
    assert (12, 3, 0, 1, True) == (len(trace.model), trace.layers, trace.tier, trace.tiers, trace.exact)
    assert ("phone", "fast") == (trace.device, trace.mode)
    assert 0 < trace.milliseconds < 60_000
    assert served.recommend(["i2"], 3) == served.recommend(["i2"], 3)


def test_all_modes_of_one_tier_answer_alike(table, tmp_path):
    served = made_bundle(tmp_path / "made", table)
    assert 1 == len({served.recommend(["i2"], context={"mode": mode}) for mode in ("fast", "balanced", "accurate")})


@pytest.mark.parametrize(
    ("context", "said", "hint"),
    [
        ({"place": "home"}, "no 'place'", "device, mode"),
        ({"mode": "best"}, "no mode 'best'", "fast, balanced, accurate"),
        ({"mode": ["fast"]}, "no mode", "fast"),
        ({"device": 3}, "is a name", ""),
        ({"device": " "}, "is a name", ""),
        ("fast", "a mapping, not str", "mode"),
    ],
)
def test_another_context_is_refused_in_words(table, tmp_path, context, said, hint):
    served = made_bundle(tmp_path / "made", table)
    with pytest.raises(LwaError, match=said) as caught:
        served.recommend(["i2"], context=context)
    assert hint in (caught.value.hint or "")
