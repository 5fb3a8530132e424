"""Everything that can be wrong with a file, in every format where it can be: file and line, or a counted rule."""

import gzip
import os
import random

import polars as pl
import pytest
from as_texts import as_texts

from lwa_core.data import prepare
from lwa_core.data.sections import Filter, Split
from lwa_core.errors import DataError
from lwa_plugins.datasets import _blocks
from lwa_plugins.datasets.atomic import Atomic
from lwa_plugins.datasets.movielens import MovieLens
from lwa_plugins.datasets.reviews import Reviews
from lwa_plugins.datasets.sequences import Sequences
from lwa_plugins.datasets.table import Table

EVENTS = [(user, item, 3, 10 * time) for user in ("7", "8") for time, item in enumerate("12345")]


def lines(template, events=EVENTS):
    return "".join(template.format(user=u, item=i, rating=r, time=t) + "\n" for u, i, r, t in events)


JSON_2018 = '{{"reviewerID": "{user}", "asin": "{item}", "overall": {rating}, "unixReviewTime": {time}}}'
JSON_PLAIN = '{{"user": "{user}", "item": "{item}", "rating": {rating}, "time": {time}}}'
COLUMNS = {"timestamp": "time", "rating": "rating"}

# Format -> (file name, dataset of that path, header, line, lines of header).
FORMATS = {
    "atomic": (
        "a.inter",
        lambda path: Atomic(path=path),
        "user_id:token\titem_id:token\trating:float\ttimestamp:float\n",
        "{user}\t{item}\t{rating}\t{time}",
    ),
    "u.data": ("u.data", lambda path: MovieLens(path=path.parent), "", "{user}\t{item}\t{rating}\t{time}"),
    "ratings.dat": ("ratings.dat", lambda path: MovieLens(path=path.parent), "", "{user}::{item}::{rating}::{time}"),
    "ratings.csv": (
        "ratings.csv",
        lambda path: MovieLens(path=path.parent),
        "userId,movieId,rating,timestamp\n",
        "{user},{item},{rating},{time}",
    ),
    "csv": (
        "t.csv",
        lambda path: Table(path=path, **COLUMNS),
        "user,item,rating,time\n",
        '{user},"{item}",{rating},{time}',
    ),
    "tsv": (
        "t.tsv",
        lambda path: Table(path=path, separator="\t", **COLUMNS),
        "user\titem\trating\ttime\n",
        "{user}\t{item}\t{rating}\t{time}",
    ),
    "jsonl": ("t.jsonl", lambda path: Table(path=path, **COLUMNS), "", JSON_PLAIN),
    "reviews": ("r.json", lambda path: Reviews(path=path), "", JSON_2018),
    "pairs": ("p.txt", lambda path: Sequences(path=path, form="pairs"), "", "{user} {item}"),
    "lists": ("l.txt", lambda path: Sequences(path=path), "", "{user}{time} {item} {item}x {item}y"),
}
NUMBERED = [name for name in FORMATS if name not in ("pairs", "lists")]
DELIMITED = [name for name in NUMBERED if name not in ("jsonl", "reviews")]
BINARY_SAFE = [name for name in FORMATS if name != "ratings.dat"]  # latin-1 has a letter for every byte


@pytest.fixture(params=FORMATS)
def kind(request):
    return request.param


def written(folder, kind, text, change=None):
    """The dataset of a file with this text, and the file."""
    name, dataset, *_ = FORMATS[kind]
    path = folder / name
    data = text.encode() if isinstance(text, str) else text
    path.write_bytes(change(data) if change else data)
    return dataset(path), path


def whole(kind):
    _, _, header, line = FORMATS[kind]
    return header + lines(line)


def fault(dataset):
    with pytest.raises(DataError) as caught:
        dataset.files() and dataset.read()
    return caught.value


def events_of(dataset):
    return as_texts(dataset.read())


def broken(kind, bad, row=4):
    """The text with the event of that row replaced, and the line where it stands."""
    _, _, header, line = FORMATS[kind]
    rows = lines(line).splitlines()
    rows[row] = bad
    return header + "\n".join(rows) + "\n", row + 1 + header.count("\n")


