"""lwa replaces and removes what it wrote itself, and nothing that anybody else put there."""

import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lwa_core.store.files import beside, read_json
from lwa_core.store.results import Store
from lwa_core.store.shared import RECORD, Content, SharedFolder, sealed_contents

MODEL = "models/teacher"


def content(text):
    return Content.of(text.encode())


@pytest.fixture
def said():
    return []


@pytest.fixture
def shared(tmp_path, said):
    return SharedFolder(tmp_path / "run", said.append)


@pytest.fixture
def precious(tmp_path):
    folder = tmp_path / "precious"
    folder.mkdir()
    (folder / "config.json").write_text("mine")
    return folder


def files(folder):
    """Every file below a folder that is not lwa's record or lock, with what it holds."""
    paths = [path for path in folder.rglob("*") if path.is_file() and not path.name.startswith(".lwa")]
    return {path.relative_to(folder).as_posix(): path.read_text() for path in paths}


def test_writes_what_it_wrote_before_anew_and_removes_what_it_no_longer_writes(shared, said):
    shared.put({f"{MODEL}/config.json": content("one"), f"{MODEL}/adapter/weights": content("old")}, whole=["models"])
    shared.put({f"{MODEL}/config.json": content("two")}, whole=["models"])

    assert {f"{MODEL}/config.json": "two"} == files(shared.root)
    assert not (shared.root / MODEL / "adapter").exists()
    assert [] == said


def test_files_that_somebody_added_stay(shared, said):
    names = {f"{MODEL}/config.json": content("one"), f"{MODEL}/old/weights": content("old")}
    shared.put(names, whole=["models"])
    for name in ("NOTES.md", "old/NOTES.md"):
        (shared.root / MODEL / name).write_text("mine")

    shared.put({f"{MODEL}/config.json": content("one")}, whole=["models"])

    mine = {f"{MODEL}/NOTES.md": "mine", f"{MODEL}/old/NOTES.md": "mine"}
    assert {f"{MODEL}/config.json": "one", **mine} == files(shared.root)
    assert [] == said


@pytest.mark.parametrize("changed", ["same name", "removed later"])
def test_a_file_that_somebody_changed_is_kept(shared, said, changed):
    shared.put({f"{MODEL}/config.json": content("one"), f"{MODEL}/more": content("one")}, whole=["models"])
    name = "config.json" if changed == "same name" else "more"
    (shared.root / MODEL / name).write_text("mine")

    shared.put({f"{MODEL}/config.json": content("two")}, whole=["models"])

    kept = "config.json.was-1" if changed == "same name" else "more"
    assert {f"{MODEL}/config.json": "two", f"{MODEL}/{kept}": "mine"} == files(shared.root)
    assert (changed == "same name") == any("config.json is not as lwa wrote it" in line for line in said)


@pytest.mark.parametrize("depth", [1, 2])
def test_what_a_link_in_the_place_of_a_folder_points_to_is_not_touched(shared, said, precious, depth):
    name = f"{MODEL}/config.json"
    shared.put({name: content("one"), f"{MODEL}/stale": content("one")}, whole=["models"])
    taken = shared.root.joinpath(*Path(name).parts[:depth])
    os.rename(taken, shared.root / "moved")
    taken.symlink_to(precious)

    shared.put({name: content("two")}, whole=["models"])

    assert {"config.json": "mine"} == files(precious)
    assert (taken.with_name(f"{taken.name}.was-1")).readlink() == precious
    assert "two" == (shared.root / name).read_text()
    assert 1 == len(said)


@pytest.mark.parametrize("kind", ["link", "dangling link", "hard link", "folder", "file"])
def test_what_stands_where_a_file_is_to_be_is_kept(shared, said, precious, kind):
    name, theirs = f"{MODEL}/config.json", precious / "config.json"
    place = shared.root / name
    place.parent.mkdir(parents=True)
    if kind == "folder":
        place.mkdir()
    elif kind == "file":
        place.write_text("mine")
    elif kind == "hard link":
        os.link(theirs, place)
    else:
        place.symlink_to(theirs if kind == "link" else precious / "nothing")

    shared.put({name: content("two")})
    shared.put({name: content("three")})

    assert {"config.json": "mine"} == files(precious)
    assert "three" == place.read_text()
    assert os.path.lexists(place.with_name("config.json.was-1"))
    assert 1 == len(said)


