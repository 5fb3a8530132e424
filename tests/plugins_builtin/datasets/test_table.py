import json
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

    assert [datetime(2020, 1, 1)] * 3 == events["timestamp"].to_list()


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


EVENTS = [("a", "1", 5), ("a", "2", 6), ("b", "1", 7)]


def read(path, **settings):
    return as_texts(Table(path=path, **settings).read())


@pytest.mark.parametrize("spelt", [1, 1.0, "1"])
@pytest.mark.parametrize("others", [[], [2.5], [True], [1e22], [None], ["x"]])
def test_an_id_in_json_is_spelt_by_itself_and_not_by_its_neighbours(tmp_path, spelt, others):
    path = tmp_path / "e.jsonl"
    values = [spelt, *others]
    path.write_text("".join(json.dumps({"user": "a", "item": value}) + "\n" for value in values))
    taken = [value for value in others if value in (None, "x")]

    if taken == others:
        assert ["1", *others] == read(path)["item"].to_list()
    else:
        with pytest.raises(DataError, match=r"e\.jsonl:2: 'item'"):
            read(path)


@pytest.mark.parametrize(
    "text",
    [
        '{"a": ["1", 2], "b": [1.0]}',
        '{\n "a": [1,\n 2],\n "b": [1]}\n',
        '[{"user": "a", "item": 1}, {"user": "a", "item": "2"}, {"user": "b", "item": 1.0}]',
        '[\n{"user": "a", "item": 1},\n{"user": "a", "item": 2},\n{"user": "b", "item": 1}\n]',
        '{"user": "a", "item": [1, 2]}\n{"user": "b", "item": ["1"]}\n',
        '{"user": "a", "item": 1}\n{"user": "a", "item": 2}\n{"user": "b", "item": 1}\n',
    ],
)
def test_json_of_every_form(tmp_path, text):
    path = tmp_path / "e.json"
    path.write_text(text)

    assert [row[:2] for row in EVENTS] == read(path).rows()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[]", "a JSON list of something else than objects"),
        ("[1]", "a JSON list of something else than objects"),
        ('[{"user": "a", "item": 1}, {"user": "a", "item": [2]}]', "entry 1: 'item' holds"),
        ('{"a": [1], "b": [null]}', "user 'b': null is no id"),
        ('{\n"a": [1], "b": 3}', "user 'b' holds no list of items"),
        ('{\n"a": [1', "is not JSON"),
        ('{"user": "a", "item": [1, 2], "time": [1]}', "'time' holds 1 values for 2 items"),
    ],
)
def test_json_of_other_forms(tmp_path, text, said):
    path = tmp_path / "e.json"
    path.write_text(text)

    with pytest.raises(DataError, match=said):
        read(path, timestamp="time" if "time" in text else None)


@pytest.mark.parametrize("write", [pl.DataFrame.write_ipc, pl.DataFrame.write_parquet])
@pytest.mark.parametrize("lists", [True, False])
def test_columnar_files_with_rows_or_lists(tmp_path, write, lists):
    frame = pl.DataFrame(EVENTS, schema=["user", "item", "time"], orient="row")
    frame = frame.group_by("user", maintain_order=True).agg("item", "time") if lists else frame
    path = tmp_path / ("e.parquet" if write is pl.DataFrame.write_parquet else "e.feather")
    write(frame, path)

    assert EVENTS == read(path, timestamp="time").select("user", "item", "timestamp").rows()


def test_a_folder_of_parts_is_one_table(tmp_path):
    folder = tmp_path / "parts"
    folder.mkdir()
    for number, row in enumerate(EVENTS):
        pl.DataFrame([row], schema=["user", "item", "time"], orient="row").write_parquet(folder / f"{number}.parquet")

    assert EVENTS == read(folder, timestamp="time").select("user", "item", "timestamp").rows()
    assert 3 == len(Table(path=str(folder)).files())
    (tmp_path / "nothing").mkdir()
    with pytest.raises(DataError, match="is a folder without any file"):
        read(tmp_path / "nothing")


def test_a_pattern_is_all_files_that_it_matches(tmp_path):
    for number, (user, item, _) in enumerate(EVENTS):
        (tmp_path / f"{number}.csv").write_text(f"user,item\n{user},{item}\n")

    assert [row[:2] for row in EVENTS] == read(str(tmp_path / "*.csv")).rows()
    with pytest.raises(DataError, match="no file is matched"):
        read(str(tmp_path / "*.tsv"))


@pytest.mark.parametrize("sign", ["\t", ";", "|", " "])
def test_the_separator_is_found_in_the_header(tmp_path, sign):
    path = tmp_path / "e.csv"
    path.write_text("".join(sign.join(row) + "\n" for row in [("user", "item"), *(row[:2] for row in EVENTS)]))

    assert [row[:2] for row in EVENTS] == read(path).rows()
    assert (f"fields are separated by {sign!r}",) == Table(path=path).read().notes


def test_dates_in_text_files(tmp_path):
    path = tmp_path / "e.csv"
    path.write_text("user,item,day,at\na,1,31.12.2023,10:00:00\na,2,31.12.2023,11:30:00\nb,1,01.01.2024,00:00:00\n")

    found = read(path, timestamp="day", hour="at")["timestamp"].to_list()

    assert [datetime(2023, 12, 31, 10), datetime(2023, 12, 31, 11, 30), datetime(2024, 1, 1)] == found
    path.write_text("user,item,day\na,1,2023-12-31\na,2,soon\n")
    with pytest.raises(DataError, match=r"e\.csv:3: 'soon' is no time of the form %Y-%m-%d"):
        read(path, timestamp="day")


def test_likely_columns_are_offered(tmp_path):
    path = tmp_path / "e.csv"
    path.write_text("userId,movieId\n1,2\n")

    with pytest.raises(DataError, match="has no column 'user'") as caught:
        read(path)
    assert "try user = 'userId', item = 'movieId'" == caught.value.hint


def test_a_control_character_may_separate_fields(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("user\x01item\na\x01p\nb\x01q\n")

    events = as_texts(Table(path=path, separator="\x01").read())

    assert [("a", "p"), ("b", "q")] == events.select("user", "item").rows()


def test_carriage_returns_in_quotes_belong_to_the_field(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text('user,item\n"al\rpha",p\n', newline="")

    assert ["al\rpha"] == as_texts(Table(path=path).read())["user"].to_list()


@pytest.mark.parametrize("suffix", [".parquet", ".feather"])
@pytest.mark.parametrize("times", [[-(10**14)], [datetime(2014, 5, 1), None], ["0000-01-01"]])
def test_times_outside_the_calendar_in_columns_name_the_file(tmp_path, suffix, times):
    frame = pl.DataFrame({"user": ["a"] * len(times), "item": ["b"] * len(times), "time": times})
    if isinstance(times[0], datetime):
        frame = frame.with_columns(pl.col("time") - pl.duration(days=365 * 3000))
    path = tmp_path / f"t{suffix}"
    (frame.write_parquet if suffix == ".parquet" else frame.write_ipc)(path)

    with pytest.raises(DataError, match="the years 1 to 9999") as caught:
        Table(path=path, timestamp="time", time_unit="s").read()
    assert str(path) == str(caught.value.file)
