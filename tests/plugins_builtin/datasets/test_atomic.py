import pytest
from as_texts import as_texts

from lwa_core.errors import DataError
from lwa_plugins.datasets.atomic import Atomic

INTER = "item_id:token\tuser_id:token\ttimestamp:float\tnote:token\n1\t7\t9.5\tx\n2\t7\t10\t\n"
ITEM = "item_id:token\tmovie_title:token_seq\tclass:token_seq\n1\tToy Story\tAnimation Comedy\n2\t\t\n1\tAgain\tWar\n"


def test_columns_are_found_by_name_and_items_described(tmp_path):
    (tmp_path / "a.inter").write_text(INTER)
    (tmp_path / "a.item").write_text(ITEM)
    dataset = Atomic(path=tmp_path)

    source = dataset.read()

    assert [("7", "1", 9.5), ("7", "2", 10.0)] == as_texts(source).select("user", "item", "timestamp").rows()
    assert [("1", "Toy Story", ["Animation", "Comedy"]), ("2", None, [])] == source.items.rows()
    assert {"item rows that repeat an item": 1} == source.dropped
    assert (tmp_path / "a.inter", tmp_path / "a.item") == dataset.files()


def test_without_timestamps_and_items(tmp_path):
    (tmp_path / "a.inter").write_text("user_id:token\titem_id:token\n7\t1\n")

    source = Atomic(path=tmp_path / "a.inter").read()

    assert ("file", None, {}) == (source.order, source.items, source.dropped)


@pytest.mark.parametrize("names", [(), ("a.inter", "b.inter")])
def test_a_folder_must_hold_just_one_event_file(tmp_path, names):
    for name in names:
        (tmp_path / name).write_text(INTER)

    with pytest.raises(DataError, match=r"must hold one \.inter file, and holds " + (", ".join(names) or "none")):
        Atomic(path=tmp_path).files()


def test_an_item_file_needs_item_ids(tmp_path):
    (tmp_path / "a.inter").write_text(INTER)
    (tmp_path / "a.item").write_text("id:token\ttitle:token_seq\n")

    with pytest.raises(DataError, match=r"a\.item:1: has no column 'item_id', just id, title"):
        Atomic(path=tmp_path).read()