def test_a_sound_file_is_read_whole(tmp_path, kind):
    events = events_of(written(tmp_path, kind, whole(kind))[0])

    if kind == "lists":
        assert 30 == events.height
    else:
        assert [(u, i) for u, i, _, _ in EVENTS] == events.select("user", "item").rows()
    if kind in NUMBERED:
        assert [(r, t) for _, _, r, t in EVENTS] == events.select("rating", "timestamp").rows()


@pytest.mark.parametrize(
    "change",
    [
        lambda data: data.replace(b"\n", b"\r\n"),
        lambda data: data.rstrip(b"\n"),
        lambda data: data.replace(b"\n", b"\n\n"),
        lambda data: b"\xef\xbb\xbf" + data,
        gzip.compress,
    ],
    ids=["windows-line-ends", "no-last-line-end", "blank-lines", "byte-order-mark", "gzip"],
)
def test_spellings_of_one_file_read_the_same(tmp_path, kind, change):
    if kind == "ratings.csv" and change(b"\n") == b"\n\n":
        return  # its header has to be the first line, and it is
    plain = events_of(written(tmp_path, kind, whole(kind))[0])

    assert plain.equals(events_of(written(tmp_path, kind, whole(kind), change)[0]))


def test_small_blocks_read_the_same(tmp_path, kind, monkeypatch):
    plain = events_of(written(tmp_path, kind, whole(kind))[0])
    monkeypatch.setattr(_blocks, "BLOCK_BYTES", 80)

    assert plain.equals(events_of(written(tmp_path, kind, whole(kind))[0]))


def test_an_empty_file(tmp_path, kind):
    dataset, path = written(tmp_path, kind, "")

    assert f"{path}: is empty" == str(fault(dataset))


def test_a_file_of_blank_lines(tmp_path, kind):
    assert fault(written(tmp_path, kind, "\n\n")[0]).message


def test_a_header_and_nothing_else(tmp_path):
    for kind in ("atomic", "ratings.csv", "csv", "tsv"):
        assert "holds no rows, only a header" in fault(written(tmp_path, kind, FORMATS[kind][2])[0]).message
        (tmp_path / FORMATS[kind][0]).unlink()


def test_a_missing_file(tmp_path, kind):
    error = fault(FORMATS[kind][1](tmp_path / FORMATS[kind][0]))

    assert error.hint
    assert str(tmp_path) in str(error)


def test_a_folder_instead_of_a_file(tmp_path, kind):
    path = tmp_path / FORMATS[kind][0]
    path.mkdir()

    assert str(tmp_path) in str(fault(FORMATS[kind][1](path)))


def test_a_file_instead_of_a_folder(tmp_path):
    (tmp_path / "u.data").write_text(whole("u.data"))

    assert "is a file" in fault(MovieLens(path=tmp_path / "u.data")).message


@pytest.mark.parametrize("kind", BINARY_SAFE)
def test_text_that_is_not_utf_8(tmp_path, kind):
    text, line = broken(kind, "STRANGE")
    dataset, path = written(tmp_path, kind, text, lambda data: data.replace(b"STRANGE", b"\xff\xfe\x80"))

    error = fault(dataset)

    assert f"{path}:{line}: is not UTF-8 text (byte 0xff)" == error.message
    assert "iconv" in error.hint


