"""A whole run: what it leaves, what it does not do twice, how it fails."""

import json
import resource
import shutil

import numpy as np
import pytest
import tomli
from tiny_recipe import TEXT, computed, run, write_recipe

import lwa_core
from lwa_core import ModelError, NeedsError, RecipeError, StageError, StoreError
from lwa_core.modeling.layers.layered import LayeredModel
from lwa_core.pipeline.export import read_plan
from lwa_core.pipeline.plan import make_plan
from lwa_core.pipeline.run import run_recipe
from lwa_core.recipe.reader import load_recipe
from lwa_core.recommendation.metrics import ndcg
from lwa_core.results.reading import is_finished, read_results
from lwa_core.store.results import Store


@pytest.fixture(scope="module")
def first(tmp_path_factory):
    base = tmp_path_factory.mktemp("run")
    folder, events = run(base, base / "store")
    return base, folder, events


def metrics_of(folder):
    return json.loads((folder / "metrics.json").read_text())


def test_leaves_the_recipe_the_metrics_the_events_and_the_models(first):
    _, folder, events = first
    names = [model["name"] for model in metrics_of(folder)["models"]]

    assert names == [
        "teacher",
        "drop-2",
        "distill-2",
        "drop-1",
        "distill-1",
        "bigram",
        "item-knn",
        "popularity",
        "transitions",
    ]
    assert (folder / "recipe.toml").read_text() == TEXT
    assert tomli.loads((folder / "resolved.toml").read_text())["recommender"]["heads"] == 2
    assert sorted(path.name for path in (folder / "models").iterdir()) == sorted(names[:5])
    lines = [json.loads(line) for line in (folder / "events.jsonl").read_text().splitlines()]
    assert [line["kind"] for line in lines] == [event.kind for event in events if event.kind != "progress"]


def test_the_students_have_the_selected_layers_and_answer_as_their_files_do(first):
    _, folder, _ = first
    metrics = metrics_of(folder)
    tiers = metrics["plan"]["tiers"]

    assert [len(tier) for tier in tiers] == [2, 1]
    for model in metrics["models"][1:5]:
        assert model["layers"] == tiers[model["tier"]]
        assert LayeredModel(lwa_core.load(folder, model["name"]).model).depth == model["depth"]


def test_the_figures_are_those_of_the_models(first):
    """NDCG@10 of a student, computed again from its saved model, one user after another."""
    base, folder, _ = first
    from lwa_core.data.saving import load_prepared

    data = load_prepared(next((base / "store" / "results" / "data").iterdir()))
    ranker = lwa_core.load(folder, "distill-2")
    gains = []
    for history, target in zip(data.histories(data.test), data.targets(data.test), strict=True):
        ids = [data.catalogue.ids[i] for i in history]
        answer = ranker.recommend(ids, k=len(data.catalogue))
        place = answer.items.index(data.catalogue.ids[target]) + 1
        gains.append(ndcg(np.array([place]), 10)[0])

    told = next(model for model in metrics_of(folder)["models"] if model["name"] == "distill-2")
    assert told["metrics"]["ndcg@10"]["mean"] == pytest.approx(np.mean(gains))


def test_what_is_stored_is_not_run_again(first):
    base, folder, _ = first
    before = (folder / "metrics.json").read_bytes()

    again, events = run(base, base / "store")

    assert (again, computed(events)) == (folder, [])
    assert (folder / "metrics.json").read_bytes() == before


def test_another_setting_runs_what_depends_on_it_and_nothing_else(first):
    base, folder, _ = first

    other, events = run(base, base / "store", "compress.distill.temperature=4.0")

    assert other != folder
    assert computed(events) == [
        "distill-2",
        "distill-1",
        "rank distill-2",
        "rank distill-1",
        "measure time and memory",
    ]


