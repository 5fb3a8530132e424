from datetime import datetime

import polars as pl
import pytest
from as_texts import as_texts

from lwa_core.data import prepare
from lwa_core.data.sections import Filter, Split
from lwa_core.errors import DataError
from lwa_plugins.datasets.table import Table

FRAME = pl.DataFrame({"who": ["a", "a", "b"], "what": [1, 2, 1], "when": [5, 6, 7], "stars": [1.5, 2.0, 3.0]})
NAMES = {"user": "who", "item": "what", "timestamp": "when", "rating": "stars"}
WRITERS = {
    "e.csv": pl.DataFrame.write_csv,
    "e.tsv": lambda frame, path: frame.write_csv(path, separator="\t"),
    "e.parquet": pl.DataFrame.write_parquet,
    "e.jsonl": pl.DataFrame.write_ndjson,
    "e.ndjson": pl.DataFrame.write_ndjson,
    "e.json": pl.DataFrame.write_ndjson,
}


def written(folder, name, frame=FRAME, **settings):
    WRITERS[name](frame, folder / name)
    if name == "e.tsv":
        settings["separator"] = "\t"
    return Table(path=folder / name, **settings)


@pytest.mark.parametrize("name", WRITERS)
def test_columns_are_named_by_settings_in_every_format(tmp_path, name):
    source = written(tmp_path, name, **NAMES).read()

    rows = as_texts(source).select("user", "item", "timestamp", "rating").rows()
    assert [("a", "1", 5, 1.5), ("a", "2", 6, 2.0), ("b", "1", 7, 3.0)] == rows
    assert "timestamp" == source.order


@pytest.mark.parametrize("name", WRITERS)
def test_without_timestamps_the_rows_are_in_order(tmp_path, name):
    source = written(tmp_path, name, user="who", item="what").read()

    assert ("file", ["user", "item"]) == (source.order, source.events.collect_schema().names())


def test_parquet_may_hold_dates(tmp_path):
    frame = FRAME.with_columns(when=pl.lit(datetime(2020, 1, 1)))

    events = written(tmp_path, "e.parquet", frame, **NAMES).read().events.collect()

    assert [1577836800.0] * 3 == events["timestamp"].to_list()


def test_parquet_without_a_column(tmp_path):
    with pytest.raises(DataError, match=r"e\.parquet: the frame has no column 'user' \(user\)") as caught:
        written(tmp_path, "e.parquet", item="what").read()

    assert "'who'" in caught.value.hint


def test_no_parquet_file(tmp_path):
    (tmp_path / "e.parquet").write_bytes(b"no parquet")

    with pytest.raises(DataError, match=r"e\.parquet: is no Parquet file"):
        Table(path=tmp_path / "e.parquet").read()


def test_a_parquet_file_cut_in_its_data(tmp_path):
    path = tmp_path / "e.parquet"
    frame = pl.DataFrame({"user": [str(n * n) for n in range(5000)], "item": [str(n) for n in range(5000)]})
    frame.write_parquet(path)
    data = bytearray(path.read_bytes())
    data[8:2000] = bytes(1992)
    path.write_bytes(bytes(data))

    with pytest.raises(DataError, match=r"cannot be read|no Parquet"):
        prepare(Table(path=path).read(), Filter(), Split(), 0)


def test_an_unknown_suffix(tmp_path):
    (tmp_path / "e.xlsx").write_text("x")

    with pytest.raises(DataError, match=r"e\.xlsx: is no table by its suffix") as caught:
        Table(path=tmp_path / "e.xlsx").read()
    assert ".parquet" in caught.value.hint


def test_a_separator_of_two_characters(tmp_path):
    with pytest.raises(DataError, match="must be one character, not '::'"):
        written(tmp_path, "e.csv", user="who", item="what", separator="::").read()