def test_gzip_cut_in_the_middle(tmp_path, kind):
    _, _, header, line = FORMATS[kind]
    many = [(f"{n * 7919 % 10007}", str(n * n % 997 + 6), n % 5, n) for n in range(3000)]
    text = header + lines(line, many)
    dataset, path = written(tmp_path, kind, text, lambda data: gzip.compress(data)[: len(gzip.compress(data)) // 2])

    error = fault(dataset)

    assert str(path) in error.message
    assert "gzip data breaks off" in error.message
    assert "fetch it again" in error.hint


def test_gzip_with_a_damaged_checksum(tmp_path, kind):
    def change(data):
        packed = bytearray(gzip.compress(data))
        packed[-5] ^= 1
        return bytes(packed)

    assert "damaged" in fault(written(tmp_path, kind, whole(kind), change)[0]).message


@pytest.mark.parametrize("block", [1 << 20, 60])
@pytest.mark.parametrize("kind", DELIMITED)
@pytest.mark.parametrize("fields", [3, 5])
def test_a_line_with_another_count_of_fields(tmp_path, kind, fields, block, monkeypatch):
    monkeypatch.setattr(_blocks, "BLOCK_BYTES", block)
    separator = FORMATS[kind][3].split("{item}")[1].strip('"').split("{")[0]
    text, line = broken(kind, separator.join(["1"] * fields))
    dataset, path = written(tmp_path, kind, text)

    error = fault(dataset)

    assert error.message.startswith(f"{path}:{line}: {fields} fields, where 4 are expected (")
    assert repr(separator) in error.hint


@pytest.mark.parametrize("kind", DELIMITED)
@pytest.mark.parametrize(("number", "name"), [(2, "rating"), (3, "timestamp")])
def test_a_number_that_is_none(tmp_path, kind, number, name):
    separator = FORMATS[kind][3].split("{item}")[1].strip('"').split("{")[0]
    fields = ["7", "1", "3", "5"]
    fields[number] = "x3"
    text, line = broken(kind, separator.join(fields))
    dataset, path = written(tmp_path, kind, text)

    message = fault(dataset).message

    assert message.startswith(f"{path}:{line}: 'x3' is no number")
    assert message.endswith(f"holds the {name}")


@pytest.mark.parametrize("kind", DELIMITED)
def test_empty_fields_are_left_out_by_a_counted_rule(tmp_path, kind):
    _, _, header, line = FORMATS[kind]
    rows = [("", "1", 3, 1), ("7", "", 3, 1), ("7", "1", 3, ""), ("7", "9", "", 99), ("7", "9", 3, "nan")]
    dataset, _ = written(tmp_path, kind, header + lines(line, EVENTS + rows))

    facts = prepare(dataset.read(), Filter(), Split(), 0).facts

    expected = {"rows without a user": 1, "rows without an item": 1, "rows without a timestamp": 2}
    assert (expected, 1) == (facts["dropped"], facts["unrated_events"])


def test_duplicate_events_are_a_counted_step(tmp_path, kind):
    if kind == "lists":
        text = "7 1 2 3 1 4\n8 1 2 2 3 4\n"
    else:
        text = whole(kind) + "\n".join(lines(FORMATS[kind][3]).splitlines()[:2]) + "\n"
    dataset, _ = written(tmp_path, kind, text)

    steps = {step.name: step.rows for step in prepare(dataset.read(), Filter(), Split(), 0).steps}

    assert (10, 8) == (steps["read"], steps["duplicates"]) if kind == "lists" else (12, 10)


def test_users_with_one_item_are_counted(tmp_path, kind):
    text = whole(kind) + lines(FORMATS[kind][3], [("9", "1", 3, 1)])
    if kind == "lists":
        text = "7 1 2 3 4 5\n8 1 2 3 4 5\n9 1\n"
    dataset, _ = written(tmp_path, kind, text)

    facts = prepare(dataset.read(), Filter(), Split(), 0).facts

    assert (3, 1) == (facts["counts"]["users"], facts["split"]["users_too_short"])


@pytest.mark.parametrize("kind", ["jsonl", "reviews"])
@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ('{"user": "a", "item"', "is not JSON"),
        ("{'reviewerID': 'a', 'asin': 'b'}", "is not JSON"),
        ('["a", "b"]', "is JSON, but no object"),
        ("3", "is JSON, but no object"),
        ('{"ITEM": ["p"]}', "'ITEM' holds [\"p\"], and the item must be one value"),
        ('{"ITEM": true}', "'ITEM' holds true, and the item must be one value"),
        ('{"RATING": "good"}', "'good' is no number, and 'RATING' holds the rating"),
        ('{"RATING": {"stars": 3}}', "and the rating must be one value"),
    ],
)
def test_malformed_json_lines(tmp_path, kind, bad, message):
    names = {"ITEM": "item", "RATING": "rating"} if kind == "jsonl" else {"ITEM": "asin", "RATING": "overall"}
    for word, name in names.items():
        bad, message = bad.replace(word, name), message.replace(word, name)
    text, line = broken(kind, bad)
    dataset, path = written(tmp_path, kind, text)

    error = fault(dataset)

    assert error.message.startswith(f"{path}:{line}: ")
    assert message in error.message


