"""Bytes that are no plain text, in every file that is read as text: file, line and what to do, never a misread."""

import json

import attrs
import pytest

from lwa_core.errors import DataError
from lwa_plugins.datasets.atomic import Atomic
from lwa_plugins.datasets.movielens import MovieLens
from lwa_plugins.datasets.ready_made_split import ReadyMadeSplit
from lwa_plugins.datasets.reviews import Reviews
from lwa_plugins.datasets.sequences import Sequences
from lwa_plugins.datasets.table import Table
from lwa_plugins.recommenders._item_files import read_attributes

EVENTS = [(user, item, 3, 1_400_000_000 + 10 * time) for user in ("alpha", "beta") for time, item in enumerate("12345")]
ITEMS = "12345"
PAIRS = "".join(f"{user} {item}\n" for user, item, *_ in EVENTS)
INTER = "user_id:token\titem_id:token\ttimestamp:float\n" + "".join(f"{u}\t{i}\t{t}\n" for u, i, _, t in EVENTS)
RATED = [f"{u}\t{i}\t{r}\t{t}" for u, i, r, t in EVENTS]
REVIEWS = "".join(
    json.dumps({"reviewerID": u, "asin": i, "overall": r, "unixReviewTime": t}) + "\n" for u, i, r, t in EVENTS
)
TIMED = {"timestamp": "time", "rating": "rating"}


@attrs.frozen
class Reader:
    """A file that is read as text.

    Args:
        name: Of the file.
        text: A sound one.
        read: Reads the file, and whatever has to lie beside it in its folder.
        lines: It is read line by line; else as one JSON value.
        latin: It is read as latin-1, in which every byte is a letter.
        time: Whether there are times in it.
    """

    name: str
    text: str
    read: object
    lines: bool = True
    latin: bool = False
    time: bool = True


def beside(path, name, text):
    path.with_name(name).write_text(text)
    return path.with_name(name)


def sequences(path, **more):
    return Sequences(path=beside(path, "p.txt", PAIRS), **more).read()


def split(path, part, text, **more):
    """The file as one part of data that comes split; the other parts are sound."""
    others = {name: beside(path, name + path.suffix, text) for name in ("train", "validation", "test") if name != part}
    return ReadyMadeSplit(**{part: path, **others}, **more).read()


CSV = "user,item,rating,timestamp\n" + "".join(f"{u},{i},{r},{t}\n" for u, i, r, t in EVENTS)
LISTS = "user_id:token\titem_id_list:token_seq\titem_id:token\n" + "alpha\t1 2 3\t4\nbeta\t1 2\t3\n"
JSON_LINES = "".join(json.dumps({"user": u, "item": i, "rating": r, "time": t}) + "\n" for u, i, r, t in EVENTS)
USERS = json.dumps({"alpha": [*ITEMS], "beta": [*ITEMS]}, indent=1)
ENTRIES = json.dumps([json.loads(line) for line in JSON_LINES.splitlines()], indent=1)
TITLES = json.dumps({item: {"title": f"alpha {item}"} for item in ITEMS}, indent=1)
ITEM_FILE = "item_id:token\ttitle:token_seq\tclass:token_seq\n" + "".join(f"{i}\talpha {i}\ta b\n" for i in ITEMS)
METADATA = "".join(json.dumps({"asin": i, "title": f"alpha {i}", "categories": ["a"]}) + "\n" for i in ITEMS)
GENRES = "|0" * 19
NUMBERED = json.dumps({f"alpha{item}": f"T {item}" for item in ITEMS})

