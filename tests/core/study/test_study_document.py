"""What a study's file says: cells, trials, drawn designs, and all that is wrong with one."""

from pathlib import Path

import numpy as np
import pytest
import tiny_study

from lwa_core.errors import RecipeError
from lwa_core.recipe.overrides import value_text
from lwa_core.study.design import Knob, draw
from lwa_core.study.document import is_study, load_study

ROOT = Path(__file__).parents[3]
TEXT = (ROOT / "recipes" / "quickstart.toml").read_text("utf-8")
HEAD = 'name = "s"\nrecipe = "tiny.toml"\nseeds = [0, 3]\n'


def read(folder, text, recipe=tiny_study.RECIPE):
    return load_study(tiny_study.write(folder, HEAD + text, recipe))


def problems(folder, text, recipe=tiny_study.RECIPE, head=HEAD):
    with pytest.raises(RecipeError) as caught:
        load_study(tiny_study.write(folder, head + text, recipe))
    return [line.replace(str(folder), "") for line in str(caught.value).splitlines() if "error[" in line]


GRID = '[[vary]]\nkey = "data.users"\nvalues = [100, 200]\n[[vary]]\nkey = "data.items"\nvalues = [60, 70, 80]\n'


def test_a_grid_has_every_combination_with_every_seed(tmp_path):
    study = read(tmp_path, GRID)

    assert ["users=100, items=60", "users=100, items=70", "users=100, items=80"] == [c.name for c in study.cells[:3]]
    assert 12 == len(study.runs)
    assert {0, 3} == {seed for _, seed in study.runs}
    recipe = study.recipes["users=200, items=70", 3]
    assert (200, 70, 3) == (recipe.data.settings["users"], recipe.data.settings["items"], recipe.seed)
    assert study.reference == "users=100, items=60"


def test_knobs_that_go_together_move_together(tmp_path):
    text = GRID.replace("[60, 70, 80]", "[60, 70]").replace("values", 'together = "size"\nvalues')
    assert ["users=100, items=60", "users=200, items=70"] == [cell.name for cell in read(tmp_path, text).cells]
    uneven = text.replace("[60, 70]", "[60, 70, 80]")
    assert any("as many values each" in line for line in problems(tmp_path, uneven))


def test_whole_tables_vary_by_what_they_use(tmp_path):
    steps = '[{use = "drop"}], [{use = "drop"}, {use = "fine-tune", epochs = 1}], []'
    text = f'[[vary]]\nkey = "compress"\nvalues = [{steps}]\n'
    study = load_study(tiny_study.write(tmp_path, HEAD + text, TEXT))
    assert ["compress=drop", "compress=drop+fine-tune", "compress=none"] == [cell.name for cell in study.cells]
    kinds = [[use.component for use in study.recipes[cell.name, 0].compress] for cell in study.cells]
    assert [["drop"], ["drop", "fine-tune"], []] == kinds


def test_changes_hold_in_all_cells_and_those_of_the_command_come_last(tmp_path):
    head = HEAD + 'set = ["data.users=150", "data.items=50"]\n'
    file = tiny_study.write(tmp_path, head + '[[vary]]\nkey = "seed"\nname = "s"\nvalues = [1]\n')
    study = load_study(file, ["data.items=55"])
    settings = study.recipes[study.cells[0].name, 0].data.settings
    assert (150, 55) == (settings["users"], settings["items"])


def test_trials_are_all_combinations_and_are_checked(tmp_path):
    text = GRID + '[tune]\n"data.mean_length" = [8, 12]\n"data.users" = [110, 120]\n'
    assert 4 == len(read(tmp_path, text).tune)
    wrong = problems(tmp_path, text.replace("[8, 12]", '["long"]'))
    assert 1 == len(wrong)
    assert "mean_length" in wrong[0]


