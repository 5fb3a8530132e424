"""A run that exports and holds against devices: rows beside those of the models, bundles that answer, one gate."""

import json
import shutil

import numpy as np
import pytest
import tiny_recipe
from click.testing import CliRunner
from safetensors.numpy import load_file

import lwa_core
from lwa_core.cli import main
from lwa_core.pipeline.plan import make_plan
from lwa_core.recipe.reader import load_recipe
from lwa_core.report import write_report
from lwa_core.results.devices import devices
from lwa_core.results.reading import read_results
from lwa_core.store.results import Store

pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")

EXPORTS = """
[[export]]
use = "onnx"
name = "plain"

[[export]]
use = "onnx"
name = "int8"
weights = "int8"
table = "int8"
"""
PROFILES = """
[[profile]]
use = "mobile"
keep = 0.01

[[profile]]
use = "edge"
name = "impossible"
memory_mb = 1
"""
DROP = tiny_recipe.TEXT.replace('[[compress]]\nuse = "distill"\nepochs = 2\nbatch = 32\n', "").replace("[2, 1]", "2")
TEXT = DROP.replace("memory = false", "memory = true") + EXPORTS + PROFILES

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("exports")
    return tiny_recipe.run(folder, folder / "store", text=TEXT)[0], folder


def test_every_export_is_a_row_of_quality_time_and_memory(run):
    results = read_results(run[0])
    exports = results.of_kind("export")
    assert [each.name for each in exports] == ["drop-2/plain", "drop-2/int8"]
    student = next(model for model in results.models if model.name == "drop-2")
    for each in exports:
        assert (each.layers, each.depth, each.exported.of) == (student.layers, 2, "drop-2")
        assert results.figure(each).units == results.figure(student).units
        assert results.latency(each.name).p50 > 0
        assert results.memory(each.name).peak > results.memory(each.name).before
        assert results.memory(each.name).peak < 0.5 * results.memory("drop-2").peak
    plain, int8 = exports
    assert plain.exported.kept["ndcg@10"].mean == pytest.approx(1, abs=0.02)
    assert plain.exported.difference < 1e-5
    assert (plain.exported.quantised, int8.exported.weights) == (0, "int8")
    assert int8.exported.quantised > 0


def test_a_bundle_is_ranked_as_one_user_after_the_other_says(run):
    """Against the ranks counted here by asking the bundle itself."""
    folder, home = run
    recipe = load_recipe(tiny_recipe.write_recipe(home, TEXT))
    store, plan = Store(home / "store"), make_plan(recipe)
    tiers = plan.tiers(plan.select.stored(store).plan)
    (exported,) = [each for each in plan.exports(tiers) if each.bundle.name == "drop-2/plain"]
    ranks = load_file(store.path("ranking", exported.quality.key) / "rankings.safetensors")["model.ranks"]
    data, served = plan.data.stored(store), lwa_core.open_bundle(folder / "bundles/drop-2/plain")
    for row in range(0, len(data.test), 9):
        one = data.test.take(np.array([row]))
        (history,), (target,) = data.histories(one), data.targets(one)
        scores = served.scores([history])[0]
        scores[history] = -np.inf
        assert ranks[row] == (scores >= scores[target]).sum()


def test_bundles_lie_in_the_run_and_know_what_was_measured_of_them(run):
    folder, _ = run
    results = read_results(folder)
    for each in results.of_kind("export"):
        bundle = folder / "bundles" / each.name
        measured = json.loads((bundle / "measured.json").read_text("utf-8"))
        assert measured["model"]["name"] == each.name
        assert measured["model"]["metrics"]["ndcg@10"]["mean"] == results.figure(each).mean
        assert lwa_core.open_bundle(bundle).recommend(["1"], 3).items
        assert lwa_core.open_bundle(bundle).described.provenance["model"]["layers"] == list(each.layers)


def test_the_same_command_finds_all_of_it_stored(run):
    folder, home = run
    before = (folder / "metrics.json").read_bytes()
    again, events = tiny_recipe.run(home, home / "store", text=TEXT)
    assert (again, tiny_recipe.computed(events)) == (folder, [])
    assert (folder / "metrics.json").read_bytes() == before


def test_a_profile_is_passed_by_what_was_measured(run):
    mobile, impossible = devices(read_results(run[0]))
    by_name = {fit.name: {check.name: check.passed for check in fit.checks} for fit in mobile.fits}
    assert set(by_name) == {"teacher", "drop-2", "drop-2/plain", "drop-2/int8"}
    assert by_name["drop-2/int8"]["memory"]
    assert not by_name["teacher"]["memory"]  # torch alone takes more
    assert impossible.passing == []
    page = write_report(run[0])[0].read_text("utf-8")
    assert "Which configuration for which device" in page
    assert "None passes. Nearest is" in page


def test_the_gate_ends_with_a_code_of_its_own(run, tmp_path):
    folder, _ = run
    asked = ["profile", str(folder), "--model", "drop-2/int8", "--json", "--profile"]
    (tmp_path / "wide.toml").write_text("memory_mb = 500\ncold_start_s = 60\n", "utf-8")
    (tmp_path / "narrow.toml").write_text("memory_mb = 1\n", "utf-8")
    passing = CliRunner().invoke(main, [*asked, str(tmp_path / "wide.toml")])
    assert passing.exit_code == 0, passing.output
    assert json.loads(passing.stdout)[0]["passes"] == ["drop-2/int8"]
    failing = CliRunner().invoke(main, [*asked, str(tmp_path / "narrow.toml")])
    assert failing.exit_code == 10
    assert json.loads(failing.stdout)[0]["passes"] == []


def test_a_bundle_alone_does_not_pass_what_nobody_measured_of_it(run, tmp_path):
    bundle = shutil.copytree(run[0] / "bundles/drop-2/int8", tmp_path / "bundle")
    (bundle / "measured.json").unlink()
    (tmp_path / "kept.toml").write_text("keep = 0.01\n", "utf-8")
    refused = CliRunner().invoke(main, ["profile", str(bundle), "--profile", str(tmp_path / "kept.toml")])
    assert refused.exit_code == 10
    assert "not measured" in refused.output
