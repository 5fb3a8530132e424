"""The Python that documents show runs, and the plugins that they show do their work in a real run."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import polars
import pytest
import titled
from documents import ROOT, blocks
from safetensors.numpy import load_file
from tiny_recipe import run

import lwa_core
from lwa_core.testing import check_scorer

RUN = re.compile(r"lwa-runs/runs/[\w.-]+")

RECIPE = """\
name = "shown"
plugins = ["./growth.py", "./alone.py", "./median.py", "./first.py", "./heal.py", "./listener.py"]

[data]
use = "synthetic"
users = 60
items = 220
mean_length = 12

[recommender]
use = "sequential"
layers = 2
width = 16
epochs = 1

[[score]]
use = "growth"

[[score]]
use = "alone"

[[score]]
use = "median-rank"

[select]
use = "first"
keep = 1

[[compress]]
use = "heal"
epochs = 1

[evaluate]
bootstrap = 100
requests = 0
memory = false
"""


def shown(marker: str, page: str = "docs/plugins.md") -> str:
    (text,) = [block.text for block in blocks("python", ROOT / page) if marker in block.text]
    return text


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    """The folder of a run that uses every plugin of docs/plugins.md."""
    base = tmp_path_factory.mktemp("shown")
    markers = {"growth": "class Growth", "alone": "class Alone", "first": "class First", "heal": "class Heal"}
    for name, marker in {**markers, "median": "class MedianRank", "listener": "def lwa_event"}.items():
        (base / f"{name}.py").write_text(shown(marker), encoding="utf-8")
    folder, _ = run(base, base / "store", text=RECIPE)
    return folder


def test_the_shown_plugins_do_their_work(finished):
    from lwa_core.store.files import read_json

    metrics = read_json(finished / "metrics.json")
    assert ["growth", "alone", "median-rank"] == [scores["name"] for scores in metrics["scores"]]
    assert [[0]] == metrics["plan"]["tiers"]
    assert ["heal-1"] == [model["name"] for model in metrics["models"] if model["kind"] == "student"]
    stages = [line.rsplit(" ", 1)[0] for line in (finished / "seconds.txt").read_text().splitlines()]
    assert {"data", "teacher", "score growth", "select", "heal-1"} <= set(stages)


def test_the_shown_compressor_with_other_modules_does_its_work(finished):
    """In the place of the other one, with the plugins and the results of the run that used it."""
    base = finished.parents[2]
    (base / "factors.py").write_text(shown("class Factors"), encoding="utf-8")
    text = RECIPE.replace('"./heal.py"', '"./factors.py"').replace(
        'use = "heal"\nepochs = 1', 'use = "factors"\nrank = 4'
    )
    folder, _ = run(base, base / "store", text=text)
    (saved,) = (folder / "models" / "factors-1").glob("*.safetensors")
    shapes = [tuple(tensor.shape) for name, tensor in load_file(saved).items() if name.endswith("0.weight")]
    assert shapes
    assert {4} == {shape[0] for shape in shapes if len(shape) == 2 and shape[1] == 16}


@pytest.mark.parametrize("name", ["Constant", "Growth", "Alone", "MedianRank"])
def test_the_shown_scorers_hold_to_what_every_scorer_must(name):
    space: dict = {"__name__": name}
    exec(shown(f"class {name}"), space)
    check_scorer(space[name]())


def test_the_shown_tests_pass():
    space: dict = {"__name__": "shown"}
    exec(shown("class Alone") + shown("def test_alone()"), space)
    space["test_alone"]()
    space["test_alone_is_what_the_layer_adds"]()


def test_the_test_that_contributing_shows_passes(tmp_path, monkeypatch):
    (tmp_path / "late.py").write_text(shown("class Late", "CONTRIBUTING.md"), encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    space: dict = {}
    exec(shown("def test_late()", "CONTRIBUTING.md"), space)
    space["test_late"]()


def test_a_run_is_used_from_python_as_shown(finished, capsys):
    for page in ("README.md", "docs/guide.md"):
        text, count = RUN.subn(finished.as_posix(), shown("lwa_core.load", page))
        assert 1 == count
        exec(text, {})
    assert "no such film" in capsys.readouterr().out


def test_requests_say_what_may_be_recommended_as_shown(finished):
    ranker = lwa_core.load(finished)
    text = shown("filter_seen=False", "docs/guide.md")
    for name, known in zip(("50", "181", "174", "100"), ranker.catalogue.ids[3:], strict=False):
        text = text.replace(f'"{name}"', f'"{known}"')
    text = text.replace('"196"', '"7"')
    asked = text.strip().splitlines()
    assert 5 == len(asked)

    seen, excluded, allowed, scores, user = (eval(line.partition("#")[0], {"ranker": ranker}) for line in asked)

    ids = ranker.catalogue.ids
    assert 5 == len(seen.items) == len(excluded.items)
    assert not {*excluded.items} & {ids[5], ids[6]}
    assert {ids[5], ids[6]} == {*allowed.items}
    assert {ids[5], ids[3]} == {*scores}
    assert 5 == len(user.items) < user.known


def test_a_frame_is_fitted_as_shown(tmp_path, monkeypatch, capsys):
    rng = np.random.default_rng(0)
    items = np.array([50, 181, 174, *range(1, 18)])
    rows = [(user, int(item)) for user in range(40) for item in rng.permutation(items)[:6]]
    polars.DataFrame(rows, schema=["user", "item"], orient="row").write_csv(tmp_path / "events.csv")
    monkeypatch.chdir(tmp_path)
    text = shown("lwa_core.fit", "README.md")
    assert len([line for line in text.splitlines() if line]) <= 5

    exec(text, {})

    answer = eval(capsys.readouterr().out)
    assert 10 == len(answer)
    assert not {"50", "181", "174"} & set(answer)


def test_the_recipe_that_ranks_by_titles_runs_as_shown(tmp_path):
    """docs/text.md, with a tiny encoder and made-up titles in the place of its files, and a small model."""
    from lwa_core.store.files import read_json

    titled.write(tmp_path)
    (text,) = [block.text for block in blocks("toml", ROOT / "docs" / "text.md") if "[data]" in block.text]
    small = ["recommender.layers=2", "recommender.width=16", "recommender.epochs=1", "compress.distill.epochs=1"]
    small += ["select.keep=1", "evaluate.bootstrap=100", "evaluate.requests=0", "evaluate.memory=false"]

    folder, _ = run(tmp_path, tmp_path / "store", *small, text=text)

    metrics = read_json(folder / "metrics.json")
    assert "lwa-text" == read_json(folder / "models" / "teacher" / "config.json")["model_type"]
    (said,) = [warning["message"] for warning in metrics["warnings"] if warning["code"] == "no-title"]
    assert said.startswith("1 of 32 items")
    cold = metrics["cold_start"]
    assert (60, 60, titled.KINDS * titled.COLD) == (cold["examples"], cold["of"], cold["items"])
    assert {model["name"] for model in metrics["models"]} == set(cold["models"])
    assert 0.0 == cold["models"]["item-knn"]["recall@5"]["mean"]