READERS = {
    "csv": Reader("t.csv", CSV.replace("timestamp", "time"), lambda path: Table(path=path, **TIMED).read()),
    "tsv": Reader(
        "t.tsv", CSV.replace("timestamp", "time").replace(",", "\t"), lambda path: Table(path=path, **TIMED).read()
    ),
    "table .inter": Reader(
        "t.inter",
        INTER,
        lambda path: Table(path=path, user="user_id", item="item_id", timestamp="timestamp").read(),
    ),
    "json lines": Reader("t.jsonl", JSON_LINES, lambda path: Table(path=path, **TIMED).read()),
    "json list": Reader("t.json", ENTRIES, lambda path: Table(path=path, **TIMED).read(), lines=False),
    "json users": Reader("u.json", USERS, lambda path: Table(path=path).read(), lines=False, time=False),
    "atomic": Reader("a.inter", INTER, lambda path: Atomic(path=path).read()),
    "atomic items": Reader(
        "a.item", ITEM_FILE, lambda path: Atomic(path=beside(path, "a.inter", INTER)).read(), time=False
    ),
    "u.data": Reader("u.data", "\n".join(RATED) + "\n", lambda path: MovieLens(path=path.parent).read()),
    "ratings.dat": Reader(
        "ratings.dat",
        "\n".join(RATED).replace("\t", "::") + "\n",
        lambda path: MovieLens(path=path.parent).read(),
        latin=True,
    ),
    "ratings.csv": Reader(
        "ratings.csv",
        "userId,movieId,rating,timestamp\n" + "\n".join(RATED).replace("\t", ",") + "\n",
        lambda path: MovieLens(path=path.parent).read(),
    ),
    "movies.dat": Reader(
        "movies.dat",
        "".join(f"{i}::alpha {i}::Drama\n" for i in ITEMS),
        lambda path: sequences(path, titles=path),
        latin=True,
        time=False,
    ),
    "u.item": Reader(
        "u.item",
        "".join(f"{i}|alpha {i}|1-1-1995||{GENRES}\n" for i in ITEMS),
        lambda path: sequences(path, titles=path),
        latin=True,
        time=False,
    ),
    "movies.csv": Reader(
        "movies.csv",
        "movieId,title,genres\n" + "".join(f"{i},alpha {i},Drama\n" for i in ITEMS),
        lambda path: sequences(path, titles=path),
        time=False,
    ),
    "reviews": Reader("r.json", REVIEWS, lambda path: Reviews(path=path).read()),
    "metadata": Reader(
        "m.json",
        METADATA,
        lambda path: Reviews(path=beside(path, "r.json", REVIEWS), metadata=path).read(),
        time=False,
    ),
    "pairs": Reader("q.txt", PAIRS, lambda path: Sequences(path=path, form="pairs").read(), time=False),
    "lists": Reader("l.txt", "alpha 1 2 3 4\nbeta 1 2 3 4\n", lambda path: Sequences(path=path).read(), time=False),
    "item map": Reader(
        "map.txt",
        "".join(f"{item} alpha{item}\n" for item in ITEMS),
        lambda path: sequences(path, titles=beside(path, "n.json", NUMBERED), item_map=path),
        time=False,
    ),
    "titles": Reader("i.json", TITLES, lambda path: sequences(path, titles=path), lines=False, time=False),
    "attributes": Reader(
        "c.json",
        json.dumps({item: ["alpha", "b"] for item in ITEMS}, indent=1),
        lambda path: sequences(path, attributes=path),
        lines=False,
        time=False,
    ),
    "attributes of a recommender": Reader(
        "f.json", json.dumps({item: ["alpha"] for item in ITEMS}, indent=1), read_attributes, lines=False, time=False
    ),
    "split train": Reader("d.train.csv", CSV, lambda path: split(path, "train", CSV, timestamp="timestamp")),
    "split test": Reader("d.test.csv", CSV, lambda path: split(path, "test", CSV, timestamp="timestamp")),
    "split inter": Reader("d.train.inter", INTER, lambda path: split(path, "train", INTER, timestamp="timestamp")),
    "split lists": Reader("d.train.inter", LISTS, lambda path: split(path, "train", LISTS), time=False),
}
JSON = {"json lines", "json list", "json users", "reviews", "metadata", "titles", "attributes"}
JSON |= {"attributes of a recommender"}


def readers(which):
    """A test for each of the readers that this says."""
    named = {name: one for name, one in READERS.items() if which(name, one)}
    return pytest.mark.parametrize("reader", named.values(), ids=named)


def every(name, reader):
    return True


def fault(reader, folder, data):
    """What reading this file raises."""
    path = folder / reader.name
    path.write_bytes(data)
    with pytest.raises(DataError) as caught:
        reader.read(path)
    assert str(path) == str(caught.value.file)
    assert caught.value.hint
    return caught.value


@readers(every)
def test_a_sound_file_is_read(reader, tmp_path):
    path = tmp_path / reader.name
    path.write_text(reader.text)

    assert reader.read(path)


@readers(every)
@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be"])
def test_utf_16_is_named(reader, tmp_path, encoding):
    error = fault(reader, tmp_path, reader.text.encode(encoding))

    assert (1, True) == (error.line, error.message.endswith("is UTF-16 text, and UTF-8 is needed"))
    assert "iconv -f utf-16 -t utf-8" in error.hint


