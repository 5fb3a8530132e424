import json

import pytest

from lwa_core.data import prepare
from lwa_core.data.sections import Filter, Split
from lwa_core.errors import DataError
from lwa_plugins.datasets.reviews import Reviews

RELEASES = {
    2014: {"reviewerID": "u", "asin": "i", "overall": 4.0, "unixReviewTime": 1600000000, "helpful": [1, 2]},
    2018: {"overall": 4.0, "verified": True, "reviewerID": "u", "asin": "i", "unixReviewTime": 1600000000},
    2023: {"rating": 4.0, "asin": "variant", "parent_asin": "i", "user_id": "u", "timestamp": 1600000000000},
}


def json_lines(path, records):
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    return path


@pytest.mark.parametrize("release", RELEASES)
def test_every_release_has_its_field_names(tmp_path, release):
    source = Reviews(path=json_lines(tmp_path / "r.json", [RELEASES[release]])).read()

    second = 1_600_000_000 * (1000 if release == 2023 else 1)
    assert [("u", "i", 4.0, float(second))] == source.events.collect().select(
        "user", "item", "rating", "timestamp"
    ).rows()


def test_milliseconds_of_2023_are_counted(tmp_path):
    records = [
        {**RELEASES[2023], "user_id": user, "parent_asin": item, "timestamp": 1_600_000_000_000 + place}
        for user in "ab"
        for place, item in enumerate("xyz")
    ]

    data = prepare(Reviews(path=json_lines(tmp_path / "r.jsonl", records)).read(), Filter(), Split(), 0)

    assert ("ms", 0) == (data.facts["time_unit"], data.facts["order"]["test_targets_in_ties"])


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        ({"asin": "i", "title": " A ", "categories": [["Beauty", "Hair"], ["Beauty"]]}, ["Beauty", "Hair"]),
        ({"asin": "i", "title": " A ", "category": ["Beauty", "", "Hair", "Beauty"]}, ["Beauty", "Hair"]),
        ({"parent_asin": "i", "asin": "v", "title": " A ", "categories": ["Beauty", "Hair"]}, ["Beauty", "Hair"]),
        ({"asin": "i", "title": "A", "category": "[Beauty"}, ["[Beauty"]),
    ],
)
def test_metadata_of_every_release(tmp_path, record, expected):
    metadata = json_lines(tmp_path / "m.json", [record, {**record, "title": "again"}])
    reviews = json_lines(tmp_path / "r.json", [RELEASES[2018]])

    source = Reviews(path=reviews, metadata=metadata).read()

    assert [("i", "A", expected)] == source.items.rows()
    assert {"item rows that repeat an item": 1} == source.dropped


def test_metadata_without_an_item_is_counted(tmp_path):
    metadata = json_lines(
        tmp_path / "m.json", [{"asin": "i", "title": "A"}, {"asin": "", "title": "B"}, {"title": "C"}]
    )
    reviews = json_lines(tmp_path / "r.json", [RELEASES[2018]])

    source = Reviews(path=reviews, metadata=metadata).read()

    assert [("i", "A")] == source.items.rows()
    assert {"item rows without an item": 2} == source.dropped


def test_metadata_of_another_kind(tmp_path):
    metadata = json_lines(
        tmp_path / "m.json", [{"asin": "i", "category": ["A"]}, {"asin": "j", "category": [{"a": 1}]}]
    )
    reviews = json_lines(tmp_path / "r.json", [RELEASES[2018]])

    with pytest.raises(DataError, match=r"m\.json:2: 'category' holds \{\"a\": 1\}, not a list of texts"):
        Reviews(path=reviews, metadata=metadata).read()
