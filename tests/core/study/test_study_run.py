"""Studies carried out: rows, resuming, failures, and a kill in the middle."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time

import polars as pl
import pytest
import tiny_study
from click.testing import CliRunner
from tiny_recipe import TEXT

import lwa_core
from lwa_core.cli import main
from lwa_core.errors import StoreError
from lwa_core.results.reading import read_results
from lwa_core.store.results import Store
from lwa_core.study.document import load_study
from lwa_core.study.running import TESTED, known_so_far, run_study, values_of
from lwa_core.study.summary import summarise
from lwa_core.study.table import StudyTable, newest

TIMES = ("seconds", "bytes", "seconds to make", "latency p50 ms", "times the teacher's latency")


def carried(file, folder, **how):
    study = load_study(file)
    table = StudyTable(folder / "results", study.name)
    return run_study(study, Store(folder / "store"), table, **how), table


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    folder = tmp_path_factory.mktemp("study")
    file = tiny_study.write(folder)
    found, table = carried(file, folder)
    return folder, file, found, table


def test_every_figure_of_every_run_is_a_row(small):
    folder, file, found, table = small
    study = load_study(file)
    assert (2, 0, {}) == (found.made, found.skipped, found.failures)
    frame = table.read()
    assert 2 == frame.select("cell", "seed").unique().height
    for run, cell, seed in frame.select("run", "cell", "seed").unique().iter_rows():
        results = read_results(folder / "store" / "runs" / run)
        own = frame.filter((pl.col("cell") == cell) & (pl.col("seed") == seed))
        for model in results.models:
            told = dict(own.filter(pl.col("model") == model.name).select("metric", "value").iter_rows())
            for metric, figure in model.metrics.items():
                if figure is not None and figure.mean is not None:
                    assert told[metric] == figure.mean
        assert results.metrics.recipe.seed == seed
        settings = json.loads(own["settings"][0])
        assert cell == f"mean_length={settings['mean_length']}"
        values = values_of(Store(folder / "store"), own["key"][0])
        assert float(values["teacher"].mean()) == pytest.approx(results.teacher.metrics["ndcg@10"].mean, abs=1e-6)
    assert [cell.name for cell in study.cells] == ["mean_length=8", "mean_length=16"]


def test_other_users_are_not_paired_by_their_number(small):
    folder, file, found, _ = small
    study, store = load_study(file), Store(folder / "store")
    keys = dict(found.frame.select("cell", "key").unique().iter_rows())
    tested = [values_of(store, key)[TESTED].tobytes() for key in keys.values()]
    assert 2 == len(set(tested))  # other data, of as many users
    (model, *_) = summarise(study, found, store)["models"]
    assert model["differences"]["mean_length=16"]["low"] is None
    assert sorted(model["not_shown_worse"]) == ["mean_length=16", "mean_length=8"]


def test_csv_and_parquet_hold_the_same_and_python_reads_them(small):
    _, _, _, table = small
    csv = pl.read_csv(table.file.with_suffix(".csv"), schema=table.read().schema)
    assert csv.height == table.read().height
    assert csv["value"].to_list() == pytest.approx(table.read()["value"].to_list())
    assert lwa_core.read_study(table.file.parent).equals(table.read())
    assert lwa_core.read_study(table.file).equals(table.read())


def test_the_same_study_again_runs_nothing(small):
    folder, file, _, table = small
    before = table.file.read_bytes()
    again, _ = carried(file, folder)
    assert (0, 2) == (again.made, again.skipped)
    assert before == table.file.read_bytes()


def copied(small, folder):
    """The study with what it has made, in another folder."""
    shutil.copytree(small[0], folder, dirs_exist_ok=True)
    return folder / "study.toml"


@pytest.mark.slow
def test_another_seed_or_setting_is_added_behind_what_was_there(small, tmp_path):
    file = copied(small, tmp_path)
    rows = small[3].read()
    one_cell = file.read_text("utf-8").replace("[8, 16]", "[8]")
    file.write_text(one_cell.replace("seeds = [0]", "seeds = [0, 1]"), encoding="utf-8")
    first, table = carried(file, tmp_path)
    assert (1, 1) == (first.made, first.skipped)
    assert table.read().head(rows.height).equals(rows)
    file.write_text(one_cell, encoding="utf-8")
    (tmp_path / "tiny.toml").write_text(tiny_study.RECIPE.replace("items = 300", "items = 301"), encoding="utf-8")
    second, _ = carried(file, tmp_path)
    assert (1, 0) == (second.made, second.skipped)
    # Of a cell that was run twice the later run counts.
    counted = newest(table.read())
    assert 3 == counted.select("cell", "seed", "key").unique().height
    assert not set(second.frame["key"]) & set(first.frame["key"])


@pytest.mark.slow
def test_trials_are_chosen_on_validation_and_stand_in_the_results(tmp_path):
    recipe = TEXT.replace("keep = [2, 1]", "keep = [1]").replace("layers = 3", "layers = 2")
    study = (
        'name = "tuned"\nrecipe = "tiny.toml"\nseeds = [0]\nset = ["recommender.epochs=1", "compress=[]"]\n'
        '[tune]\n"recommender.learning_rate" = [1e-6, 1e-2]\n'
    )
    file = tiny_study.write(tmp_path, study, recipe)

    found, table = carried(file, tmp_path)

    assert {} == found.failures
    settings = json.loads(table.read()["settings"][0])
    assert "0.01" == settings["recommender.learning_rate"]
    again, _ = carried(file, tmp_path)
    assert (0, 1) == (again.made, again.skipped)


def test_a_damaged_or_foreign_table_is_refused(tmp_path):
    table = StudyTable(tmp_path, "s")
    table.file.write_bytes(b"not parquet")
    with pytest.raises(StoreError, match="cannot be read"):
        table.read()
    pl.DataFrame({"a": [1]}).write_parquet(table.file)
    with pytest.raises(StoreError, match="no table of a study"):
        table.read()


# The command


def lwa(*asked):
    return CliRunner().invoke(main, list(map(str, asked)))


def test_the_command_runs_shows_compares_and_plans(small, tmp_path):
    file, store = copied(small, tmp_path), ("--store", tmp_path / "store")
    file.write_text(file.read_text("utf-8").replace("seeds = [0]", "seeds = [0, 1]"), encoding="utf-8")
    planned = lwa("plan", file, *store)
    assert 2 == planned.stdout.count("to do")
    assert "by those, the other 2 take about" in planned.stderr
    done = lwa("study", file, *store)
    assert 0 == done.exit_code, done.output
    assert "NDCG@10 over seeds" in done.stdout
    for ending in ("html", "md", "json", "csv", "parquet"):
        assert (tmp_path / "results" / f"small.{ending}").is_file()
    page = (tmp_path / "results" / "small.html").read_text("utf-8")
    assert 12 == page.count("<figure>")
    assert "Not measured:" in page
    shown = lwa("study", "show", file, *store)
    assert shown.stdout == done.stdout.replace(done.stdout[done.stdout.index("results: ") :], "")
    assert "mean_length=8" in lwa("study", "compare", file, "mean_length=8", "mean_length=16", *store).stdout
    assert "seeds to see 50 %" in lwa("study", "power", file, "--margin", "0.5", *store).stdout
    assert "4 of 4 runs are in the results" in lwa("plan", file, *store).stderr
    assert 4 == len(json.loads(lwa("plan", file, *store, "--json").stdout)["runs"])
    wrong = lwa("study", "compare", file, "mean_length=8", "mean_length=9", *store)
    assert 0 != wrong.exit_code
    assert "there are: mean_length=8, mean_length=16" in wrong.output


def test_a_run_that_fails_is_told_and_stops_no_other(tmp_path):
    study = tiny_study.STUDY.replace(
        'key = "data.mean_length"\nvalues = [8, 16]', 'key = "filter.user_core"\nvalues = [500, 1]'
    )  # data that is filtered away to nothing fails when it is run, not when it is read
    done = lwa("study", tiny_study.write(tmp_path, study), "--store", tmp_path / "store")
    assert 0 != done.exit_code
    assert "1 of 2 runs failed: user_core=500, seed 0" in done.stderr
    assert "Runs that failed" in (tmp_path / "results" / "small.html").read_text("utf-8")
    assert {"user_core=1"} == set(lwa_core.read_study(tmp_path / "results")["cell"])


@pytest.mark.slow
def test_a_study_that_is_killed_ten_times_ends_with_the_same_table(small, tmp_path):
    _, _, _, table = small
    file = tiny_study.write(tmp_path)
    command = [sys.executable, "-m", "lwa_core.cli", "study", str(file), "--store", str(tmp_path / "store")]
    rng, kills = random.Random(0), 0
    while kills < 10:
        process = subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
        )
        time.sleep(rng.uniform(0.5, 9))
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            kills += 1
        process.wait()
        if kills < 10 and process.returncode == 0:
            break
    assert 0 == subprocess.run(command, check=False, capture_output=True).returncode
    study = load_study(file)
    mine = known_so_far(study, StudyTable(tmp_path / "results", study.name))
    expected = known_so_far(study, table)
    columns = ["cell", "seed", "model", "metric", "value"]
    same = [f.filter(~pl.col("metric").is_in(TIMES)).select(columns).sort(columns) for f in (mine, expected)]
    assert same[0].equals(same[1])
    assert mine.select("cell", "seed").unique().height == mine.select("cell", "seed", "key").unique().height
