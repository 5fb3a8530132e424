from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from lwa_core.cli import COMMANDS, main
from lwa_core.errors import DataError, LwaError, NeedsError, Problem, RecipeError

QUICKSTART = Path(__file__).parents[3] / "recipes" / "quickstart.toml"

HEAVY = {"torch", "transformers", "sklearn", "matplotlib", "scipy", "rich", "polars", "tree_sitter"}


def loaded_after(code: str) -> set[str]:
    """The heavy modules that a fresh interpreter has imported after running this code."""
    script = f"{code}\nimport json, sys\nprint(json.dumps(sorted(sys.modules)), file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return HEAVY & set(json.loads(done.stderr.splitlines()[-1]))


def run_in_process(*arguments: str) -> str:
    return f"from lwa_core.cli import main\nmain({list(arguments)!r}, standalone_mode=False)"


@pytest.mark.parametrize(
    "arguments",
    [
        ("--help",),
        ("--version",),
        ("check", str(QUICKSTART)),
        ("plugins", "list"),
        ("plugins", "show", "random"),
        ("schema",),
        ("init", "-"),
        *((command, "--help") for command in COMMANDS),
    ],
    ids=" ".join,
)
def test_light_commands_import_nothing_heavy(arguments):
    assert set() == loaded_after(run_in_process(*arguments))


def test_plan_imports_nothing_heavy(tmp_path):
    plan = ("plan", str(QUICKSTART), "--store", str(tmp_path), "--no-smoke-test")
    assert set() == loaded_after(run_in_process(*plan))


def test_help_imports_little_of_our_own():
    script = run_in_process("--help") + "\nimport sys\nprint(sorted(m for m in sys.modules if m.startswith('lwa_')))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert str(["lwa_core", "lwa_core.cli", "lwa_core.cli._signals"]) == done.stdout.splitlines()[-1]


def test_importing_the_package_imports_no_torch():
    assert set() == loaded_after(
        "import lwa_core, lwa_core.plugins.hooks, lwa_core.types, lwa_core.plugins.protocols, lwa_plugins"
    )


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_shows_an_example(command):
    done = CliRunner().invoke(main, [command, "--help"])
    assert 0 == done.exit_code
    assert f"Example:\n    lwa {command}" in done.output


def test_help_lists_every_command():
    output = CliRunner().invoke(main, ["--help"]).output
    assert all(f"\n  {name} " in output for name in COMMANDS)


def test_an_unknown_command_gets_a_suggestion():
    done = CliRunner().invoke(main, ["chekc"])
    assert (2, True) == (done.exit_code, "Did you mean 'check'?" in done.output)


@pytest.fixture
def failing(monkeypatch):
    """A command `check` that fails in a given way."""

    def fail_with(error: BaseException) -> object:
        @click.command()
        def command() -> None:
            raise error

        monkeypatch.setattr("lwa_core.cli.check.command", command)
        return CliRunner().invoke(main, ["check"])

    return fail_with


@pytest.mark.parametrize(
    ("error", "code", "told"),
    [
        (LwaError("no", "do this"), 1, "error: no\n  = do this\n"),
        (DataError("bad", file="x.csv", line=3), 5, "error[data]: x.csv:3: bad\n"),
        (NeedsError("no cuda"), 8, "error[needs]: no cuda\n"),
        (RecipeError("r.toml:1:1: error[x]: y", [Problem("x", "y")]), 3, "r.toml:1:1: error[x]: y\n"),
        (RecipeError("told twice"), 3, "error[recipe]: told twice\n"),
        (KeyboardInterrupt(), 130, "\ninterrupted; run the same command to go on\n"),
    ],
)
def test_errors_are_told_without_a_traceback(failing, error, code, told):
    done = failing(error)
    assert (code, told, "") == (done.exit_code, done.stderr, done.stdout)


def test_a_bug_asks_for_a_report(failing, monkeypatch):
    monkeypatch.delenv("LWA_TRACEBACK", raising=False)
    done = failing(ValueError("two\nlines"))
    assert 1 == done.exit_code
    assert done.stderr.startswith("lwa has a bug: ValueError: two lines\n")
    assert "LWA_TRACEBACK=1" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_traceback_of_a_bug_can_be_had(failing, monkeypatch):
    monkeypatch.setenv("LWA_TRACEBACK", "1")
    assert "Traceback (most recent call last)" in failing(ValueError("x")).stderr


@pytest.mark.skipif(os.name != "posix", reason="pipes break otherwise elsewhere")
def test_a_reader_that_leaves_early_is_no_bug():
    command = f"{sys.executable} -c 'from lwa_core.cli import main; main()' schema | head -c 1"
    done = subprocess.run(command, shell=True, capture_output=True, text=True, check=False)
    assert ("{", "") == (done.stdout, done.stderr)


def test_a_store_without_a_name_is_a_mistake():
    """As `--store "$STORE"` gives it where the variable is not set: the current folder would be filled."""
    done = CliRunner().invoke(main, ["plan", str(QUICKSTART), "--store", ""])

    assert (2, True) == (done.exit_code, "the name is empty" in done.stderr)


@pytest.mark.parametrize(
    "arguments",
    [
        ["check", "LONG"],
        ["plan", str(QUICKSTART), "--store", "LONG"],
        ["run", "LONG"],
        ["report", "LONG"],
        ["export", "LONG"],
        ["recommend", "LONG", "--history", "1"],
        ["recommend", ".", "--input", "LONG"],
        ["score", "--model", "LONG", "--data", "x"],
        ["bench", "LONG"],
        ["init", "LONG"],
    ],
    ids=" ".join,
)
@pytest.mark.parametrize("path", ["a" * 300, "a/" * 3000])
def test_a_path_that_nothing_can_have_is_a_usage_error(arguments, path):
    done = CliRunner().invoke(main, [path if each == "LONG" else each for each in arguments])

    assert (2, "") == (done.exit_code, done.stdout)
    assert "is longer than a path can be" in done.stderr


def test_what_the_file_system_refuses_is_no_bug(monkeypatch):
    def refuse(*_, **__):
        raise PermissionError(13, "Permission denied", "/somewhere/a\x1b[2J")

    monkeypatch.setattr("lwa_core.recipe.reader.check_recipe", refuse)
    done = CliRunner().invoke(main, ["check", "x.toml"])

    assert (1, "error: cannot use /somewhere/a\\u001b[2J: Permission denied\n") == (done.exit_code, done.stderr)