def test_a_record_that_names_files_outside_or_is_a_link_removes_nothing(shared, precious):
    digest = content("mine").sha256
    for name in ("models/../../precious/config.json", str(precious / "config.json"), "models/link/config.json"):
        shared.root.mkdir(exist_ok=True)
        (shared.root / RECORD).write_text(f'{{"files": {{"{name}": ["{digest}"]}}}}')
        shared.put({f"{MODEL}/config.json": content("one")}, whole=["models"])
    (shared.root / "models" / "link").symlink_to(precious)
    shared.put({f"{MODEL}/config.json": content("one")}, whole=["models"])
    (shared.root / RECORD).unlink()
    (shared.root / RECORD).symlink_to(precious / "config.json")
    shared.put({f"{MODEL}/config.json": content("two")}, whole=["models"])
    shared.remove("models/link/config.json")

    assert {"config.json": "mine"} == files(precious)


@pytest.mark.parametrize("text", ["", "[]", '{"files": 3}', '{"files": {"a": 3}}', "[" * 100_000, "9" * 5000, "\udcff"])
def test_a_damaged_record_is_no_record(shared, said, text):
    shared.put({"a": content("one")})
    (shared.root / RECORD).write_bytes(text.encode("utf-8", "surrogatepass"))

    shared.put({"a": content("two")})

    assert {"a": "two", "a.was-1": "one"} == files(shared.root)
    assert {"a": [content("two").sha256]} == read_json(shared.root / RECORD)["files"]


def test_what_a_killed_process_left_is_removed(shared, said):
    name = f"{MODEL}/config.json"
    shared.put({name: content("one")})
    mine = shared.root / ".lwa-notes"
    mine.write_text("mine")
    for folder in (shared.root, shared.root / "models", shared.root / MODEL):
        beside(folder / "x").write_text("half")

    shared.put({name: content("two")})

    left = [path.name for path in shared.root.rglob(".lwa-*")]
    assert {".lwa-notes", ".lwa-files.json"} == set(left)
    assert [] == said


def test_removes_a_file_only_as_it_was_written(shared):
    shared.put({"one": content("1"), "two": content("2")})
    (shared.root / "two").write_text("mine")

    shared.remove("one")
    shared.remove("two")
    shared.remove("never there")

    assert {"two": "mine"} == files(shared.root)


def test_holds_what_was_put_and_nothing_else(shared, precious):
    told = {f"{MODEL}/config.json": content("mine")}
    assert not shared.holds(told)

    shared.put(told)
    assert shared.holds(told)

    os.rename(shared.root / MODEL, shared.root / "moved")
    (shared.root / MODEL).symlink_to(precious)
    assert not shared.holds(told)


def test_files_of_a_result_are_linked_where_that_can_be_done(tmp_path, shared, monkeypatch):
    folder, _ = Store(tmp_path / "store").get_or_make("model", "a" * 64, make_model)
    told = {f"{MODEL}/{name}": each for name, each in sealed_contents(folder, "model").items()}
    shared.put(told, whole=["models"])
    assert (folder / "model" / "deep" / "weights").samefile(shared.root / MODEL / "deep" / "weights")

    monkeypatch.setattr(os, "link", refuse)
    copied = SharedFolder(tmp_path / "copied")
    copied.put(told, whole=["models"])
    assert files(shared.root) == files(copied.root) == {f"{MODEL}/deep/weights": "w", f"{MODEL}/config.json": "c"}


def make_model(folder):
    (folder / "facts.json").write_text("f")
    (folder / "model" / "deep").mkdir(parents=True)
    (folder / "model" / "deep" / "weights").write_text("w")
    (folder / "model" / "config.json").write_text("c")


def refuse(*_):
    raise OSError("no links here")


@settings(max_examples=20)
@given(st.lists(st.dictionaries(st.sampled_from(["a", "models/a", "models/b/c", "models/b/d"]), st.text()), max_size=4))
def test_after_any_writes_what_is_there_is_what_was_written_last(tmp_path_factory, rounds):
    shared = SharedFolder(tmp_path_factory.mktemp("run"), pytest.fail)
    expected = {}
    for told in rounds:
        expected = {name: text for name, text in expected.items() if not name.startswith("models/")} | told
        shared.put({name: content(text) for name, text in told.items()}, whole=["models"])

    paths = [path for path in shared.root.rglob("*") if path.is_file() and not path.name.startswith(".lwa")]
    found = {path.relative_to(shared.root).as_posix(): path.read_bytes() for path in paths}
    assert {name: text.encode() for name, text in expected.items()} == found
