"""Stores in odd places: links, files where folders are to be, permissions, locks that are none."""

import os
import stat
import subprocess
import sys

import pytest

from lwa_core import StoreError
from lwa_core.store.files import write_atomically, write_json
from lwa_core.store.places import assert_writable, set_aside
from lwa_core.store.results import Store

KEY = "a" * 64


def make(folder):
    write_json(folder / "numbers.json", [1])


def make_for_its_owner(folder):
    """As `tempfile` does, and with it some libraries."""
    make(folder)
    (folder / "numbers.json").chmod(0o600)


def test_the_store_itself_may_be_a_link(tmp_path):
    (tmp_path / "disk").mkdir()
    (tmp_path / "store").symlink_to(tmp_path / "disk")

    path, _ = Store(tmp_path / "store").get_or_make("kind", KEY, make)

    assert (tmp_path / "disk" / path.relative_to(tmp_path / "store") / "numbers.json").is_file()


@pytest.mark.parametrize("place", ["results", "results/kind", "locks", "work", "work/kind", f"work/kind/{KEY}"])
@pytest.mark.parametrize("how", ["link", "dangling link", "file"])
def test_folders_inside_are_never_links_and_nothing_is_written_where_they_lead(tmp_path, place, how):
    store, elsewhere = Store(tmp_path / "store"), tmp_path / "elsewhere"
    (store.root / place).parent.mkdir(parents=True)
    if how == "file":
        (store.root / place).write_text("mine")
    else:
        (store.root / place).symlink_to(elsewhere)
    if how == "link":
        elsewhere.mkdir()
        (elsewhere / "checkpoint-1").write_text("mine")

    def working(folder):
        store.workspace("kind", KEY)
        make(folder)

    with pytest.raises(StoreError, match=str(store.root / place)) as caught:
        store.get_or_make("kind", KEY, working)

    assert "--store" in caught.value.hint
    assert how != "link" or ["checkpoint-1"] == [path.name for path in elsewhere.iterdir()]
    assert how != "dangling link" or not elsewhere.exists()


def test_a_link_in_the_place_of_old_work_is_not_emptied(tmp_path):
    store, elsewhere = Store(tmp_path / "store"), tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "mine").write_text("mine")
    (store.root / "work").mkdir(parents=True)
    (store.root / "work" / "kind").symlink_to(elsewhere)
    (elsewhere / KEY).mkdir()

    store.get_or_make("kind", KEY, make)

    assert {"mine", KEY} == {path.name for path in elsewhere.iterdir()}


@pytest.mark.parametrize("how", ["file", "link", "folder"])
def test_a_lock_is_never_taken_on_what_is_none(tmp_path, how):
    """Taking a lock empties the file."""
    store, lock = Store(tmp_path / "store"), tmp_path / "store" / "locks" / f"kind-{KEY}.lock"
    lock.parent.mkdir(parents=True)
    (tmp_path / "mine").write_text("mine")
    {"file": os.link, "link": os.symlink, "folder": lambda _, path: path.mkdir()}[how](tmp_path / "mine", lock)

    with pytest.raises(StoreError, match="is no lock of lwa"):
        store.get_or_make("kind", KEY, make)

    assert (tmp_path / "mine").read_text() == "mine"


@pytest.mark.parametrize("root", ["nothing\0", "n" * 300, "file", "file/below", "dangling", "loop"])
def test_a_store_that_cannot_be_is_a_clear_error(tmp_path, root):
    (tmp_path / "file").write_text("")
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")

    with pytest.raises(StoreError):
        Store(tmp_path / root).get_or_make("kind", KEY, make)


@pytest.mark.parametrize("mask", [0o022, 0o077, 0o002])
def test_who_may_read_results_is_for_the_umask_to_say(tmp_path, mask):
    store = Store(tmp_path / "store")
    before = os.umask(mask)
    try:
        path, _ = store.get_or_make("kind", KEY, make_for_its_owner)
    finally:
        os.umask(before)

    for one in (path, path.parent, store.root, path / "numbers.json", path / "manifest.json"):
        whole = 0o777 if one.is_dir() else 0o666
        assert stat.S_IMODE(one.stat().st_mode) == whole & ~mask


WRITE = "Store(Path(sys.argv[1])).get_or_make('kind', 'a' * 64, lambda folder: (folder / 'x').write_text(''))"


def test_a_store_that_may_not_be_written_is_a_clear_error(tmp_path):
    if os.name != "posix" or os.getuid() != 0:
        pytest.skip("needs a user who can become another: permissions do not bind this one, or only this one")
    (tmp_path / "store").mkdir(mode=0o755)
    for parent in (tmp_path, *tmp_path.parents[:2]):  # pytest's own folders
        os.chmod(parent, 0o755)
    start = "import os, sys, filelock; from pathlib import Path; from lwa_core.store.results import Store"
    code = f"{start}\nos.setuid(65534)\ntry:\n    {WRITE}\nexcept Exception as e: print(type(e).__name__, e)"

    done = subprocess.run([sys.executable, "-c", code, tmp_path / "store"], capture_output=True, text=True, check=True)

    assert done.stdout.startswith("StoreError no permission to write"), done
    assert "--store" in done.stdout


@pytest.mark.parametrize("place", ["file", "file/below", "dangling/below"])
def test_where_results_cannot_be_put_is_said_before_they_are_made(tmp_path, place):
    (tmp_path / "file").write_text("")
    (tmp_path / "dangling").symlink_to(tmp_path / "nothing")

    assert_writable(tmp_path / "not" / "there" / "yet")
    with pytest.raises(StoreError, match="is not a folder"):
        assert_writable(tmp_path / place)


def test_a_link_that_stands_where_a_file_is_written_is_not_written_through(tmp_path):
    (tmp_path / "mine").write_text("mine")
    (tmp_path / "file").symlink_to(tmp_path / "mine")

    write_atomically(tmp_path / "file", b"ours")

    assert ("mine", "ours") == ((tmp_path / "mine").read_text(), (tmp_path / "file").read_text())


def test_names_set_aside_are_never_used_twice(tmp_path):
    for number in (1, 2, 3):
        (tmp_path / "file").write_text(str(number))
        assert f"file.was-{number}" == set_aside(tmp_path / "file").name

    assert ["1", "2", "3"] == [(tmp_path / f"file.was-{number}").read_text() for number in (1, 2, 3)]