@pytest.mark.parametrize("kind", ["jsonl", "reviews"])
def test_missing_json_fields_are_left_out_by_a_counted_rule(tmp_path, kind):
    user, item = ("user", "item") if kind == "jsonl" else ("reviewerID", "asin")
    text = whole(kind) + f'{{"{user}": "7"}}\n{{"{item}": null, "{user}": "7"}}\n{{"{item}": "1"}}\n'
    dataset, _ = written(tmp_path, kind, text)

    dropped = prepare(dataset.read(), Filter(), Split(), 0).facts["dropped"]

    assert {"rows without a user": 1, "rows without an item": 2} == dropped


@pytest.mark.parametrize(
    ("kind", "header", "message"),
    [
        ("atomic", "user_id\titem_id", "does not give name:type"),
        ("atomic", "user_id:token\tthing:token", "has no column 'item_id', just user_id, thing"),
        ("atomic", "a:token\tb:token", "has no column 'user_id' and no column 'item_id', just a, b"),
        ("ratings.csv", "user,item,rating,timestamp", "the header is 'user,item,rating,timestamp'"),
        ("csv", "who,item,rating,time", "has no column 'user' (user), just 'who', 'item', 'rating', 'time'"),
        ("csv", "user,item", "has no column 'time' (timestamp) and no column 'rating' (rating)"),
        ("csv", "user,item,rating,time,time", "the header names 'time' twice"),
        ("tsv", "user,item,rating,time", "has no column 'user' (user)"),
        ("jsonl", '{"who": "a"}', "has no column 'user' (user)"),
        ("reviews", '{"asin": "a", "rating": 1}', "has no field 'user_id' or 'reviewerID' and no field 'timestamp' or"),
    ],
)
def test_missing_columns_are_named_with_those_that_are_there(tmp_path, kind, header, message):
    dataset, path = written(tmp_path, kind, header + "\n" + lines(FORMATS[kind][3]))

    error = fault(dataset)

    assert error.message.startswith(f"{path}:1: ")
    assert message in error.message


def test_quotes_that_do_not_match(tmp_path):
    text, line = broken("csv", '7,"1,3,5')
    dataset, path = written(tmp_path, "csv", text)

    error = fault(dataset)

    assert error.message.startswith(f"{path}:{line}: the quotes of this line do not match")


def test_a_quoted_field_that_never_ends_is_found_early(tmp_path, monkeypatch):
    monkeypatch.setattr(_blocks, "BLOCK_BYTES", 50)
    monkeypatch.setattr(_blocks, "LONGEST_RECORD", 200)
    text, _ = broken("csv", '7,"1,3,5', row=0)
    dataset, _ = written(tmp_path, "csv", text + lines(FORMATS["csv"][3]).replace('"', "") * 20)

    assert "never ends" in fault(dataset).message


def test_lines_inside_quotes_belong_to_the_field(tmp_path, monkeypatch):
    monkeypatch.setattr(_blocks, "BLOCK_BYTES", 40)
    rows = [("7", 'a\n""b"",\n', 3, t) for t in range(20)]
    dataset, path = written(tmp_path, "csv", FORMATS["csv"][2] + lines(FORMATS["csv"][3], rows))

    assert ['a\n"b",\n'] * 20 == events_of(dataset)["item"].to_list()

    dataset, _ = written(tmp_path, "csv", FORMATS["csv"][2] + lines(FORMATS["csv"][3], rows) + "7,x,bad,3\n")
    assert f"{path}:62: 'bad' is no number" in fault(dataset).message


SURROGATE = "\ud800".encode("utf-8", "surrogatepass")


@pytest.mark.parametrize("kind", BINARY_SAFE)
def test_a_lone_surrogate_in_the_bytes(tmp_path, kind):
    text, line = broken(kind, "STRANGE")
    dataset, path = written(tmp_path, kind, text, lambda data: data.replace(b"STRANGE", SURROGATE))

    assert f"{path}:{line}: is not UTF-8 text (byte 0xed)" == fault(dataset).message


