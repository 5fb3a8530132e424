"""Files read in blocks of any size, beside Python's own csv and json."""

import csv
import io
import json
from unittest import mock

import polars as pl
import pytest
from as_texts import as_texts
from hypothesis import example, given, settings
from hypothesis import strategies as st

from lwa_core.errors import DataError
from lwa_plugins.datasets import _blocks
from lwa_plugins.datasets.table import Table

IDS = st.one_of(
    st.integers(0, 30).map(str),
    st.sampled_from(["07", "-1", "+1", "1.0", "1e3", " 7", "7 ", "0", "00", str(2**63 - 1), str(2**63)]),
    st.sampled_from(["a,b", 'say "a"', "a", "é", "0a", "line\nend"]),
)
PLAIN = st.lists(st.tuples(st.integers(0, 40).map(str), st.integers(0, 40).map(str)), min_size=1, max_size=30)
MIXED = st.lists(st.tuples(st.one_of(st.integers(0, 40).map(str), IDS), IDS), min_size=1, max_size=30)
TIMES = st.one_of(st.integers(0, 10**13), st.floats(0, 1e12))
SIZES = st.integers(20, 400)
COLUMNS = {"timestamp": "time"}


def written(folder, rows, times, **options):
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n", **options)
    writer.writerow(["user", "item", "time"])
    writer.writerows([user, item, time] for (user, item), time in zip(rows, times, strict=True))
    path = folder / "e.csv"
    path.write_text(text.getvalue(), "utf-8", newline="")
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("blocks")


@pytest.mark.parametrize("quoting", [csv.QUOTE_MINIMAL, csv.QUOTE_ALL])
@settings(max_examples=50)
@given(rows=st.one_of(PLAIN, MIXED), size=SIZES, data=st.data())
def test_csv_reads_as_python_reads_it(folder, quoting, rows, size, data):
    times = data.draw(st.lists(TIMES, min_size=len(rows), max_size=len(rows)))
    path = written(folder, rows, times, quoting=quoting)

    with mock.patch.object(_blocks, "BLOCK_BYTES", size):
        found = as_texts(Table(path=path, **COLUMNS).read())

    with path.open(encoding="utf-8", newline="") as file:
        expected = [(row["user"], row["item"], float(row["time"])) for row in csv.DictReader(file)]
    assert expected == found.select("user", "item", "timestamp").rows()


@settings(max_examples=50)
@given(rows=MIXED, size=SIZES)
def test_json_lines_read_as_python_reads_them(folder, rows, size):
    path = folder / "e.jsonl"
    path.write_text("".join(json.dumps({"user": user, "item": item}) + "\n" for user, item in rows), "utf-8")

    with mock.patch.object(_blocks, "BLOCK_BYTES", size):
        found = as_texts(Table(path=path).read())

    assert rows == found.rows()


@settings(max_examples=50)
@given(rows=PLAIN, wrong=st.integers(0, 29), size=SIZES, fault=st.sampled_from(["1,2", "1,2,3,4", "1,2,x"]))
def test_a_fault_has_its_line_whatever_the_blocks(folder, rows, wrong, size, fault):
    path = written(folder, rows, range(len(rows)))
    lines = path.read_text().splitlines()
    lines.insert(1 + wrong % len(lines), fault)
    path.write_text("\n".join(lines) + "\n")

    with mock.patch.object(_blocks, "BLOCK_BYTES", size), pytest.raises(DataError) as caught:
        Table(path=path, **COLUMNS).read()

    assert (path, 2 + wrong % (len(lines) - 1)) == (caught.value.file, caught.value.line)


def test_events_of_a_file_take_few_bytes(folder):
    path = written(folder, [("1", "2"), ("u", "07")], [1.6e9, 5])

    events = Table(path=path, **COLUMNS).read().events.collect()

    assert [pl.Categorical, pl.Categorical, pl.Int32] == events.dtypes


WHOLE = st.integers(-(2**53), 2**53)


@given(st.lists(WHOLE | WHOLE.map(float), min_size=1, max_size=20))
@example([1.0, 2, -0.0, 123456789012345.0])
def test_a_number_is_one_id_in_whichever_way_its_block_is_read(tmp_path_factory, numbers):
    lines = [json.dumps({"user": number, "item": "p"}) for number in numbers]
    path = tmp_path_factory.mktemp("ids") / "t.jsonl"
    path.write_text("\n".join(lines))
    fast = as_texts(Table(path=str(path)).read())["user"].to_list()
    path.write_text("\n".join([*lines, '{"user": null, "item": "p"}']))  # a gap: polars' reading is in doubt
    slow = as_texts(Table(path=str(path)).read())["user"].to_list()

    assert [*(str(int(number)) for number in numbers), None] == [*fast, None] == slow


@pytest.mark.parametrize("number", [1e-7, 1.5, 1e22, 123456789012345680.0, 1e300, 5e-324])
@pytest.mark.parametrize("gap", ["", '{"user": null, "item": "p"}\n'])
def test_a_number_that_is_no_id_is_refused_in_whichever_way_its_block_is_read(folder, number, gap):
    path = folder / "t.jsonl"
    path.write_text(gap + json.dumps({"user": number, "item": "p"}) + "\n")

    with pytest.raises(DataError, match=r"'user': .*(has a fraction|too large for a float)"):
        Table(path=path).read()
