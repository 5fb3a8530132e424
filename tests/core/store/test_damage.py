"""A result is what its place, kind, key and list of files say, or it is made again; nothing else is believed."""

import errno
import json
import os
import shutil
import socket

import pytest

from lwa_core import StoreError
from lwa_core.store.files import write_json
from lwa_core.store.results import Store
from lwa_core.store.sealing import MANIFEST, damage, seal

KEY = "a" * 64
OTHER = "b" * 64


def make(folder):
    write_json(folder / "numbers.json", [1, 2, 3])
    (folder / "deep").mkdir()
    (folder / "deep" / "more.json").write_text("[]")


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "store")


@pytest.fixture
def result(store):
    return store.get_or_make("kind", KEY, make)[0]


def rewritten(**changes):
    """The manifest with other values."""

    def harm(folder):
        told = json.loads((folder / MANIFEST).read_text())
        (folder / MANIFEST).write_text(json.dumps({**told, **changes}))

    return harm


def manifest(text):
    return lambda folder: (folder / MANIFEST).write_text(text)


def replaced(name, put):
    """Something else in the place of a file."""

    def harm(folder):
        (folder / name).unlink()
        put(folder / name)

    return harm


def listing(**files):
    def harm(folder):
        told = json.loads((folder / MANIFEST).read_text())
        told["files"] |= files
        (folder / MANIFEST).write_text(json.dumps(told))

    return harm


def a_socket(path):
    os.chdir(path.parent)  # a socket's path may be a hundred bytes long
    with socket.socket(socket.AF_UNIX) as one:
        one.bind(path.name)


def linked_elsewhere(folder):
    """The same bytes, but somebody else's file."""
    elsewhere = folder.parent.parent.parent.parent / "numbers.json"
    shutil.copy(folder / "numbers.json", elsewhere)
    (folder / "numbers.json").unlink()
    (folder / "numbers.json").symlink_to(elsewhere)


HARM = {
    "another kind": rewritten(kind="other"),
    "another key": rewritten(key=OTHER),
    "no kind": rewritten(kind=None),
    "no files": rewritten(files={}),
    "files of another type": rewritten(files=[1]),
    "a file of another type": listing(**{"numbers.json": 3}),
    "a file outside": listing(**{"../../../../outside": {"bytes": 1, "sha256": "0"}}),
    "an absolute path": listing(**{"/etc/hostname": {"bytes": 1, "sha256": "0"}}),
    "a name with NUL": listing(**{"a\0b": {"bytes": 1, "sha256": "0"}}),
    "empty": manifest(""),
    "cut": manifest('{"files": {'),
    "a list": manifest("[]"),
    "null": manifest("null"),
    "digits": manifest('{"files": {}, "kind": ' + "9" * 5000 + "}"),
    "nested": manifest("[" * 200_000),
    "nested objects": manifest('{"a":' * 100_000),
    "surrogates": manifest('{"\\udcff": 1}'),
    "no utf-8": lambda folder: (folder / MANIFEST).write_bytes(b"\xff\xfe{}"),
    "manifest is a folder": replaced(MANIFEST, os.mkdir),
    "manifest is a pipe": replaced(MANIFEST, os.mkfifo),
    "manifest is huge": lambda folder: os.truncate(folder / MANIFEST, 2**40),
    "another file": lambda folder: (folder / "NOTES.md").write_text("mine"),
    "another file deep": lambda folder: (folder / "deep" / "NOTES.md").write_text("mine"),
    "another hidden file": lambda folder: (folder / ".hidden").write_text("mine"),
    "a file with a name of no text": lambda folder: (folder / os.fsdecode(b"\xff\n")).write_text("mine"),
    "a folder for a file": replaced("numbers.json", os.mkdir),
    "a pipe for a file": replaced("numbers.json", os.mkfifo),
    "a socket for a file": replaced("numbers.json", a_socket),
    "a link for a file": linked_elsewhere,
    "a dangling link": replaced("numbers.json", lambda path: path.symlink_to("nowhere")),
    "a loop": replaced("numbers.json", lambda path: path.symlink_to(path)),
    "a file for a folder": lambda folder: (shutil.rmtree(folder / "deep"), (folder / "deep").write_text("")),
}


