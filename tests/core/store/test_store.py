"""A result that is present is complete; what is damaged is noticed; two processes never harm each other."""

import json
import multiprocessing
import os
import signal
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lwa_core import StoreError
from lwa_core.store.files import canonical_json, digest, write_json
from lwa_core.store.results import Store
from lwa_core.store.sealing import damage, seal

KEY = "a" * 64


def make_numbers(folder):
    write_json(folder / "numbers.json", [1, 2, 3])


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "store")


def test_makes_a_result_once(store):
    path, reused = store.get_or_make("kind", KEY, make_numbers)
    again, reused_again = store.get_or_make("kind", KEY, lambda folder: pytest.fail("made twice"))

    assert (reused, reused_again) == (False, True)
    assert json.loads((again / "numbers.json").read_text()) == [1, 2, 3]
    assert path == again


def test_a_failure_leaves_nothing(store):
    def fail(folder):
        make_numbers(folder)
        raise RuntimeError("half-way")

    with pytest.raises(RuntimeError, match="half-way"):
        store.get_or_make("kind", KEY, fail)

    assert not store.has("kind", KEY)
    assert list((store.root / "results" / "kind").iterdir()) == []


def truncate(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flip(path):
    content = bytearray(path.read_bytes())
    content[0] ^= 1
    path.write_bytes(content)


def remove(path):
    path.unlink()


@pytest.mark.parametrize("harm", [truncate, flip, remove])
@pytest.mark.parametrize("name", ["numbers.json", "manifest.json"])
def test_a_damaged_result_is_made_again(store, harm, name):
    path, _ = store.get_or_make("kind", KEY, make_numbers)
    harm(path / name)
    told = []

    again, reused = store.get_or_make("kind", KEY, make_numbers, on_damage=told.append)

    assert not reused
    assert damage(again) is None
    assert len(told) == 1


def test_a_full_disk_is_a_clear_error_and_leaves_nothing(store):
    if not os.path.exists("/dev/full"):
        pytest.skip("this system has no /dev/full")

    def fill(folder):
        with open("/dev/full", "w") as file:
            file.write("x" * 100_000)

    with pytest.raises(StoreError, match="no space left") as caught:
        store.get_or_make("kind", KEY, fill)

    assert "--store" in caught.value.hint
    assert not store.has("kind", KEY)


def test_a_folder_that_cannot_be_written_is_a_clear_error(tmp_path):
    (tmp_path / "file").write_text("")

    with pytest.raises(StoreError, match="cannot write"):
        Store(tmp_path / "file").get_or_make("kind", KEY, make_numbers)


def test_a_read_only_folder_is_a_clear_error(tmp_path):
    folder = tmp_path / "locked"
    folder.mkdir(mode=0o500)
    if os.access(folder, os.W_OK):
        pytest.skip("this user may write to read-only folders")

    with pytest.raises(StoreError, match="no permission"):
        Store(folder).get_or_make("kind", KEY, make_numbers)


def slow_make(root, name, started):
    def make(folder):
        started.set()
        time.sleep(0.5)
        write_json(folder / "who.json", name)

    Store(root).get_or_make("kind", KEY, make)


def test_a_second_process_waits_and_uses_the_first_ones_result(store):
    context = multiprocessing.get_context("spawn")
    started = context.Event()
    first = context.Process(target=slow_make, args=(store.root, "first", started))
    first.start()
    assert started.wait(60)
    waited = []

    path, reused = store.get_or_make("kind", KEY, make_numbers, on_wait=waited.append)
    first.join()

    assert (reused, waited) == (True, [f"process {first.pid}"])
    assert json.loads((path / "who.json").read_text()) == "first"


def test_a_killed_process_leaves_no_lock_and_no_result(store):
    context = multiprocessing.get_context("spawn")
    started = context.Event()
    process = context.Process(target=slow_make, args=(store.root, "killed", started))
    process.start()
    assert started.wait(60)
    os.kill(process.pid, signal.SIGKILL)
    process.join()

    assert not store.has("kind", KEY)
    assert store.get_or_make("kind", KEY, make_numbers)[1] is False


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(json_values)
def test_canonical_json_survives_a_round_trip(value):
    assert digest(json.loads(canonical_json(value))) == digest(value)


def test_equal_values_have_equal_digests_whatever_the_order_of_their_keys():
    assert digest({"a": 1, "b": [2]}) == digest({"b": [2], "a": 1})
    assert digest({"a": 1}) != digest({"a": 1.5})


def test_a_sealed_folder_knows_every_file(tmp_path):
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "a.txt").write_text("a")
    seal(tmp_path)

    assert damage(tmp_path) is None

    (tmp_path / "deep" / "a.txt").write_text("b")
    assert damage(tmp_path) == "deep/a.txt does not match its checksum"
