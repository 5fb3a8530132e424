"""Texts are read where they lie as they were written, and an id is found as a dict would find it."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lwa_core import ModelError
from lwa_core.runtime.description import IDS, IDS_ENDS, IDS_SORTED, TITLES, TITLES_ENDS
from lwa_core.runtime.stored_texts import StoredIndex, StoredTexts, write_ids, write_titles

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=6)


def read(folder, count):
    ids = StoredTexts.read(folder, IDS, IDS_ENDS, count)
    return ids, StoredIndex.read(folder, ids)


@given(st.lists(texts, min_size=1, max_size=30, unique=True), st.lists(st.text(max_size=6), max_size=10))
def test_ids_are_found_as_a_dict_finds_them(ids, others):
    with tempfile.TemporaryDirectory() as folder:
        write_ids(ids, Path(folder))
        found, index = read(Path(folder), len(ids))
        assert (ids, len(ids)) == (list(found), len(found))
        assert (ids[-1], tuple(ids[1:3])) == (found[-1], found[1:3])
        wanted = {name: place for place, name in enumerate(ids)}
        assert wanted == dict(index)
        for name in others:
            assert wanted.get(name) == index.get(name)
            assert (name in wanted) == (name in index)


@given(st.lists(texts, min_size=1, max_size=30))
def test_titles_may_repeat(titles):
    with tempfile.TemporaryDirectory() as folder:
        write_titles(titles, Path(folder))
        assert titles == list(StoredTexts.read(Path(folder), TITLES, TITLES_ENDS, len(titles)))


def test_what_is_no_text_is_in_no_index(tmp_path):
    write_ids(["a"], tmp_path)
    ids, index = read(tmp_path, 1)
    assert 3 not in index
    assert index.get(3) is None
    with pytest.raises(IndexError):
        ids[1]


def test_two_items_of_one_id_are_not_written(tmp_path):
    with pytest.raises(ModelError, match="the same id: 'b'"):
        write_ids(["b", "a", "b"], tmp_path)
    assert [] == list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("name", "array", "said"),
    [
        (IDS, np.frombuffer(b"\xff\xc3\xa9b", dtype=np.uint8), "not UTF-8"),
        (IDS_ENDS, np.array([2, 4]), "not UTF-8"),  # inside é
        (IDS_ENDS, np.array([3, 9]), "does not fit"),
        (IDS_ENDS, np.array([5, 4]), "does not fit"),
        (IDS_ENDS, np.array([-1, 4]), "does not fit"),
        (IDS_SORTED, np.array([0, 2], dtype=np.int32), "there are not"),
        (IDS_SORTED, np.array([-1, 0], dtype=np.int32), "there are not"),
        (IDS_SORTED, np.array([0, 1]), "is int64"),
        (IDS, np.array(["text"]), "not uint8"),
    ],
)
def test_other_arrays_are_refused_in_words(tmp_path, name, array, said):
    write_ids(["aé", "b"], tmp_path)
    np.save(tmp_path / name, array)
    with pytest.raises(ModelError, match=said):
        read(tmp_path, 2)


def test_an_archive_is_no_array(tmp_path):
    write_ids(["a", "b"], tmp_path)
    with (tmp_path / IDS).open("wb") as file:
        np.savez(file, np.zeros(2))
    with pytest.raises(ModelError, match="is no array"):
        read(tmp_path, 2)