def test_moved_data_keeps_its_results(first, tmp_path):
    base, folder, _ = first
    shutil.copy(base / "tiny.toml", tmp_path)

    again, events = run(tmp_path, base / "store")

    assert (again, computed(events)) == (folder, [])


def test_another_store_gives_the_same_metrics(first, tmp_path):
    _, folder, _ = first

    other, _ = run(tmp_path, tmp_path / "store")

    assert (other / "metrics.json").read_bytes() == (folder / "metrics.json").read_bytes()


def test_a_damaged_stored_result_is_made_again_and_told_of(first, tmp_path):
    base, folder, _ = first
    store = tmp_path / "store"
    shutil.copytree(base / "store", store)
    for weights in (store / "results" / "model").glob("*/model/model.safetensors"):
        weights.write_bytes(weights.read_bytes()[:-8])

    again, events = run(base, store)

    assert (again / "metrics.json").read_bytes() == (folder / "metrics.json").read_bytes()
    assert any("is damaged" in event.message for event in events if event.kind == "message")


def test_what_somebody_put_into_a_run_folder_is_neither_removed_nor_written_through(first, tmp_path):
    base, folder, _ = first
    store, precious = tmp_path / "store", tmp_path / "precious"
    shutil.copytree(base / "store", store)
    again = store / folder.relative_to(base / "store")
    precious.mkdir()
    (precious / "config.json").write_text("mine")
    (again / "models" / "teacher" / "NOTES.md").write_text("mine")
    (again / "report.md").write_text("mine")
    shutil.rmtree(again / "models" / "distill-2")
    (again / "models" / "distill-2").symlink_to(precious)

    _, events = run(base, store)

    assert {"config.json": "mine"} == {path.name: path.read_text() for path in precious.iterdir()}
    assert "mine" == (again / "models" / "teacher" / "NOTES.md").read_text()
    assert "mine" == (again / "report.md").read_text()
    assert precious == (again / "models" / "distill-2.was-1").readlink()
    assert lwa_core.load(again, "distill-2").recommend([], k=3) == lwa_core.load(folder, "distill-2").recommend([], k=3)
    told = [event.message for event in events if event.kind == "warning" and event.data["code"] == "set-aside"]
    assert [f"{again / 'models' / 'distill-2'} is not as lwa wrote it; it is kept as distill-2.was-1"] == told


def test_a_run_that_failed_leaves_no_folder_that_looks_like_one(tmp_path):
    text = TEXT.replace("keep = [2, 1]", "megabytes = 0.0001")

    with pytest.raises(StageError):
        run(tmp_path, tmp_path / "store", text=text)

    (folder,) = (tmp_path / "store" / "runs").iterdir()
    assert "has not finished" in (folder / "UNFINISHED").read_text()
    with pytest.raises(StoreError, match="has not finished"):
        read_results(folder)
    with pytest.raises(StoreError, match="has not finished"):
        read_plan(folder)
    with pytest.raises(ModelError, match="nor of a finished run"):
        lwa_core.load(folder)


def of_bytes(limit):
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))


@pytest.mark.parametrize(
    "times",
    [
        pytest.param(0.5, id="of the model"),
        pytest.param(1.5, id="of the optimizer, twice as large", marks=pytest.mark.slow),
    ],
)
def test_a_disk_that_takes_no_more_of_a_checkpoint_is_the_stores_error(first, tmp_path, times):
    """safetensors and torch each have their own words for it."""
    _, folder, _ = first
    size = (folder / "models" / "teacher" / "model.safetensors").stat().st_size

    of_bytes(int(size * times))
    try:
        with pytest.raises(StoreError, match=r"cannot write .*results/model/") as caught:
            run(tmp_path, tmp_path / "store")
    finally:
        of_bytes(resource.RLIM_INFINITY)

    assert 7 == caught.value.exit_code
    assert "what is finished is kept" in caught.value.hint
    assert [] == list((tmp_path / "store" / "results" / "model").iterdir())
    if times > 1:  # and goes on from there once there is room
        again, _ = run(tmp_path, tmp_path / "store")
        assert metrics_of(folder) == metrics_of(again)


