"""What a study is said to show, beside sums written out and functions whose answer is known."""

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import tiny_study

from lwa_core.store.results import Store
from lwa_core.study.document import load_study
from lwa_core.study.report import answer, html, markdown, tables
from lwa_core.study.running import Carried
from lwa_core.study.summary import compared, seeds_by_cell, summarise
from lwa_core.study.table import COLUMNS

STUDY = """\
name = "s"
recipe = "tiny.toml"
seeds = [0, 1, 2, 3]
margin = 0.1

[[vary]]
key = "data.users"
values = [100, 200, 400]
"""


def row(cell, seed, value, model="teacher", metric="ndcg@10", kind="teacher", **settings):
    return {
        "study": "s",
        "cell": cell,
        "settings": json.dumps(settings or {"users": cell.partition("=")[2]}),
        "seed": seed,
        "model": model,
        "kind": kind,
        "metric": metric,
        "value": value,
        "low": None,
        "high": None,
        "key": f"{cell}-{seed}",
        "run": "r",
        "measured": "now",
        "lwa": "0",
        "machine": "m",
    }


def summary_of(folder: Path, rows, text=STUDY):
    study = load_study(tiny_study.write(folder, text))
    frame = pl.DataFrame(rows, schema=COLUMNS)
    return study, frame, summarise(study, Carried(frame), Store(folder / "store"))


VALUES = {
    "users=100": [0.10, 0.11, 0.09, 0.10],
    "users=200": [0.20, 0.22, 0.19, 0.2],
    "users=400": [0.4, 0.41, 0.4, 0.42],
}


def rows_of(values=VALUES, least=0.15):
    made = [row(cell, seed, value) for cell, each in values.items() for seed, value in enumerate(each)]
    return made + [
        row(cell, seed, least, "popularity", kind="baseline")
        for cell, each in values.items()
        for seed in range(len(each))
    ]


def test_figures_differences_and_the_best_are_those_of_the_seeds(tmp_path):
    _, _, told = summary_of(tmp_path, rows_of())
    (model,) = told["models"]
    for cell, values in VALUES.items():
        assert np.mean(values) == pytest.approx(model["cells"][cell]["mean"])
        assert np.std(values, ddof=1) == pytest.approx(model["cells"][cell]["by_seed"])
    difference = model["differences"]["users=400"]
    paired = np.subtract(VALUES["users=400"], VALUES["users=100"])
    half = 3.182446 * paired.std(ddof=1) / 2
    assert (paired.mean() - half, paired.mean() + half) == pytest.approx(
        (difference["low"], difference["high"]), rel=1e-5
    )
    assert "better" == difference["shown"]
    assert ["users=400"] == model["not_shown_worse"]
    assert "users=400 (1 of 3 cells)" in answer(told)[0]


def test_a_training_no_better_than_popularity_has_collapsed(tmp_path):
    _, _, told = summary_of(tmp_path, rows_of(least=0.195))
    collapsed = {cell["cell"]: cell["collapsed"]["collapsed"] for cell in told["cells"]}
    assert {"users=100": 4, "users=200": 1, "users=400": 0} == collapsed
    assert any("says nothing" in table.note for table in tables(told))


def test_elasticities_are_slopes_between_logarithms(tmp_path):
    values = {f"users={users}": [0.01 * users**0.5] * 4 for users in (100, 200, 400)}
    _, _, told = summary_of(tmp_path, rows_of(values))
    (found,) = told["elasticities"]
    assert ("users", 4) == (found["knob"], found["seeds"])
    assert 0.5 == pytest.approx(found["mean"])


def test_a_small_difference_is_shown_to_be_within_the_margin(tmp_path):
    values = {"users=100": [0.1, 0.1, 0.1, 0.1], "users=200": [0.101, 0.1, 0.1, 0.101]}
    _, _, told = summary_of(tmp_path, rows_of(values))
    assert told["models"][0]["differences"]["users=200"]["equivalent"]
    assert any("within ±10 %" in cell for table in tables(told) for each in table.rows for cell in each)


def test_less_is_better_in_perplexity(tmp_path):
    rows = [{**each, "metric": "perplexity"} for each in rows_of(least=0.3)]
    _, _, told = summary_of(tmp_path, rows)
    assert ["users=100"] == told["models"][0]["not_shown_worse"]
    assert "worse" == told["models"][0]["differences"]["users=400"]["shown"]
    assert {"users=100": 0, "users=200": 0, "users=400": 4} == {
        cell["cell"]: cell["collapsed"]["collapsed"] for cell in told["cells"]
    }


def test_cells_and_seeds_that_lack_are_left_out_of_pairs(tmp_path):
    rows = [each for each in rows_of() if (each["cell"], each["seed"]) != ("users=400", 3)]
    study, frame, told = summary_of(tmp_path, rows)
    assert 3 == told["models"][0]["differences"]["users=400"]["seeds"]
    assert "11 of 12 runs are done." in answer(told)
    (teacher, _) = compared(frame, Store(tmp_path / "store"), "users=400", "users=200")
    assert 3 == teacher["difference"]["seeds"]
    assert {"users=200", "users=400"} == set(
        seeds_by_cell(study, frame, Store(tmp_path / "store"), "teacher", 0.5, 0.8)
    )


DRAWN = """\
name = "s"
recipe = "tiny.toml"
seeds = [0]
design = "{design}"
samples = {samples}

[[vary]]
key = "data.users"
low = 100
high = 1000000
whole = true

[[vary]]
key = "data.items"
low = 1000
high = 1000000
whole = true
"""


@pytest.mark.parametrize(("design", "samples"), [pytest.param("sobol", 64, marks=pytest.mark.slow), ("morris", 20)])
def test_indices_are_those_of_a_function_that_is_known(tmp_path, design, samples):
    pytest.importorskip("SALib")
    text = DRAWN.format(design=design, samples=samples)
    study = load_study(tiny_study.write(tmp_path, text))

    def value(cell):
        first, second = (knob.place(cell.numbers[knob.name]) for knob in study.knobs)
        return 0.3 + 0.2 * first + 0.1 * second

    rows = [row(cell.name, 0, value(cell), **cell.settings) for cell in study.cells]
    _, _, told = summary_of(tmp_path, rows, text)
    first, second = told["indices"]
    if design == "sobol":  # variances 0.2² / 12 and 0.1² / 12
        assert 0.8 == pytest.approx(first["first_order"]["mean"], abs=0.05)
        assert 0.2 == pytest.approx(second["total"]["mean"], abs=0.05)
    else:
        assert 0.2 == pytest.approx(first["mean_absolute_effect"]["mean"], rel=0.01)
        assert 0.1 == pytest.approx(second["mean_absolute_effect"]["mean"], rel=0.01)
    lacking = rows[:-1]
    assert [] == summary_of(tmp_path, lacking, text)[2]["indices"]


def test_names_from_files_are_escaped(tmp_path):
    text = STUDY.replace('key = "data.users"', 'key = "data.users"\nlabels = ["<b>1", "|2", "$3$"]')
    values = {"users=<b>1": [0.1, 0.2, 0.1, 0.2], "users=|2": [0.1, 0.1, 0.2, 0.1], "users=$3$": [0.3, 0.3, 0.2, 0.3]}
    _, _, told = summary_of(tmp_path, rows_of(values), text)
    assert "<b>1" not in html(told)
    assert "\\|2" in markdown(told)
    assert json.loads(json.dumps(told)) == told
