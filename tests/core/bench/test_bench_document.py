"""Reading a benchmark: everything wrong with it at once, each at its place; no torch."""

import subprocess
import sys
from pathlib import Path

import pytest
from tiny_recipe import TEXT

from lwa_core.bench.document import load_bench
from lwa_core.errors import RecipeError

GOOD = """\
name = "small"
seeds = [0, 7]

[[cell]]
recipe = "tiny.toml"
name = "tiny-4"
set = ["recommender.layers=4"]

[[cell]]
recipe = "tiny.toml"

[[score]]
use = "fisher"

[[select]]
use = "greedy"

[heal]
use = "distill"
epochs = 1
"""


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "tiny.toml").write_text(TEXT, encoding="utf-8")
    return tmp_path


def write(folder, text):
    file = folder / "bench.toml"
    file.write_text(text, encoding="utf-8")
    return file


def problems(folder, text):
    with pytest.raises(RecipeError) as caught:
        load_bench(write(folder, text))
    return [line.replace(str(folder), "") for line in str(caught.value).splitlines() if "error[" in line]


def test_each_cell_is_read_with_each_seed(folder):
    bench = load_bench(write(folder, GOOD))

    assert [("tiny-4", 0), ("tiny-4", 7), ("tiny", 0), ("tiny", 7)] == [(c.name, c.seed) for c in bench.cells]
    assert [4, 4, 3, 3] == [cell.recipe.recommender.settings["layers"] for cell in bench.cells]
    assert [0, 7, 0, 7] == [cell.recipe.seed for cell in bench.cells]


def test_the_baselines_are_always_compared(folder):
    bench = load_bench(write(folder, GOOD), ["block-influence", "fisher"])

    assert ["fisher", "first-last", "last-first", "block-influence"] == [use.name for use in bench.scorers]
    assert ["greedy", "uniform"] == [use.name for use in bench.selectors]


def test_all_problems_are_told_at_once(folder):
    text = GOOD.replace('use = "fisher"', 'use = "fischer"').replace('use = "greedy"', 'use = "greedy"\nkeep = 2')
    text = text.replace("[heal]", "[heel]").replace('name = "tiny-4"', 'nmae = "tiny-4"')

    assert [
        "/bench.toml:6:1: error[unknown-setting]: unknown setting 'nmae' in [[cell]]",
        "/bench.toml:13:7: error[unknown-component]: no scorer is called 'fischer'",
        "/bench.toml:17:1: error[unknown-setting]: the benchmark sets 'keep' itself: all depths to half the layers",
        "/bench.toml:19:2: error[unknown-setting]: unknown table 'heel'",
    ] == problems(folder, text)


def test_a_mistake_in_a_recipe_is_told_in_that_recipe(folder):
    (folder / "tiny.toml").write_text(TEXT.replace("layers = 3", "layers = 0"), encoding="utf-8")

    assert ["/tiny.toml:11:10: error[out-of-range]: 'layers' must be at least 1, not 0"] == problems(
        folder, GOOD.replace('set = ["recommender.layers=4"]', "")
    )[:1]


def test_a_mistake_in_a_change_is_told(folder):
    (first, *_) = problems(folder, GOOD.replace("layers=4", "layres=4"))

    assert "--set recommender.layres=4" in first


def test_two_cells_need_two_names(folder):
    assert ["/bench.toml:8:3: error[duplicate-name]: two [[cell]] are called 'tiny'"] == problems(
        folder, GOOD.replace('name = "tiny-4"\n', "")
    )


def test_cells_are_needed(folder):
    assert ["/bench.toml:1:1: error[missing-table]: a benchmark needs [[cell]]"] == problems(folder, 'name = "none"\n')


@pytest.mark.parametrize("name", ["bench", "bench-12", "healing", "controls"])
def test_the_shipped_benchmarks_are_sound(name):
    bench = load_bench(Path(__file__).parents[3] / "benchmarks" / "layer_scorers" / f"{name}.toml")

    assert 0 in {cell.seed for cell in bench.cells}


def test_reading_imports_no_torch(folder):
    code = (
        "import sys; from pathlib import Path; from lwa_core.bench.document import load_bench\n"
        f"load_bench(Path({str(write(folder, GOOD))!r})); print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert "False" == done.stdout.strip()
