"""A recipe whose device the machine lacks: `lwa plan` shows it, and `lwa run` refuses before anything is run."""

import json

import pytest
import tiny_recipe
from click.testing import CliRunner

from lwa_core.cli import main


@pytest.fixture
def recipe(tmp_path):
    return tiny_recipe.write_recipe(tmp_path, 'device = "cuda:900"\n' + tiny_recipe.TEXT)


def test_plan_says_which_stages_lack_it(recipe, tmp_path):
    done = CliRunner().invoke(main, ["plan", str(recipe), "--store", str(tmp_path / "store"), "--json"])

    assert 0 == done.exit_code, done.stderr
    lacks = {row["stage"]: row["lacks"] for row in json.loads(done.stdout)}
    without = ["data", "tune transitions", "rank baselines"]  # a model
    assert {stage: [] for stage in without} == {stage: lacks.pop(stage) for stage in without}
    assert {("cuda:900",)} == {tuple(missing) for missing in lacks.values()}


def test_run_refuses_in_words(recipe, tmp_path):
    done = CliRunner().invoke(main, ["run", str(recipe), "--store", str(tmp_path / "store")])

    assert 8 == done.exit_code
    assert "error[needs]: this machine lacks what the recipe needs: device = 'cuda:900' needs cuda:900\n" == done.stderr
    assert not (tmp_path / "store").exists()


def test_another_device_gives_the_same_keys_but_for_timings(recipe, tmp_path):
    def keys(device):
        asked = ["plan", str(recipe), "--store", str(tmp_path / "store"), "--json", "--set", f"device={device}"]
        return {row["stage"]: row["key"] for row in json.loads(CliRunner().invoke(main, asked).stdout)}

    assert keys("cpu") == keys("cuda:900")


def test_another_precision_gives_other_models(recipe, tmp_path):
    def keys(precision):
        asked = ["plan", str(recipe), "--store", str(tmp_path / "store"), "--json", "--set", f"precision={precision}"]
        return {row["stage"]: row["key"] for row in json.loads(CliRunner().invoke(main, asked).stdout)}

    single, half = keys("float32"), keys("bfloat16")
    alike = [stage for stage in single if single[stage] and single[stage] == half[stage]]
    assert ["data", "tune transitions", "rank baselines"] == alike


def test_score_refuses_in_words(tmp_path):
    (tmp_path / "texts.jsonl").write_text('{"text": "one"}\n')
    model = ["--model", str(tmp_path), "--data", str(tmp_path / "texts.jsonl")]

    done = CliRunner().invoke(main, ["score", *model, "--device", "cuda:900", "--store", str(tmp_path / "store")])

    assert 8 == done.exit_code
    assert "device = 'cuda:900' needs cuda:900" in done.stderr
