"""Bundles: the same answers as the model's, without torch, and nothing but words for one that is damaged."""

import copy
import json
import shutil
import subprocess
import sys
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import attrs
import numpy as np
import polars as pl
import pytest
import torch
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from lwa_core import LayeredModel, LwaError, ModelError, Quiet, RecipeError, export_bundle, fit, open_bundle
from lwa_core.cli import main
from lwa_core.modeling import with_adapters
from lwa_core.pipeline.bundles import write_bundle
from lwa_core.runtime.served import top

pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")
pytest.importorskip("onnx")

import onnx
from made_bundles import made_bundle

ROBUSTNESS = Path(__file__).parents[3] / "benchmarks" / "robustness"
ITEMS = 40
IDS = [f"i{item:02d}" for item in range(ITEMS)]


def frame(users=80, length=12):
    rng = np.random.default_rng(0)
    rows = [(f"u{user}", IDS[item]) for user in range(users) for item in rng.permutation(ITEMS)[:length].tolist()]
    return pl.DataFrame(rows, schema=["user", "item"], orient="row")


SMALL = {"layers": 2, "width": 16, "max_length": 8, "epochs": 1, "batch": 16}
VARIANTS = {
    "gated": {**SMALL, "block": "gated", "prior": "transitions"},
    "masked": {**SMALL, "objective": "masked"},
    "transitions": {"recommender": "transitions"},
}


@pytest.fixture(scope="module", params=["gated", pytest.param("masked", marks=pytest.mark.slow), "transitions"])
def both(request, tmp_path_factory):
    """A model, and its bundle in float32."""
    ranker = fit(frame(), **VARIANTS[request.param])
    return ranker, export_bundle(ranker, tmp_path_factory.mktemp("bundles") / "plain")


@pytest.fixture(scope="module")
def untrained(tmp_path_factory):
    """The folder of a bundle without a network, and the model that it was made of."""
    ranker = fit(frame(), "transitions")
    folder = tmp_path_factory.mktemp("bundles") / "untrained"
    export_bundle(ranker, folder)
    return folder, ranker


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    """The folder of a bundle in 8 bits, and the model that it was made of."""
    ranker = fit(frame(), **SMALL, block="gated")
    folder = tmp_path_factory.mktemp("bundles") / "small"
    export_bundle(ranker, folder, weights="int8", table="int8")
    return folder, ranker


some_ids = st.lists(st.sampled_from([*IDS, "nobody's"]), max_size=14)


@settings(deadline=None, max_examples=60)
@given(st.lists(some_ids, min_size=1, max_size=5), st.integers(1, 50), some_ids, st.booleans(), st.data())
def test_a_bundle_answers_as_the_model_does(both, histories, k, exclude, filter_seen, data):
    ranker, served = both
    allow = data.draw(st.none() | st.lists(st.sampled_from(IDS), min_size=1, max_size=8))
    asked = {"exclude": exclude, "allow": allow, "filter_seen": filter_seen}
    for theirs, ours in zip(
        ranker.recommend_many(histories, k, **asked), served.recommend_many(histories, k, **asked), strict=True
    ):
        assert ours.scores == pytest.approx(theirs.scores, rel=1e-5, abs=1e-5)
        assert (ours.unknown, ours.known) == (theirs.unknown, theirs.known)
        told = dict(zip(theirs.items, theirs.scores, strict=True))
        for item, other in zip(ours.items, theirs.items, strict=True):
            assert item == other or told[item] == pytest.approx(told[other], rel=1e-5, abs=1e-5)


def test_scores_of_some_items_and_refusals_are_those_of_the_model(both):
    ranker, served = both
    theirs, ours = (each.score(["i01", "i05"], ["i02", "i03"]) for each in (ranker, served))
    assert ours == {item: pytest.approx(score, abs=1e-5) for item, score in theirs.items()}
    for asked in ({"k": 0}, {"history": "i01"}, {"history": [1.5]}, {"allow": ["nobody's"]}, {"history": None}):
        said = []
        for each in (ranker, served):
            with pytest.raises(LwaError) as caught:
                each.recommend(**{"history": ["i01"], **asked})
            said.append(caught.value.message)
        assert said[0] == said[1]


