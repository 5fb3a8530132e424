"""Data that comes split is used as it comes."""

import pytest
from made_events import pairs, spelled

from lwa_core.data import prepare
from lwa_core.data.sections import Filter, Split
from lwa_core.errors import DataError
from lwa_plugins.datasets.ready_made_split import ReadyMadeSplit

USERS = {"a": "pqrst", "b": "qrstp", "c": "rstpq"}


def write_parts(folder, header, row):
    """A file for each part: all but two items of every user, the last but one, and the last."""
    parts = {"train": slice(0, -2), "validation": slice(-2, -1), "test": slice(-1, None)}
    paths = {}
    for part, which in parts.items():
        paths[part] = folder / f"d.{part}.{'inter' if ':' in header else 'csv'}"
        lines = [
            row(user, item, place) for user, items in USERS.items() for place, item in list(enumerate(items))[which]
        ]
        paths[part].write_text("\n".join([header, *lines]) + "\n")
    return paths


FORMS = {
    "csv": ("user,item,time", lambda user, item, place: f"{user},{item},{place}", {"timestamp": "time"}),
    "csv in order": ("user,item", lambda user, item, place: f"{user},{item}", {}),
    "recbole": (
        "user_id:token\titem_id:token\ttimestamp:float",
        lambda user, item, place: f"{user}\t{item}\t{place}",
        {"timestamp": "timestamp"},
    ),
}


@pytest.mark.parametrize("form", FORMS)
def test_published_parts_are_used_as_they_are(tmp_path, form):
    header, row, settings = FORMS[form]
    dataset = ReadyMadeSplit(**write_parts(tmp_path, header, row), **settings)

    data = prepare(dataset.read(), Filter(), Split(), 0)

    assert {user: list(items) for user, items in USERS.items()} == spelled(data)
    assert {(user, items[-1]) for user, items in USERS.items()} == {*pairs(data, data.test)}
    held = {*pairs(data, data.validation), *pairs(data, data.calibration)}
    assert {(user, items[-2]) for user, items in USERS.items()} == held
    assert "given" == data.facts["split"]["by"]
    assert 3 == len(dataset.files())


def test_files_of_histories_and_targets(tmp_path):
    """RecBole's files for sequences: every prefix of the training part with its target, then one row for each user."""
    header = "user_id:token\titem_id_list:token_seq\titem_id:token"
    rows = {"train": [], "validation": [], "test": []}
    for user, items in USERS.items():
        for part, ends in (("train", range(1, len(items) - 2)), ("validation", [-2]), ("test", [-1])):
            rows[part] += [f"{user}\t{' '.join(items[:end])}\t{items[end]}" for end in ends]
    paths = {part: tmp_path / f"d.{part}.inter" for part in rows}
    for part, path in paths.items():
        path.write_text("\n".join([header, *rows[part]]) + "\n")

    data = prepare(ReadyMadeSplit(**paths).read(), Filter(), Split(), 0)

    assert {user: list(items) for user, items in USERS.items()} == spelled(data)
    assert {(user, items[-1]) for user, items in USERS.items()} == {*pairs(data, data.test)}


def test_parts_that_leak_or_differ(tmp_path):
    header, row, settings = FORMS["csv"]
    paths = write_parts(tmp_path, header, row)
    paths["train"].write_text(paths["train"].read_text().replace("a,p,0", "a,p,9"))
    with pytest.raises(DataError, match="they leak"):
        prepare(ReadyMadeSplit(**paths, **settings).read(), Filter(), Split(), 0)
    paths["test"].write_text("user,item\na,p\n")
    with pytest.raises(DataError, match=r"d\.test\.csv.*has no column 'time'"):
        ReadyMadeSplit(**paths, **settings).read()
