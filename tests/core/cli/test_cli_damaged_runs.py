"""The files of a run folder that somebody changed, or sent: `lwa report` and `lwa export` answer in words."""

from __future__ import annotations

import copy
import json
import random
from pathlib import Path

import example_run
import pytest
from click.testing import CliRunner

from lwa_core.cli import main
from lwa_core.errors import LwaError
from lwa_core.pipeline.export import as_mergekit, as_text, read_plan
from lwa_core.results.as_json import to_json
from lwa_core.results.reading import read_results

ODD = [None, 0, -1, 2.5, "", "x", "\x1b[31m", [], {}, [1], {"a": 1}, True, 10**12, 10**30, 1e308, [[1]], "../../x"]


def lwa(*arguments):
    return CliRunner().invoke(main, list(map(str, arguments)))


def changed(told, rng):
    """The document with one to three values of another kind, missing or doubled."""
    told = copy.deepcopy(told)

    def places(value):
        members = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
        for key, member in list(members):
            yield value, key
            yield from places(member)

    for _ in range(rng.choice([1, 2, 3])):
        holder, key = rng.choice(list(places(told if rng.random() < 0.6 else told["plan"])))
        if rng.random() < 0.75:
            holder[key] = copy.deepcopy(rng.choice(ODD))
        elif isinstance(holder, list) and rng.random() < 0.5:
            holder.append(copy.deepcopy(holder[key]))
        else:
            del holder[key]
        told.setdefault("plan", {"depth": 1})
        told["plan"] = told["plan"] or {"depth": 1}
        if not isinstance(told["plan"], (dict, list)):
            told["plan"] = {"depth": told["plan"]}
    return told


@pytest.mark.parametrize("seed", range(6))
def test_what_is_read_back_is_sound_or_refused_in_words(tmp_path, seed):
    rng = random.Random(seed)
    refused = 0
    for _ in range(60):
        example_run.write_run(tmp_path, changed(example_run.metrics(), rng))
        try:
            plan = read_plan(tmp_path)
            assert all(as_text(tier, plan.depth) for tier in plan.tiers)
            assert all(as_mergekit(tier, "m", "float32") for tier in plan.tiers if tier)
            json.dumps(to_json(read_results(tmp_path)), allow_nan=False)
        except LwaError as error:
            refused += 1
            assert str(tmp_path / "metrics.json") in error.message  # noqa: PT017 -- part of the property
    assert 0 < refused < 60


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{",
        "\xff",
        "[" * 5000,
        '{"format": ' + "9" * 5000 + "}",
        '{"format": 1, "x": NaN}',
        '{"a": "\\ud800"}',
    ],
)
@pytest.mark.parametrize("command", [["report"], ["report", "--json"], ["export"]], ids=" ".join)
def test_files_that_are_no_results(tmp_path, command, text):
    (tmp_path / "metrics.json").write_text(text, "latin-1")
    done = lwa(command[0], tmp_path, *command[1:])

    assert done.exit_code in (6, 7)
    assert str(tmp_path / "metrics.json") in done.stderr
    assert "bug" not in done.stderr


def test_parts_that_do_not_fit_each_other(tmp_path):
    told = example_run.metrics()
    told["scores"][0]["mean"] = told["scores"][0]["mean"][:-1]
    example_run.write_run(tmp_path, told)
    done = lwa("report", tmp_path)

    assert (7, "") == (done.exit_code, done.stdout)
    assert f"error[store]: the parts of {tmp_path / 'metrics.json'} do not fit together: " in done.stderr


@pytest.mark.parametrize("depth", [10**6, 10**12, 10**30, -1, "8", None])
def test_a_plan_of_more_layers_than_there_are(tmp_path, depth):
    told = example_run.metrics()
    told["plan"]["depth"] = depth
    example_run.write_run(tmp_path, told)
    done = lwa("export", tmp_path)

    assert (7, "") == (done.exit_code, done.stdout)
    assert "metrics.json is damaged: its plan cannot be read: " in done.stderr


@pytest.mark.parametrize(
    "models", [None, [], {}, [1], [{"name": 1, "kind": "student"}], [{"name": "../x", "kind": "student"}]]
)
def test_models_that_a_run_cannot_have(tmp_path, models):
    pytest.importorskip("torch")
    (Path(tmp_path) / "metrics.json").write_text(json.dumps({"models": models}))
    done = lwa("recommend", tmp_path, "--history", "1")

    assert 6 == done.exit_code
    assert "metrics.json is damaged: it does not say which models there are" in done.stderr
