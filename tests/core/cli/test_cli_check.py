from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from lwa_core.cli import main

ROOT = Path(__file__).parents[3]
QUICKSTART = str(ROOT / "recipes" / "quickstart.toml")
BAD = ROOT / "tests" / "recipes" / "bad"


def lwa(*arguments: str):
    return CliRunner().invoke(main, arguments)


def test_a_sound_recipe():
    done = lwa("check", QUICKSTART)
    assert (0, "", f"{QUICKSTART}: no problems\n") == (done.exit_code, done.stdout, done.stderr)


def test_problems_go_to_stdout_and_the_count_to_stderr(monkeypatch):
    monkeypatch.chdir(BAD)
    done = lwa("check", "seed_string.toml")
    assert (3, Path("seed_string.txt").read_text("utf-8")) == (done.exit_code, done.stdout)
    assert "seed_string.toml: 1 problem\n" == done.stderr


def test_several_recipes_and_one_is_bad(monkeypatch):
    monkeypatch.chdir(BAD)
    done = lwa("check", QUICKSTART, "seed_string.toml", "empty.toml")
    assert 3 == done.exit_code
    assert ["no problems", "1 problem", "1 problem"] == [line.split(": ")[-1] for line in done.stderr.splitlines()]


def test_json():
    done = lwa("check", str(BAD / "seed_string.toml"), "--json")
    (told,) = json.loads(done.stdout)
    assert (3, False) == (done.exit_code, told["ok"])
    (problem,) = told["problems"]
    assert ("wrong-type", 2, 8, ["seed"]) == (problem["code"], problem["line"], problem["column"], problem["path"])


def test_overrides_are_checked_too():
    done = lwa("check", QUICKSTART, "--set", "select.keep=2", "--set", "select.kep=4")
    assert (3, True) == (done.exit_code, done.stdout.startswith("--set select.kep=4: error[unknown-setting]:"))


def test_block():
    done = lwa("check", QUICKSTART, "--block", "lwa-builtins")
    assert (3, True) == (done.exit_code, "lwa-builtins of lwa" in done.stdout)


@pytest.fixture
def local(tmp_path):
    (tmp_path / "mine.py").write_text((BAD / "_local.py").read_text("utf-8"))
    text = 'plugins = ["mine.py"]\n' + Path(QUICKSTART).read_text("utf-8").replace('"fisher"', '"local"')
    (tmp_path / "r.toml").write_text(text)
    return tmp_path


def test_a_local_plugin_is_announced(local):
    done = lwa("check", str(local / "r.toml"))
    assert (0, f"loaded local plugin {local / 'mine.py'}") == (done.exit_code, done.stderr.splitlines()[0])


def test_local_plugins_can_be_forbidden(local):
    done = lwa("check", str(local / "r.toml"), "--no-local-plugins")
    assert (3, True) == (done.exit_code, "r.toml:1:12: error[local-plugin]" in done.stdout)


def test_no_recipe_is_a_usage_error():
    assert 2 == lwa("check").exit_code
