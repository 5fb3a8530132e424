"""What others wrote reaches a terminal, a pipe and a page without a character that they would obey."""

from __future__ import annotations

import io
import json
import re
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from lwa_core.cli import _terminal as terminal
from lwa_core.cli import main
from lwa_core.cli._progress import Progress
from lwa_core.cli._table import print_table, rich_table
from lwa_core.errors import DataError
from lwa_core.types import Event, RunContext

SPITEFUL = "\x1b[31m[red]x[/red]\x07\r\u202e\x9b2J\n:warning:"
SHOWN = "\\u001b[31m[red]x[/red]\\u0007\\u000d\\u202e\\u009b2J\n:warning:"
ONE_LINE = "\\u001b[31m[red]x[/red]\\u0007 \\u202e\\u009b2J :warning:"

EVIL_PLUGIN = """
import attrs
from lwa_core import Component, hookimpl, setting

@attrs.frozen
class Evil:
    "First \\x1b[31m line"
    weight: float = setting(1.0, help="\\x1b]0;owned\\x07 [red]help[/red]")

    def score(self, probe):
        raise AssertionError

@hookimpl
def lwa_scorers():
    return [Component("evil", Evil, reference="ref \\x9b1m \\u202e")]
"""


def lwa(*arguments: str):
    return CliRunner().invoke(main, arguments)


def obeyed(text: str) -> set[str]:
    return {c for c in text if (not c.isprintable()) and c not in "\n\t "}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_echo_shows_controls_as_numbers(capsys):
    terminal.echo(SPITEFUL)
    terminal.say(SPITEFUL, err=True)

    told = capsys.readouterr()
    assert (SHOWN + "\n", ONE_LINE + "\n") == (told.out, told.err)


def test_json_is_exact_and_holds_nothing_that_a_terminal_obeys(capsys):
    held = {SPITEFUL: [SPITEFUL, "é𝔘", "\ud800", "\U000e0001", "\u2028", 0.1]}
    terminal.print_json(held)

    told = capsys.readouterr().out
    assert held == json.loads(told)
    assert set() == obeyed(told)
    assert "é𝔘" in told


def test_a_stream_that_takes_no_other_letters(monkeypatch):
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", stream)
    terminal.echo("é𝔘")
    terminal.print_json("é𝔘", indent=None)
    stream.flush()

    text, told = stream.buffer.getvalue().decode("ascii").splitlines()
    assert "\\xe9\\U0001d518" == text
    assert "é𝔘" == json.loads(told)


def test_an_error_of_somebody_is_on_one_line(monkeypatch, folder):
    def fail(*_, **__):
        raise DataError(SPITEFUL, hint="\x1b[2J\nerror: none")

    monkeypatch.setattr("lwa_core.recipe.reader.check_recipe", fail)
    done = lwa("check", "x.toml")

    assert (5, 2) == (done.exit_code, len(done.stderr.splitlines()))
    assert set() == obeyed(done.stderr)


def test_a_bug_and_its_traceback(monkeypatch, folder):
    def fail(*_, **__):
        raise ZeroDivisionError(SPITEFUL)

    monkeypatch.setattr("lwa_core.recipe.reader.check_recipe", fail)
    monkeypatch.setenv("LWA_TRACEBACK", "1")
    done = lwa("check", "x.toml")

    assert "lwa has a bug: ZeroDivisionError" in done.stderr
    assert set() == obeyed(done.stderr)


@pytest.mark.parametrize("name", ["a\x1b[2Jb.toml", "a\nb.toml", "\u202eb.toml", "a\udcffb.toml", "[red]b.toml"])
def test_a_file_name(folder, name):
    Path(name).write_text("name = 1\n")
    done = lwa("check", name)
    told = lwa("check", name, "--json")

    assert (3, 3) == (done.exit_code, told.exit_code)
    assert set() == obeyed(done.stdout + done.stderr + told.stdout)
    assert name == json.loads(told.stdout)[0]["file"]


@pytest.mark.parametrize("arguments", [["\x1b[2J"], ["check", "--\x1b[2J"], ["plugins", "show", "\x1b[2J"]])
def test_what_was_typed(arguments):
    done = lwa(*arguments)

    assert done.exit_code
    assert set() == obeyed(done.stdout + done.stderr)


def test_a_recipe(folder):
    Path("r.toml").write_text('name = "\\u001b[31m"\n"\\u0007" = 1\n[data]\nuse = "\\u202ex"\n')
    done = lwa("check", "r.toml")

    assert 3 == done.exit_code
    assert set() == obeyed(done.stdout + done.stderr)


@pytest.fixture
def evil(monkeypatch, folder):
    (folder / "lwa_evil.py").write_text(EVIL_PLUGIN)
    info = folder / "lwa_evil-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: lwa-evil\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[lwa.v1]\nlwa-evil = lwa_evil\n")
    monkeypatch.syspath_prepend(folder)
    yield
    sys.modules.pop("lwa_evil", None)


@pytest.mark.parametrize("arguments", [["plugins", "list"], ["plugins", "show", "evil"], ["schema"]])
def test_what_a_plugin_says_of_itself(evil, arguments):
    done = lwa(*arguments)

    assert 0 == done.exit_code
    assert "\\u001b" in done.stdout or "\\u009b" in done.stdout
    assert set() == obeyed(done.stdout)


def test_a_broken_plugin(evil, folder):
    (folder / "lwa_evil.py").write_text("raise RuntimeError('\\x1b[2J\\nall is well')")
    for arguments in (["plugins", "list"], ["plugins", "show", "fisherr"]):
        done = lwa(*arguments)
        assert "\\u001b[2J all is well" in done.stdout + done.stderr
        assert set() == obeyed(done.stdout + done.stderr)


def test_a_table(capsys):
    print_table(["model\x1b[2J"], [[SPITEFUL], ["x"]])

    told = capsys.readouterr().out
    assert set() == obeyed(told)
    assert 3 == len(told.splitlines())


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_table_on_a_terminal_holds_no_markup(monkeypatch):
    from rich.console import Console

    stream = Terminal()
    Console(file=stream, width=80, force_terminal=True).print(
        rich_table(["a"], [["[red]x[/red] [link=http://a]b[/link]"]])
    )

    assert "[red]x[/red] [link=http://a]b[/link]" in stream.getvalue()


def test_progress_on_a_terminal_holds_no_markup(monkeypatch):
    stream = Terminal()
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setenv("TERM", "xterm")
    with Progress() as progress:
        run = RunContext("x", Path("runs"))
        name = "[red]teacher[/red] :warning: \x1b]0;t\x07"
        progress(Event("stage-finished", name, "", {"seconds": 1.0}), run)
        progress(Event("progress", name, "[bold]m", {"done": 1, "total": 2}), run)
        progress._bars.refresh()

    told = stream.getvalue()
    assert "[red]teacher[/red] :warning: \\u001b]0;t\\u0007: done in 1.0 s" in told.replace("\n", "")
    assert "\x07" not in told
    assert "\x1b]0;" not in told


def test_nothing_else_prints():
    """Text reaches stdout and stderr in one place; a fresh process prints JSON that another one reads."""
    core = Path(terminal.__file__).parents[1]
    printing = re.compile(r"click\.(echo|secho)\(|(?<![\w.])print\(|sys\.std(out|err)\.write\(")
    found = {
        path.relative_to(core).as_posix()
        for path in core.rglob("*.py")
        if printing.search(re.sub(r'(?s)""".*?"""', "", path.read_text("utf-8")))
    }

    assert {"cli/_terminal.py", "measuring/answering.py", "measuring/memory.py"} == found
