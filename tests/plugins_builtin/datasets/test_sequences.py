import json

import pytest

from lwa_core.errors import DataError
from lwa_plugins.datasets.sequences import Sequences

PAIRS = "a p\na q\nb q\na r\n"
LISTS = "a p q r\nb\tq  \n"


def written(folder, text, name="events.txt", **settings):
    (folder / name).write_text(text)
    return Sequences(path=folder / name, **settings)


def rows(dataset):
    return dataset.read().events.collect().rows()


@pytest.mark.parametrize("form", ["auto", "pairs"])
def test_pairs(tmp_path, form):
    assert [("a", "p"), ("a", "q"), ("b", "q"), ("a", "r")] == rows(written(tmp_path, PAIRS, form=form))


@pytest.mark.parametrize("form", ["auto", "lists"])
def test_lists(tmp_path, form):
    assert [("a", "p"), ("a", "q"), ("a", "r"), ("b", "q")] == rows(written(tmp_path, LISTS, form=form))


@pytest.mark.parametrize(
    ("text", "form", "message"),
    [
        (LISTS, "pairs", r":1: 4 fields, where `user item` are expected"),
        ("a p\n\nb\n", "auto", r":3: just one field, 'b'"),
        ("a p\nb\n", "pairs", r":2: 1 fields, where `user item` are expected"),
        (PAIRS, "lists", r":2: user 'a' has a second line"),
        ("a p\na q 12\nb p\n", "auto", r":2: user 'a' has a second line"),
        ("a p q\n b p\n a r\n", "auto", r":3: user 'a' has a second line"),
    ],
)
def test_lines_that_do_not_fit_the_form(tmp_path, text, form, message):
    with pytest.raises(DataError, match=message) as caught:
        written(tmp_path, text, form=form).read()

    assert caught.value.hint


def test_titles_of_a_json_file(tmp_path):
    titles = {"p": {"title": " Pear ", "asin": "B0"}, "q": "Quince", "r": {"categories": ["fruit"]}}
    (tmp_path / "items.json").write_text(json.dumps(titles))

    source = written(tmp_path, PAIRS, titles=tmp_path / "items.json").read()

    assert [("p", "Pear", None), ("q", "Quince", None), ("r", None, ["fruit"])] == source.items.rows()


def test_titles_by_way_of_an_item_map(tmp_path):
    (tmp_path / "movies.dat").write_text("11::P (1990)::War|Drama\n12::Q (1991)::War\n13::Not here::War\n")
    (tmp_path / "map.txt").write_text("p 11\nq 12\nr 99\n")

    dataset = written(tmp_path, PAIRS, titles=tmp_path / "movies.dat", item_map=tmp_path / "map.txt")

    assert [("p", "P (1990)", ["War", "Drama"]), ("q", "Q (1991)", ["War"])] == dataset.read().items.select(
        "item", "title", "categories"
    ).rows()
    assert 3 == len(dataset.files())


def test_attributes_serve_as_categories(tmp_path):
    (tmp_path / "items.json").write_text('{"p": "Pear", "q": "Quince"}')
    (tmp_path / "attributes.json").write_text('{"q": [1, 2], "r": ["x"]}')

    dataset = written(tmp_path, PAIRS, titles=tmp_path / "items.json", attributes=tmp_path / "attributes.json")

    assert [("p", "Pear", None), ("q", "Quince", ["1", "2"]), ("r", None, ["x"])] == dataset.read().items.sort(
        "item"
    ).rows()
    alone = written(tmp_path, PAIRS, attributes=tmp_path / "attributes.json").read().items
    assert [("q", ["1", "2"]), ("r", ["x"])] == alone.rows()


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("items.json", '{"p":\n oops}', r"items\.json:2: is not JSON"),
        ("items.json", "[1]", r"items\.json:1: must be one JSON object"),
        ("items.json", '{"p": 3}', r"item 'p' holds neither a title"),
        ("items.json", '{"p": {"title": 3}}', r"item 'p' has a title or categories of another kind"),
        ("items.json", '{"p": {"categories": "war"}}', r"item 'p' has a title or categories of another kind"),
        ("items.xml", "", r"items\.xml: is not a file of titles by its name"),
    ],
)
def test_titles_that_cannot_be_read(tmp_path, name, text, message):
    (tmp_path / name).write_text(text)

    with pytest.raises(DataError, match=message):
        written(tmp_path, PAIRS, titles=tmp_path / name).read()


def test_titles_that_are_not_utf_8(tmp_path):
    (tmp_path / "items.json").write_bytes(b'{"p": "\xff"}')

    with pytest.raises(DataError, match=r"items\.json:1: is not UTF-8 text"):
        written(tmp_path, PAIRS, titles=tmp_path / "items.json").read()


@pytest.mark.parametrize(
    ("text", "message"),
    [("p 1\nq\n", r"map\.txt:2: 1 fields"), ("p 1\np 2\n", r"map\.txt:2: item 'p' is mapped twice")],
)
def test_an_item_map_that_cannot_be_read(tmp_path, text, message):
    (tmp_path / "items.json").write_text("{}")
    (tmp_path / "map.txt").write_text(text)

    with pytest.raises(DataError, match=message):
        written(tmp_path, PAIRS, titles=tmp_path / "items.json", item_map=tmp_path / "map.txt").read()


def test_an_item_map_without_titles_is_a_mistake(tmp_path):
    (tmp_path / "map.txt").write_text("p 1\n")

    with pytest.raises(DataError, match="item_map is of no use without titles"):
        written(tmp_path, PAIRS, item_map=tmp_path / "map.txt").read()


def test_attributes_must_be_lists(tmp_path):
    (tmp_path / "attributes.json").write_text('{"p": 1}')

    with pytest.raises(DataError, match="item 'p' does not hold a list"):
        written(tmp_path, PAIRS, attributes=tmp_path / "attributes.json").read()