@readers(lambda _, reader: reader.lines)
def test_line_ends_that_are_single_carriage_returns(reader, tmp_path):
    error = fault(reader, tmp_path, reader.text.replace("\n", "\r").encode())

    assert (1, True) == (error.line, "a carriage return stands inside this line" in error.message)
    assert "tr '\\r' '\\n'" in error.hint


@readers(lambda _, reader: not reader.lines)
def test_carriage_returns_between_the_values_of_one_document_are_blanks(reader, tmp_path):
    (tmp_path / reader.name).write_bytes(reader.text.replace("\n", "\r").encode())

    assert reader.read(tmp_path / reader.name)


@readers(every)
@pytest.mark.parametrize("byte", [0, 1, 7, 8, 0x1A, 0x1B, 0x1F])
def test_control_characters(reader, tmp_path, byte):
    place = reader.text.rindex("alpha")
    error = fault(reader, tmp_path, reader.text[:place].encode() + bytes([byte]) + reader.text[place:].encode())

    assert reader.text.count("\n", 0, place) + 1 == error.line
    assert f"control character (byte {byte:#04x})" in error.message or "Invalid control character" in error.message


@readers(lambda _, reader: not reader.latin)
@pytest.mark.parametrize("strange", [b"\xff", "\ud800".encode("utf-8", "surrogatepass"), b"\xe9"])
def test_bytes_that_are_not_utf_8(reader, tmp_path, strange):
    place = reader.text.rindex("alpha")
    error = fault(reader, tmp_path, reader.text[:place].encode() + strange + reader.text[place:].encode())

    assert reader.text.count("\n", 0, place) + 1 == error.line
    assert f"is not UTF-8 text (byte {strange[0]:#04x})" in error.message


@readers(lambda name, _: name in JSON)
def test_half_of_a_surrogate_pair_in_json(reader, tmp_path):
    error = fault(reader, tmp_path, reader.text.replace("alpha", "\\ud800", 1).encode())

    assert "holds half of a surrogate pair" in error.message


@readers(lambda _, reader: reader.time)
@pytest.mark.parametrize("time", ["-63000000000", "-99999999999", "1e25"])
def test_times_outside_the_calendar(reader, tmp_path, time):
    text = reader.text.replace("1400000040", time, 1)
    error = fault(reader, tmp_path, text.encode())

    assert "of the years 1 to 9999" in error.message
    assert error.line == (text.count("\n", 0, text.index(time)) + 1 if reader.lines else None)
    assert "time_unit" in error.hint


@readers(lambda name, reader: reader.time and name != "reviews")
def test_dates_before_the_year_1(reader, tmp_path):
    text = reader.text
    for place, (*_, time) in enumerate(EVENTS[:5]):
        date = "0000-01-01" if place == 2 else f"2014-05-{place + 1:02}"
        text = text.replace(str(time), date if "json" not in reader.name else f'"{date}"')
    error = fault(reader, tmp_path, text.encode())

    assert "'0000-01-01' lies outside the years 1 to 9999" in error.message
    assert error.line == (text.count("\n", 0, text.index("0000-01-01")) + 1 if reader.lines else None)


@readers(lambda _, reader: ":token" in reader.text)
def test_a_field_that_an_atomic_header_names_twice(reader, tmp_path):
    header, _, rest = reader.text.partition("\n")
    twice = header.split("\t")[0].replace("token", "float")
    error = fault(reader, tmp_path, f"{header}\t{twice}\n{rest}".encode())

    assert (1, True) == (error.line, f"the header names {twice.split(':')[0]!r} twice" in error.message)


@readers(lambda name, reader: not reader.lines and name != "json list")
def test_a_name_that_a_json_object_gives_twice(reader, tmp_path):
    first = json.dumps(next(iter(json.loads(reader.text))))
    error = fault(reader, tmp_path, reader.text.replace("{", f"{{{first}: [],", 1).encode())

    assert f"names {json.loads(first)!r} twice in one object" in error.message


def test_a_large_file_of_carriage_returns_is_found_early(tmp_path, monkeypatch):
    from lwa_plugins.datasets import _blocks

    monkeypatch.setattr(_blocks, "BLOCK_BYTES", 50)
    monkeypatch.setattr(_blocks, "LONGEST_RECORD", 200)

    error = fault(READERS["csv"], tmp_path, READERS["csv"].text.replace("\n", "\r").encode())

    assert "a carriage return stands inside this line" in error.message