@settings(deadline=None)
@given(st.lists(st.lists(st.integers(-3, 3), min_size=6, max_size=6), max_size=4), st.integers(1, 8))
def test_the_best_are_those_of_a_full_sort(rows, k):
    scores = np.array(rows, dtype=np.float32).reshape(len(rows), 6)
    scores[scores == -3] = -np.inf
    items, values = top(scores, k)
    for row, own in enumerate(scores):
        expected = [item for item in sorted(range(6), key=lambda item: (-own[item], item)) if own[item] > -np.inf][:k]
        assert [item for item in items[row] if item >= 0] == expected
        assert values[row, : len(expected)].tolist() == own[expected].tolist()


def test_every_product_is_in_8_bits_and_every_size_is_free(bundle):
    folder, ranker = bundle
    graph = onnx.load(str(folder / "network.onnx")).graph
    from torch import nn

    maps = [module for module in ranker.model.blocks.modules() if type(module) is nn.Linear]
    drawn_in = 2  # keys and values of the last layer are never formed: its one query looks at the states themselves
    assert sum(node.op_type == "MatMulInteger" for node in graph.node) == len(maps) - drawn_in
    sizes = {
        value.name: [d.dim_param or d.dim_value for d in value.type.tensor_type.shape.dim] for value in graph.input
    }
    assert sizes == {"rows": ["batch", "time", 16], "last": ["batch"]}
    assert np.load(folder / "items.npy").dtype == np.int8
    assert b"stack_trace" not in (folder / "network.onnx").read_bytes()  # it holds paths of who exported
    assert open_bundle(folder).described.quantised == len(maps) - drawn_in


def test_8_bits_rank_much_like_32(bundle):
    folder, ranker = bundle
    served, rng = open_bundle(folder), np.random.default_rng(1)
    kept = []
    for _ in range(50):
        history = [IDS[item] for item in rng.integers(0, ITEMS, rng.integers(1, 12))]
        theirs, ours = (set(each.recommend(history, 10, filter_seen=False).items) for each in (ranker, served))
        kept.append(len(theirs & ours) / 10)
    assert np.mean(kept) > 0.85


def test_a_process_that_answers_from_a_bundle_has_no_torch(bundle):
    folder, _ = bundle
    code = (
        "import sys, lwa_core; print(lwa_core.open_bundle(sys.argv[1]).recommend(['i01'], k=3).items); "
        "print({m.partition('.')[0] for m in sys.modules})"
    )
    told = subprocess.run([sys.executable, "-c", code, str(folder)], capture_output=True, text=True, check=True)
    items, modules = map(eval, told.stdout.splitlines())
    assert items == open_bundle(folder).recommend(["i01"], k=3).items
    assert {"numpy", "onnxruntime"} <= modules
    assert not modules & {"torch", "transformers", "polars", "scipy", "sklearn", "pandas", "lwa_plugins"}


def test_a_table_of_transitions_is_a_bundle_without_a_network(untrained):
    folder, ranker = untrained
    files = {path.name for path in folder.iterdir()}
    told = json.loads((folder / "bundle.json").read_text("utf-8"))

    served = open_bundle(folder)

    ids = {"ids.npy", "ids-ends.npy", "ids-sorted.npy"}
    assert {"bundle.json", *ids, "popularity.npy", "prior"} == files
    assert [False, "none", "none"] == [told[name] for name in ("network", "weights", "table")]
    assert served.network is None
    assert repr(served) == "Served('transitions', 40 items, no network)"
    histories = [np.arange(length, dtype=np.int32) for length in (0, 1, 5, ITEMS)]
    np.testing.assert_allclose(served.scores(histories), ranker.scores(histories), rtol=1e-6, atol=1e-6)
    with pytest.raises(ModelError, match="has no network"):
        served.states(histories)