@pytest.mark.parametrize("harm", HARM.values(), ids=HARM.keys())
def test_a_damaged_result_is_made_again_and_what_was_there_is_kept(store, result, harm, monkeypatch):
    monkeypatch.chdir(store.root)
    before = (result / "numbers.json").read_bytes()
    harm(result)
    told = []

    assert store.find("kind", KEY) is None
    again, reused = store.get_or_make("kind", KEY, make, on_damage=told.append)

    assert (again, reused) == (result, False)
    assert (again / "numbers.json").read_bytes() == before
    assert store.find("kind", KEY) == result
    assert len(told) == 1
    assert f"kept in {result}.was-1" in told[0]
    assert told[0].isprintable()
    assert result.with_name(f"{KEY}.was-1").is_dir()


def as_file(folder):
    shutil.rmtree(folder)
    folder.write_text("mine")


def as_link(folder):
    os.rename(folder, folder.with_name("mine"))
    folder.symlink_to(folder.with_name("mine"))


@pytest.mark.parametrize("harm", [as_file, as_link])
def test_something_else_in_the_place_of_a_result_is_kept(store, result, harm):
    harm(result)
    expected = result.lstat()

    again, reused = store.get_or_make("kind", KEY, make)

    assert not reused
    assert not again.is_symlink()
    assert expected.st_ino == result.with_name(f"{KEY}.was-1").lstat().st_ino


def test_a_result_that_was_copied_to_another_key_or_kind_is_made_again(store, result):
    for kind, key in (("kind", OTHER), ("other", KEY)):
        shutil.copytree(result, store.path(kind, key))
        assert not store.has(kind, key)
        assert store.get_or_make(kind, key, make)[1] is False
    assert store.get_or_make("kind", KEY, make)[1] is True


def test_whether_a_result_is_there_is_said_by_names_and_sizes(store, result):
    assert store.has("kind", KEY)
    (result / "numbers.json").write_bytes(b"x" * (result / "numbers.json").stat().st_size)

    assert store.has("kind", KEY)
    assert store.find("kind", KEY) is None
    (result / "numbers.json").write_text("x")
    assert not store.has("kind", KEY)


@pytest.mark.parametrize("code", [errno.EMFILE, errno.EACCES, errno.ENOMEM])
def test_what_cannot_be_looked_at_is_no_damage(store, result, monkeypatch, code):
    def refuse(*_):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr("lwa_core.store.sealing.file_digest", refuse)

    with pytest.raises(StoreError, match="cannot read"):
        store.get_or_make("kind", KEY, make)

    assert [result] == list(result.parent.iterdir())


@pytest.mark.parametrize("put", [lambda path: path.symlink_to("/etc/hostname"), os.mkfifo], ids=["link", "pipe"])
def test_what_is_no_file_is_never_sealed(store, put):
    def linked(folder):
        make(folder)
        put(folder / "more")

    with pytest.raises(ValueError, match="more is no file"):
        store.get_or_make("kind", KEY, linked)

    assert not store.has("kind", KEY)


def test_folders_that_hold_nothing_do_not_matter(tmp_path):
    make(tmp_path)
    seal(tmp_path)
    (tmp_path / "empty" / "deep").mkdir(parents=True)

    assert damage(tmp_path) is None


def test_work_that_was_left_when_its_result_was_there_already_goes(store, result):
    (store.workspace("kind", KEY) / "checkpoint-1").mkdir()

    assert store.get_or_make("kind", KEY, make) == (result, True)

    assert [] == list((store.root / "work" / "kind").iterdir())


def test_two_results_whose_keys_begin_alike_are_made_at_once(store):
    """As answers about one model are: their keys begin with the model's."""

    def outer(folder):
        store.get_or_make("kind", "a" * 32 + "-2", make)
        make(folder)

    store.get_or_make("kind", "a" * 32 + "-1", outer)

    assert all(store.find("kind", "a" * 32 + f"-{number}") for number in (1, 2))


def test_what_a_killed_process_left_is_removed_and_links_of_that_name_are_not(store, tmp_path):
    from lwa_core.store.results import _fresh_folder

    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "file").write_text("mine")
    left = _fresh_folder(store.path("kind", KEY))
    (left / "half").write_text("")
    link = left.with_name(left.name[:-2] + "zz")
    link.symlink_to(tmp_path / "mine")

    store.get_or_make("kind", KEY, make)

    assert not left.exists()
    assert (tmp_path / "mine" / "file").read_text() == "mine"
    assert link.is_symlink()