def test_a_study_without_knobs_is_one_cell_over_seeds(tmp_path):
    study = read(tmp_path, "")
    assert ["as it is"] == [cell.name for cell in study.cells]
    assert 2 == len(study.runs)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[[vary]]\nkey = "data.users"\n', "'values' must be a list"),
        ('[[vary]]\nkey = "data.users"\nvalues = []\n', "'values' must be a list"),
        ('[[vary]]\nkey = "data.users"\nvalues = [100, 100]\n', "needs a label of its own"),
        ('[[vary]]\nkey = "data.users"\nvalues = [100]\n[[vary]]\nkey = "data.users"\nvalues = [1]\n', "two [[vary]]"),
        ('[[vary]]\nkey = "data.uzers"\nvalues = [100]\n', "unknown setting 'uzers'"),
        ('[[vary]]\nkey = "recommender.layers"\nvalues = ["two"]\n', "layers"),
        ('[[vari]]\nkey = "x"\n', "unknown table 'vari'"),
        ("[tune]\nx = 3\n", "must be a list of values to try"),
        ('reference = "users=7"\n' + GRID, "names no cell"),
        ('design = "random"\n' + GRID, "has 'low' and 'high'"),
        ('design = "random"\n[[vary]]\nkey = "data.users"\nlow = 0\nhigh = 9\nlog = true\n', "begins above 0"),
        ('design = "sobol"\n', "needs [[vary]]"),
    ],
)
def test_what_is_wrong_is_said_at_its_place(tmp_path, text, said):
    assert any(said in line for line in problems(tmp_path, text))


def test_a_problem_of_the_recipe_is_told_once_with_its_cell(tmp_path):
    file = tiny_study.write(tmp_path, HEAD + GRID, tiny_study.RECIPE.replace("transitions", "transition"))
    with pytest.raises(RecipeError) as caught:
        load_study(file)
    said = str(caught.value)
    assert 1 == said.count("error[")
    assert "in the cell users=100, items=60" in said


def test_a_recipe_that_is_not_there_is_said(tmp_path):
    assert any("there is no such file" in line for line in problems(tmp_path, "", head=HEAD.replace("tiny", "other")))


def test_recipes_and_benchmarks_are_no_studies(tmp_path):
    file = tiny_study.write(tmp_path)
    assert is_study(file)
    assert not is_study(tmp_path / "tiny.toml")
    assert not is_study(tmp_path / "nothing.toml")


def test_values_are_written_as_toml():
    import tomli

    for value in ([{"use": 'a "b"', "x": [1.5, True]}], "ä\n", -3, 1e-05, {"a b": []}, False):
        assert value == tomli.loads(f"v = {value_text(value)}")["v"]


KNOBS = (Knob("a.b", "b", (), (), low=1e-4, high=1e-2, log=True), Knob("a.c", "c", (), (), low=2, high=8, whole=True))


@pytest.mark.parametrize("design", ["random", "sobol", "morris"])
def test_drawn_cells_lie_between_their_ends_and_are_the_same_again(design):
    if design != "random":
        pytest.importorskip("SALib")
    cells = draw(design, KNOBS, 8, seed=0)
    assert cells == draw(design, KNOBS, 8, seed=0)
    assert all(1e-4 <= cell["b"] <= 1e-2 and cell["c"] in range(2, 9) for cell in cells)
    assert len(cells) == len({tuple(cell.values()) for cell in cells})
    if design != "morris":  # which has four levels
        assert abs(np.log10([cell["b"] for cell in cells]).mean() + 3) < 0.35


SHIPPED = sorted((ROOT / "studies").glob("*.toml"))


@pytest.mark.parametrize("file", SHIPPED, ids=lambda file: file.stem)
def test_shipped_studies_are_without_mistakes(file):
    if file.stem == "sensitivity":
        pytest.importorskip("SALib")
    study = load_study(file)
    assert study.name == file.stem
    assert len(study.runs) > 1
    assert study.reference in {cell.name for cell in study.cells}