def test_without_a_network_onnx_runtime_is_not_needed(untrained):
    folder, _ = untrained
    code = (
        "import sys, lwa_core; sys.modules['onnxruntime'] = None; "
        "print(lwa_core.open_bundle(sys.argv[1]).recommend(['i01'], k=3).items); print('torch' in sys.modules)"
    )
    told = subprocess.run([sys.executable, "-c", code, str(folder)], capture_output=True, text=True, check=True)
    assert [str(open_bundle(folder).recommend(["i01"], k=3).items), "False"] == told.stdout.splitlines()


def test_the_command_asks_a_bundle(bundle):
    folder, _ = bundle
    given_ = CliRunner().invoke(main, ["recommend", str(folder), "--history", "i01,i02", "-k", "3", "--json"])
    assert given_.exit_code == 0, given_.output
    assert tuple(json.loads(given_.stdout)["items"]) == open_bundle(folder).recommend(["i01", "i02"], k=3).items
    traced = CliRunner().invoke(main, ["recommend", str(folder), "--input", "-", "--trace"], input='["i01"]\n["i02"]\n')
    told = [json.loads(line)["trace"] for line in traced.stdout.splitlines()]
    assert [(2, None), (2, None)] == [(each["layers"], each["fell_back"]) for each in told]
    assert {open_bundle(folder).fingerprint} == {each["model"] for each in told}
    refused = CliRunner().invoke(main, ["recommend", str(folder), "--history", "i01", "--model", "teacher"])
    assert refused.exit_code == 2


# Students that are no plain models


@torch.no_grad()
def changed(student):
    """One whose adapters are no longer zero maps."""
    torch.manual_seed(0)
    for name, parameter in student.named_parameters():
        if ".lora_" in name:
            parameter.add_(0.1 * torch.randn_like(parameter))
    return student.eval()


@pytest.mark.slow
@pytest.mark.parametrize("recommender", ["sequential", "backbone"])
@pytest.mark.parametrize("four_bit", [True, False])
def test_a_student_with_adapters_is_merged_in_a_copy(recommender, four_bit, tmp_path):
    """64 wide, so that every machine decodes the 4-bit weights rightly."""
    ranker = fit(frame(), recommender, **{**SMALL, "layers": 3, "width": 64})
    student = changed(
        with_adapters(LayeredModel(ranker.model).keep([0, 2]), report=Quiet(), rank=2, alpha=4.0, four_bit=four_bit)
    )
    ranker = attrs.evolve(ranker, model=student)
    histories = [np.arange(length, dtype=np.int32) for length in (0, 1, 3, 8, 12)]
    before = ranker.scores(histories)

    ranker.save(tmp_path / "model")
    plain = export_bundle(ranker, tmp_path / "plain")
    coded = export_bundle(tmp_path / "model", tmp_path / "coded", weights="int8")

    np.testing.assert_allclose(plain.scores(histories), before, rtol=1e-5, atol=1e-5)
    assert coded.described.quantised > 0
    assert torch.equal(before, ranker.scores(histories))


@pytest.mark.slow
def test_a_model_in_half_precision_stays_so_and_is_exported_in_float32(tmp_path):
    ranker = fit(frame(), **SMALL)
    ranker.model.bfloat16()
    full = attrs.evolve(ranker, model=copy.deepcopy(ranker.model).float())
    histories = [np.arange(length, dtype=np.int32) for length in (0, 1, 8)]

    served = export_bundle(ranker, tmp_path / "bundle")

    assert {torch.bfloat16} == {parameter.dtype for parameter in ranker.model.parameters()}
    np.testing.assert_allclose(served.scores(histories), full.scores(histories), rtol=1e-5, atol=1e-5)


# What cannot be


