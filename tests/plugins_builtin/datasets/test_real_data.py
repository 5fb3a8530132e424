"""The published data sets, where the folder that LWA_DATA names holds them."""

import gzip
import json
import os
from pathlib import Path

import pytest
from as_texts import as_texts

from lwa_core.data import prepare
from lwa_core.data.sections import Filter, Split
from lwa_plugins.datasets.atomic import Atomic
from lwa_plugins.datasets.reviews import Reviews
from lwa_plugins.datasets.sequences import Sequences

ROOT = Path(os.environ.get("LWA_DATA", "/nowhere"))
WHY = "LWA_DATA names no folder with the public data sets"
pytestmark = pytest.mark.skipif("LWA_DATA" not in os.environ, reason=WHY)


def at(name):
    path = ROOT / name
    if not path.exists():
        pytest.skip(f"{name} is not in the folder that LWA_DATA names")
    return str(path)


def raw(source):
    """Users, items and rows before any filter."""
    step = prepare(source, Filter(), Split(), 0).steps[0]
    return step.users, step.items, step.rows


def test_movielens_100k():
    source = Atomic(path=at("ml-100k")).read()
    data = prepare(source, Filter(), Split(), 0)

    assert (943, 1682, 100_000) == raw(source)
    assert ("Toy Story", ("Animation", "Children's", "Comedy")) == (
        data.catalogue.titles[0],
        data.catalogue.categories[0],
    )
    assert (754, 189, 943) == tuple(data.facts["counts"][use] for use in ("validation", "calibration", "test"))
    assert "44 %" == f"{data.facts['order']['test_targets_in_ties'] / 943:.0%}".replace("%", " %")  # docs/data.md


def test_movielens_1m():
    dataset = Sequences(
        path=at("ml-1m/ml-1m_sasrec.txt"),
        titles=at("ml-1m/movies.dat"),
        item_map=at("ml-1m/sasrec_to_movielens_items.txt"),
    )
    source = dataset.read()

    assert (6040, 3416, 999_611) == raw(source)
    titles = dict(source.items.select("item", "title").iter_rows())
    assert 3416 == len(titles)
    assert "Raiders of the Lost Ark (1981)" == titles["1"]


def test_amazon_beauty():
    source = Sequences(path=at("amazon-beauty/Beauty.txt"), titles=at("amazon-beauty/items.json")).read()

    assert (22_363, 12_101, 198_502) == raw(source)
    assert 12_094 == source.items.filter(source.items["title"] != "").height


def test_amazon_games():
    source = Sequences(path=at("amazon-games/sequences.txt"), titles=at("amazon-games/Games-6k.item")).read()

    assert (50_546, 16_859, 440_264) == raw(source)
    assert 16_859 == source.items.height


def test_amazon_gift_cards():
    path = at("amazon-giftcards/Gift_Cards_5.json.gz")
    source = Reviews(path=path, metadata=at("amazon-giftcards/meta_Gift_Cards.json.gz")).read()

    assert (458, 148, 2972) == raw(source)
    with gzip.open(path, "rt", encoding="utf-8") as file:
        records = [json.loads(line) for line in file]
    expected = [(r["reviewerID"], r["asin"], r["overall"], r["unixReviewTime"]) for r in records]
    assert expected == as_texts(source).rows()


def test_movielens_1m_is_read_as_a_naive_loop_reads_it():
    path = at("ml-1m/ml-1m_sasrec.txt")
    with open(path, encoding="utf-8") as file:
        expected = [tuple(line.split()) for line in file]

    assert expected == as_texts(Sequences(path=path).read()).rows()