@pytest.mark.parametrize("kind", ["jsonl", "reviews"])
@pytest.mark.parametrize(
    ("value", "message"),
    [
        (r'"\ud800"', "holds half of a surrogate pair"),
        ("[" * 2000, "is nested more than 100 levels deep"),
        ("9" * 5000, "holds an integer of thousands of digits"),
        ("1" + "0" * 400, "number that is too large"),
    ],
)
def test_json_lines_that_hold_what_nothing_can_go_on_with(tmp_path, kind, value, message):
    text, line = broken(kind, FORMATS[kind][3].format(user="7", item="1", rating=value, time=5))
    dataset, path = written(tmp_path, kind, text)

    error = fault(dataset)

    assert error.message.startswith(f"{path}:{line}: ")
    assert message in error.message


@pytest.mark.parametrize("sign", ["\x85", "\u2028", "\u202e", "\ufeff"])
def test_rare_characters_in_an_id_are_part_of_it(tmp_path, kind, sign):
    dataset, _ = written(tmp_path, kind, whole(kind).replace("7", f"7{sign}b", 1))

    letters = sign.encode().decode("latin-1") if kind == "ratings.dat" else sign
    assert f"7{letters}b" == events_of(dataset)["user"][0].removesuffix("0" if kind == "lists" else "")


@pytest.mark.parametrize("kind", ["jsonl", "reviews"])
@pytest.mark.parametrize("byte", [0, 0x1F, 0x1B, 0x7F])
def test_control_characters_that_json_escapes_are_part_of_an_id(tmp_path, kind, byte):
    dataset, _ = written(tmp_path, kind, whole(kind).replace("7", f"7\\u{byte:04x}b", 1))

    assert f"7{chr(byte)}b" == events_of(dataset)["user"][0]


@pytest.mark.parametrize("kind", ["csv", "tsv"])
def test_a_carriage_return_in_a_header(tmp_path, kind):
    dataset, path = written(tmp_path, kind, whole(kind).replace("user", "us\rer", 1))

    error = fault(dataset)

    assert (f"{path}:1: a carriage return stands inside this line", True) == (error.message, "\\r\\n" in error.hint)


@pytest.mark.parametrize("kind", ["csv", "tsv"])
def test_a_field_longer_than_the_csv_module_reads(tmp_path, kind):
    text = whole(kind)
    dataset, path = written(tmp_path, kind, text.replace("user", "u" * 200_000, 1))

    assert fault(dataset).message.startswith(f"{path}:1: the header cannot be read: field larger than")


@pytest.mark.parametrize("place", range(3))
def test_a_parquet_file_cut_or_changed_anywhere(tmp_path, place):
    rng = random.Random(place)
    path = tmp_path / "t.parquet"
    rows = [("u" + str(n % 7), str(n % 5), n) for n in range(200)]
    pl.DataFrame(rows, schema=["user", "item", "time"], orient="row").write_parquet(path, compression="uncompressed")
    sound = path.read_bytes()
    for _ in range(60):
        data = bytearray(sound)
        for _ in range(rng.choice([1, 3])):
            data[rng.randrange(max(0, len(data) - rng.choice([400, len(data)])), len(data))] = rng.randrange(256)
        path.write_bytes(bytes(data[: rng.choice([len(data)] * 5 + [rng.randrange(len(data))])]))
        try:
            Table(path=str(path), timestamp="time").read()
        except DataError as error:
            assert str(path) in error.message  # noqa: PT017 -- where it fails is part of the property


@pytest.mark.parametrize("name", ["a[1].parquet", "a*.parquet", "b?.parquet", "user=1.parquet"])
def test_a_parquet_file_whose_name_looks_like_a_pattern(tmp_path, name):
    path = tmp_path / name
    pl.DataFrame(EVENTS, schema=["user", "item", "rating", "time"], orient="row").write_parquet(path)
    pl.DataFrame({"user": ["x"], "item": ["y"]}).write_parquet(tmp_path / "a1.parquet")

    assert [(u, i) for u, i, _, _ in EVENTS] == as_texts(Table(path=str(path)).read()).select("user", "item").rows()


@pytest.mark.parametrize(
    "make", [os.mkfifo, lambda path: path.symlink_to("/dev/zero"), lambda path: path.symlink_to(path)]
)
def test_what_is_no_file(tmp_path, make):
    path = tmp_path / "t.csv"
    make(path)

    assert fault(Table(path=str(path))).message.startswith(f"{path}: ")


def test_a_path_that_is_too_long(tmp_path):
    assert "cannot be opened: File name too long" in fault(Table(path=str(tmp_path / ("a" * 5000)))).message
