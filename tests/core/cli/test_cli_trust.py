"""Python files that a recipe names run only once they were allowed."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from lwa_core.cli import _trust, main
from lwa_core.plugins.trust import trusted

ROOT = Path(__file__).parents[3]
QUICKSTART = (ROOT / "recipes" / "quickstart.toml").read_text("utf-8")
LOCAL = (ROOT / "tests" / "recipes" / "bad" / "_local.py").read_text("utf-8")


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.delenv("LWA_ALLOW_LOCAL")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.chdir(tmp_path)
    write("mine.py", "")
    Path("r.toml").write_text('plugins = ["mine.py"]\n' + QUICKSTART.replace('"fisher"', '"local"'))
    return tmp_path


def write(name: str, more: str) -> None:
    """A plugin that leaves a mark when it is run."""
    Path(name).write_text(f"open({str(Path(name).resolve()) + '.mark'!r}, 'a').write('x')\n{LOCAL}\n{more}")


def ran(name: str = "mine.py") -> bool:
    mark = Path(name + ".mark")
    found = mark.exists()
    mark.unlink(missing_ok=True)
    return found


def lwa(*arguments: str, answer: str | None = None, env: dict[str, str] | None = None):
    return CliRunner().invoke(main, arguments, input=answer, env=env)


@pytest.fixture
def terminal(monkeypatch):
    monkeypatch.setattr(_trust, "_is_terminal", lambda: True)


COMMANDS = [("check", "r.toml"), ("plan", "r.toml"), ("run", "r.toml"), ("bench", "b.toml"), ("bench", "c.toml")]


@pytest.fixture
def benches(folder):
    cell = '[[cell]]\nrecipe = "q.toml"\n'
    Path("q.toml").write_text(QUICKSTART)
    Path("b.toml").write_text(f'name = "b"\nplugins = ["mine.py"]\n[[score]]\nuse = "local"\n{cell}')
    Path("c.toml").write_text(f'name = "c"\n{cell.replace("q.toml", "r.toml")}')


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_without_a_terminal_nothing_is_run_and_the_flag_is_named(benches, command):
    done = lwa(*command)

    assert (3, False) == (done.exit_code, ran())
    assert "error[local-plugin]: plugin 'mine.py': its code was not allowed to run" in done.output
    assert "--allow-local (LWA_ALLOW_LOCAL=1 in continuous integration)" in done.output
    assert frozenset() == trusted()


def test_the_flag_allows_it_now_and_later():
    assert (0, True) == (lwa("check", "r.toml", "--allow-local").exit_code, ran())
    first = lwa("check", "r.toml")
    assert (0, "loaded local plugin") == (first.exit_code, first.stderr[:19])


def test_a_file_that_changed_is_another_one():
    lwa("check", "r.toml", "--allow-local")
    ran()
    write("mine.py", "# changed")

    assert (3, False) == (lwa("check", "r.toml").exit_code, ran())
    write("mine.py", "")
    assert 0 == lwa("check", "r.toml").exit_code


def test_what_was_allowed_goes_with_the_content_and_not_with_the_name():
    lwa("check", "r.toml", "--allow-local")
    Path("other.py").write_text(Path("mine.py").read_text())
    Path("r.toml").write_text(Path("r.toml").read_text().replace("mine.py", "other.py"))

    assert 0 == lwa("check", "r.toml").exit_code


@pytest.mark.parametrize(("value", "code"), [("1", 0), ("true", 0), ("0", 3), ("", 3)])
def test_the_variable_allows_it_for_one_call_and_leaves_nothing(value, code):
    done = lwa("check", "r.toml", env={"LWA_ALLOW_LOCAL": value})

    assert (code, code == 0, frozenset()) == (done.exit_code, ran(), trusted())


def test_the_option_that_forbids_wins_over_what_was_allowed_before():
    lwa("check", "r.toml", "--allow-local")
    done = lwa("check", "r.toml", "--no-local-plugins", env={"LWA_ALLOW_LOCAL": "1"})

    assert (3, True) == (done.exit_code, "local plugins are forbidden" in done.stdout)


@pytest.mark.parametrize(("answer", "code"), [("y\n", 0), ("n\n", 3), ("\n", 3)])
def test_on_a_terminal_it_asks_first(terminal, answer, code):
    done = lwa("check", "r.toml", answer=answer)

    assert (code, code == 0, int(code == 0)) == (done.exit_code, ran(), len(trusted()))
    assert "The recipe names mine.py (sha256 " in " ".join(done.stderr.split())
    assert "Run it? [y/N]" in done.stderr


def test_an_end_of_the_answers_is_no(terminal):
    assert (1, False) == (lwa("check", "r.toml", answer="").exit_code, ran())


def test_it_asks_once_for_each_file(terminal, benches):
    Path("c.toml").write_text(
        Path("c.toml").read_text() + "[[cell]]\nrecipe = 'r.toml'\nname = 'again'\n[measure]\ntest = 1\n"
    )
    done = lwa("bench", "c.toml", answer="y\n")

    assert 1 == done.stderr.count("Run it?")
    assert "'test' must be at least 50" in done.stderr


def test_one_file_that_is_not_allowed_hides_no_other():
    lwa("check", "r.toml", "--allow-local")
    write("other.py", "# changed")
    Path("r.toml").write_text(Path("r.toml").read_text().replace('["mine.py"]', '["other.py", "mine.py"]'))
    done = lwa("check", "r.toml")

    assert (3, True, False) == (done.exit_code, ran("mine.py"), ran("other.py"))
    assert "unknown-component" not in done.stdout


def test_files_beside_it_are_out_of_reach_of_an_import():
    Path("helper.py").write_text("raise AssertionError('was run')")
    write("mine.py", "try:\n    import helper\nexcept ModuleNotFoundError:\n    pass")

    assert 0 == lwa("check", "r.toml", "--allow-local").exit_code