def test_a_run_folder_that_is_being_written_anew_is_not_finished(first, tmp_path, monkeypatch):
    """Or a kill would leave models beside the metrics of others."""
    base, folder, _ = first
    shutil.copytree(base / "store", tmp_path / "store")
    again = tmp_path / "store" / folder.relative_to(base / "store")
    (again / "models" / "teacher" / "config.json").unlink()
    monkeypatch.setattr("lwa_core.pipeline.run.write_metrics", lambda *_: pytest.fail("ended here"))

    with pytest.raises(pytest.fail.Exception):
        run(base, tmp_path / "store")
    monkeypatch.undo()

    with pytest.raises(StoreError, match="has not finished"):
        read_results(again)
    run(base, tmp_path / "store")
    assert metrics_of(folder) == metrics_of(again)
    assert not (again / "UNFINISHED").exists()


def test_a_run_of_the_same_recipe_in_other_words_that_fails_is_not_finished(first, tmp_path, monkeypatch):
    """Its recipe does not stand beside the metrics of another time."""
    base, folder, _ = first
    shutil.copytree(base / "store", tmp_path / "store")
    again = tmp_path / "store" / folder.relative_to(base / "store")
    monkeypatch.setattr("lwa_core.pipeline.graph.Run.walk", lambda *_: pytest.fail("ended here"))

    for text, finished in ((TEXT, True), (f"# Mine.\n{TEXT}", False)):
        with pytest.raises(pytest.fail.Exception):
            run(tmp_path, tmp_path / "store", text=text)
        assert finished == is_finished(again)


@pytest.mark.parametrize("place", ["runs", "the run's folder"])
def test_a_link_in_the_place_of_a_folder_of_the_store_is_an_error_before_anything_runs(first, tmp_path, place):
    base, folder, _ = first
    name = folder.relative_to(base / "store")
    taken = tmp_path / "store" / (name.parts[0] if place == "runs" else name)
    taken.parent.mkdir(parents=True)
    (tmp_path / "mine").mkdir()
    taken.symlink_to(tmp_path / "mine")

    with pytest.raises(StoreError, match="is a link, and lwa follows none"):
        run(base, tmp_path / "store")

    assert [] == list((tmp_path / "mine").iterdir())


BROKEN = """
import attrs
from lwa_core import Component, hookimpl


@attrs.frozen
class Broken:
    def score(self, probe):
        {body}


@hookimpl
def lwa_scorers():
    return [Component("broken", Broken)]
"""


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("return 1 / 0", "ZeroDivisionError: division by zero"),
        ("return [1, 2, 3]", "gave list instead of a tensor"),
        ("import torch; return torch.zeros(5, 2)", r"gave a table of shape \(5, 2\) instead of \(samples, 3\)"),
        ("import torch; return torch.full((1, 3), torch.nan)", "gave scores that are not finite"),
    ],
)
def test_a_failing_plugin_is_named_with_the_line_of_the_recipe(first, tmp_path, body, message):
    base, _, _ = first
    (tmp_path / "broken.py").write_text(BROKEN.format(body=body))
    text = 'plugins = ["./broken.py"]\n' + TEXT.replace('use = "block-influence"', 'use = "broken"')
    line = text.splitlines().index('use = "broken"')

    with pytest.raises(StageError, match=message) as caught:
        run(tmp_path, base / "store", text=text)

    assert f"tiny.toml:{line}" in caught.value.message
    assert "local file" in caught.value.message
    assert "the same command goes on from there" in caught.value.hint