def test_nothing_is_written_over_and_nothing_is_left_of_a_failure(bundle, tmp_path):
    folder, ranker = bundle
    with pytest.raises(LwaError, match="exists already"):
        export_bundle(ranker, folder)
    with pytest.raises(RecipeError, match="weights"):
        export_bundle(ranker, tmp_path / "new", weights="int7")
    other = attrs.evolve(ranker, recommender=object(), component="other")
    with pytest.raises(ModelError, match="'other' offers no parts"):
        export_bundle(other, tmp_path / "new")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("says", "wrong"),
    [
        ({"weights": "float32", "table": "float8", "quantised": 0}, "says"),
        ({"weights": "float32", "table": "int8"}, "says"),
        ({"weights": "float32", "table": "int8", "quantised": 0}, "wrote no network.onnx"),
    ],
)
def test_an_exporter_that_does_something_else_is_refused_by_name(bundle, tmp_path, says, wrong):
    class Mine:
        def export(self, parts, file, report):
            return says

    with pytest.raises(ModelError, match=f"the exporter 'Mine' {wrong}"):
        write_bundle(bundle[1], Mine(), tmp_path / "new", Quiet())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"format": 99}, "has format 99"),
        ({"items": "many"}, "items"),
        ({"width": 0}, "sizes"),
        ({"colour": "red"}, "colour"),
        ({"files": {}}, "lists no ids-ends.npy"),
        ({"network": False}, "sizes"),
        ({"table": "none"}, "table 'none'"),
        ({"network": False, "width": 0, "special": 0, "table": "none"}, "neither a network nor a prior"),
    ],
)
def test_a_description_that_is_none_is_refused_in_words(bundle, tmp_path, change, said):
    folder = tmp_path / "copy"
    shutil.copytree(bundle[0], folder)
    told = json.loads((folder / "bundle.json").read_text("utf-8"))
    (folder / "bundle.json").write_text(json.dumps({**told, **change}), encoding="utf-8")
    with pytest.raises(ModelError, match=said):
        open_bundle(folder)


def test_damaged_bundles_are_refused_in_words_even_where_checksums_fit(bundle, tmp_path, monkeypatch):
    """Some seconds of `benchmarks/robustness/bundles.py`, which says what is done to them, in another process."""
    monkeypatch.syspath_prepend(ROBUSTNESS)
    harness, fuzz = import_module("harness"), import_module("bundles")
    rng = np.random.default_rng(0)
    names = [f"i{item:04d}" for item in range(6000)]
    histories = [rng.integers(0, 6000, 4).astype(np.int32) for _ in range(20)]
    how = {"titles": tuple(names), "popularity": np.arange(6000), "histories": histories, "recall": 0.0}
    made_bundle(tmp_path / "many", rng.standard_normal((6000, 8)), names, **how, index=find_spec("faiss") is not None)
    monkeypatch.setattr(fuzz, "BASES", {"real": bundle[0], "many": tmp_path / "many"})
    outcomes, reasons, *_ = harness.worker("bundles", 0, 250, 20261130, 1, str(tmp_path / "failures"), harness.Limits())
    fuzz.ASKING.clear()
    assert {} == dict(reasons)
    assert outcomes["model"] > 100
    assert outcomes["answers"] > 10


def test_a_description_without_a_network_has_no_sizes_of_one(untrained, tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(untrained[0], folder)
    told = json.loads((folder / "bundle.json").read_text("utf-8"))
    for change in ({"width": 4}, {"history": 0}, {"table": "float32"}, {"network": True}, {"prior": None}):
        (folder / "bundle.json").write_text(json.dumps({**told, **change}), encoding="utf-8")
        with pytest.raises(ModelError, match="is damaged"):
            open_bundle(folder)


def test_another_folder_is_no_bundle(tmp_path):
    with pytest.raises(ModelError, match="holds no bundle"):
        open_bundle(tmp_path)
