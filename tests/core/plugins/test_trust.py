from __future__ import annotations

import hashlib
import os
import stat
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import pytest

from lwa_core.plugins.registry import NOT_ALLOWED, Registry
from lwa_core.plugins.trust import OnlyThese, remember, trust_file, trusted

FIRST, SECOND = "a" * 64, "b" * 64


@pytest.fixture(autouse=True)
def state(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path / "state" / "lwa" / "trusted-files"


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_what_is_remembered_is_known_again(state):
    assert frozenset() == trusted()
    assert remember(Path("/a b\n.py"), FIRST)
    assert remember(Path("c.py"), SECOND)

    assert {FIRST, SECOND} == trusted()
    assert [f'{FIRST} "/a b\\n.py"', f'{SECOND} "c.py"'] == state.read_text().splitlines()


def test_only_the_user_can_read_and_write_it(state):
    os.umask(os.umask(0))
    before = os.umask(0)
    try:
        remember(Path("a.py"), FIRST)
    finally:
        os.umask(before)

    assert (0o600, 0o700) == (mode(state), mode(state.parent))


@pytest.mark.parametrize("bits", [0o620, 0o602, 0o666])
def test_a_file_that_others_can_write_says_nothing(state, bits):
    remember(Path("a.py"), FIRST)
    state.chmod(bits)

    assert frozenset() == trusted()
    assert not remember(Path("b.py"), SECOND)


def test_a_link_a_pipe_and_a_folder_say_nothing(state, tmp_path):
    remember(Path("a.py"), FIRST)
    elsewhere = tmp_path / "elsewhere"
    state.rename(elsewhere)
    for make in (lambda: state.symlink_to(elsewhere), lambda: os.mkfifo(state), state.mkdir):
        make()
        assert frozenset() == trusted()
        assert not remember(Path("b.py"), SECOND)
        state.rmdir() if state.is_dir() else state.unlink()
    assert f'{FIRST} "a.py"\n' == elsewhere.read_text()


@pytest.mark.parametrize("damage", [b"\xff\xfe\x00", b"nonsense\n\n", b"c" * 63 + b" x\n", b"a" * 30, b"\x00" * 5000])
def test_damage_costs_no_more_than_the_line_that_it_hit(state, damage):
    remember(Path("a.py"), FIRST)
    with state.open("ab") as file:
        file.write(damage)
    assert remember(Path("b.py"), SECOND)

    assert {FIRST, SECOND} == trusted()


def test_no_home_and_a_strange_one(monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", "relative")
    assert (None, frozenset(), False) == (trust_file(), trusted(), remember(Path("a.py"), FIRST))
    monkeypatch.setenv("XDG_STATE_HOME", "/dev/null")
    assert (frozenset(), False) == (trusted(), remember(Path("a.py"), FIRST))
    monkeypatch.delenv("XDG_STATE_HOME")
    monkeypatch.setenv("HOME", "/home/of-nobody")
    assert Path("/home/of-nobody/.local/state/lwa/trusted-files") == trust_file()


def remember_many(start: int) -> None:
    for number in range(start, start + 50):
        remember(Path("x" * 200), f"{number:064x}")


def test_several_processes_remember_at_a_time():
    with ProcessPoolExecutor(4, mp_context=get_context("fork")) as pool:
        list(pool.map(remember_many, [0, 50, 100, 150]))

    assert {f"{number:064x}" for number in range(200)} == trusted()


def test_what_is_not_allowed_is_not_run(tmp_path):
    file = tmp_path / "mine.py"
    file.write_text("raise AssertionError('was run')")
    asked = []

    def allow(path, digest):
        asked.append((path, digest))
        return False

    (info,) = [info for info in Registry.discover([file], allow_local=allow).plugins if info.file]
    assert ("blocked", NOT_ALLOWED) == (info.status, info.error)
    assert [(file, hashlib.sha256(file.read_bytes()).hexdigest())] == asked


def test_the_bytes_that_were_allowed_are_those_that_run(tmp_path):
    file, mark = tmp_path / "mine.py", tmp_path / "mark"
    file.write_text(f"open({str(mark)!r}, 'w').write('first')")

    def allow(path, digest):
        path.write_text(f"open({str(mark)!r}, 'w').write('second')")
        return True

    Registry.discover([file], allow_local=allow)
    assert "first" == mark.read_text()


def test_only_these_allows_only_these(tmp_path):
    one, other = tmp_path / "one.py", tmp_path / "other.py"
    one.write_text("x = 1")
    other.write_text("raise AssertionError('was run')")
    allowed = OnlyThese(frozenset({hashlib.sha256(b"x = 1").hexdigest()}))

    told = {
        info.name: info.status for info in Registry.discover([one, other], allow_local=allowed).plugins if info.file
    }
    assert {"one": "ok", "other": "blocked"} == told


@pytest.mark.parametrize(
    "make", [os.mkfifo, lambda path: path.symlink_to("/dev/zero"), lambda path: path.write_bytes(b"#" * (2 << 20))]
)
def test_what_would_never_end_is_not_read(tmp_path, make):
    file = tmp_path / "mine.py"
    make(file)
    (info,) = [info for info in Registry.discover([file]).plugins if info.file]
    assert ("broken", True) == (info.status, str(info.error).startswith("cannot be read: "))