def test_a_listening_plugin_that_raises_is_told_of_once_and_stops_nothing(first, tmp_path):
    base, _, _ = first
    (tmp_path / "loud.py").write_text(
        "from lwa_core import hookimpl\n\n\n@hookimpl\ndef lwa_event(event):\n    raise RuntimeError('too loud')\n"
    )

    _, events = run(tmp_path, base / "store", text='plugins = ["./loud.py"]\n' + TEXT)

    told = [event.message for event in events if event.kind == "warning" and "too loud" in event.message]
    assert len(told) == 1


def test_what_the_machine_lacks_is_said_before_anything_runs(tmp_path):
    (tmp_path / "greedy_for_gpus.py").write_text(
        BROKEN.format(body="return None").replace('"broken", Broken', '"broken", Broken, needs={"extra:moon"}')
    )
    text = 'plugins = ["./greedy_for_gpus.py"]\n' + TEXT.replace('use = "block-influence"', 'use = "broken"')

    with pytest.raises(NeedsError, match="broken needs extra:moon"):
        run(tmp_path, tmp_path / "store", text=text)

    assert not (tmp_path / "store").exists()


def test_a_depth_that_cannot_be_kept_is_an_error_of_the_recipe(first):
    base, _, _ = first

    with pytest.raises(RecipeError, match=r"--set select.keep=5: error\[too-many-layers\]: cannot keep 5 of 3 layers"):
        run(base, base / "store", "select.keep=5")


def test_the_plan_is_what_the_run_does(first):
    base, _, events = first
    recipe = load_recipe(write_recipe(base), ())
    plan, store = make_plan(recipe), Store(base / "store")
    expanded = plan.select.expand(plan.select.stored(store), lambda stage: stage.stored(store))
    stages = [*plan.stages, *expanded]

    assert [stage.name for stage in stages] == computed(events)
    assert all(store.has(stage.kind, stage.key) for stage in stages)


def test_time_and_memory_are_measured_again_on_another_machine(first, monkeypatch):
    base, folder, _ = first
    there = json.loads((folder / "performance.json").read_text())["machine"]["cpu"]

    _, same = run(base, base / "store")
    monkeypatch.setattr("lwa_core.pipeline.stages.performance.cpu_name", lambda: f"not {there}")
    _, other = run(base, base / "store")

    assert ([], ["measure time and memory"]) == (computed(same), computed(other))


def test_a_recipe_object_runs_from_python(first):
    base, folder, _ = first

    assert run_recipe(load_recipe(write_recipe(base), ()), Store(base / "store")) == folder


EXACT = TEXT.replace('use = "greedy"\nkeep = [2, 1]', 'use = "exact"\nkeep = [2, 1]')


def test_a_run_that_measured_every_subset_says_how_far_from_the_best_its_layers_are(first, tmp_path):
    base, plain, _ = first
    shutil.copytree(base / "store", tmp_path / "store")

    folder, events = run(tmp_path, tmp_path / "store", text=EXACT)

    told = metrics_of(folder)["optimality"]
    assert "compare with all subsets" in computed(events)
    assert [1, 1] == [tier["rank"] for tier in told["tiers"]]
    assert [1, 2, 3] == [entry["layers"] for entry in told["depths"]]
    trace = {point["layers"]: point["difference"] for point in metrics_of(folder)["plan"]["trace"]["front"]}
    assert {entry["layers"]: entry["best"]["mean"] for entry in told["depths"]} == pytest.approx(trace)
    assert metrics_of(plain)["optimality"] is None


def test_what_a_store_happens_to_hold_makes_no_difference(first, tmp_path):
    """All answers are there after `exact`; a run that did not ask for them does not tell of them."""
    base, plain, _ = first
    shutil.copytree(base / "store", tmp_path / "store")
    run(tmp_path, tmp_path / "store", text=EXACT)
    shutil.rmtree(tmp_path / "store" / "runs")

    again, _ = run(base, tmp_path / "store")

    assert (again / "metrics.json").read_bytes() == (plain / "metrics.json").read_bytes()


def test_lost_answers_are_asked_for_again(first, tmp_path):
    base, _, _ = first
    shutil.copytree(base / "store", tmp_path / "store")
    folder, _ = run(tmp_path, tmp_path / "store", text=EXACT)
    before = (folder / "metrics.json").read_bytes()
    for kind in ("answers", "optimality"):
        shutil.rmtree(tmp_path / "store" / "results" / kind)

    again, events = run(tmp_path, tmp_path / "store", text=EXACT)

    assert ["compare with all subsets"] == computed(events)
    assert (again / "metrics.json").read_bytes() == before


def test_the_plan_names_the_comparison_once_it_is_known_that_there_is_one(tmp_path):
    from lwa_core.cli.plan import _rows

    def states():
        recipe = load_recipe(write_recipe(tmp_path, EXACT))
        rows = _rows(recipe, make_plan(recipe), Store(tmp_path / "store"))
        return {row["stage"]: row["state"] for row in rows}

    before = states()
    _, events = run(tmp_path, tmp_path / "store", text=EXACT)

    assert "compare with all subsets" not in before
    assert dict.fromkeys(computed(events), "stored") == states()


EVALUATE = TEXT[TEXT.index("[evaluate]") :]
ONLY_A_MODEL = TEXT.partition("[[score]]")[0] + EVALUATE
ONLY_SCORES = TEXT.partition("[select]")[0] + EVALUATE
ONLY_A_SELECTION = TEXT.partition("[[compress]]")[0] + EVALUATE
BEFORE_SCORES = ["data", "teacher", "rank teacher", "tune transitions", "rank baselines"]
SCORES = ["score fisher", "score block-influence", "score leave-one-out"]


@pytest.mark.parametrize(
    ("text", "stages"),
    [
        (ONLY_A_MODEL, BEFORE_SCORES),
        (ONLY_SCORES, [*BEFORE_SCORES, *SCORES]),
        (ONLY_A_SELECTION, [*BEFORE_SCORES, *SCORES, "select"]),
    ],
    ids=["a model", "scores", "a selection"],
)
def test_a_recipe_may_end_early_and_says_what_it_found_until_there(first, tmp_path, text, stages):
    _, whole, _ = first

    folder, events = run(tmp_path, tmp_path / "store", text=text)

    assert [*stages, "measure time and memory"] == computed(events)
    told, full = metrics_of(folder), metrics_of(whole)
    assert ["teacher", "bigram", "item-knn", "popularity", "transitions"] == [model["name"] for model in told["models"]]
    teacher, asked_of_all = told["models"][0], full["models"][0]
    assert {**asked_of_all, "versus": None} == {**teacher, "versus": None}
    by_name = [each["name"] for each in told["scores"]]
    assert [stage.removeprefix("score ") for stage in stages if stage in SCORES] == by_name
    assert [each["mean"] for each in full["scores"]][: len(by_name)] == [each["mean"] for each in told["scores"]]
    assert (told["agreement"] is None, told["plan"] is None) == (not by_name, "select" not in stages)
    assert told["plan"] in (None, full["plan"])
    assert ["teacher"] == [path.name for path in (folder / "models").iterdir()]
    assert ["teacher"] == list(json.loads((folder / "performance.json").read_text())["latency"]["models"])
    assert lwa_core.load(folder).recommend([], k=3).items


def test_what_a_short_recipe_left_is_taken_by_a_longer_one(tmp_path):
    for text, stages in (
        (ONLY_A_MODEL, BEFORE_SCORES),
        (ONLY_SCORES, SCORES),
        (ONLY_A_SELECTION, ["select"]),
        (TEXT, ["drop-2", "distill-2", "drop-1", "distill-1"]),
    ):
        _, events = run(tmp_path, tmp_path / "store", text=text)
        ran = [stage for stage in computed(events) if stage != "measure time and memory" and "rank " not in stage]
        assert [stage for stage in stages if "rank " not in stage] == ran
