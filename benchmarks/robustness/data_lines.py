"""Data files of every format that a recipe can name, nearly right: changed in fields, lines, quotes and bytes.

Each is read as a run reads it: the dataset's `files` and `read`, then filters and splits; item files likewise.
"""

import gzip
import io
import json

import polars as pl
from harness import Fuzz, main

from lwa_core.data import prepare
from lwa_core.data.sections import Filter, Split
from lwa_core.errors import DataError
from lwa_core.text.reading import read_texts
from lwa_plugins.datasets._items import read_json_items
from lwa_plugins.datasets.atomic import Atomic
from lwa_plugins.datasets.movielens import MovieLens
from lwa_plugins.datasets.reviews import Reviews
from lwa_plugins.datasets.sequences import Sequences
from lwa_plugins.datasets.table import Table
from lwa_plugins.recommenders._item_files import read_attributes

ODD = [
    *(
        "",
        " ",
        "0",
        "-1",
        "07",
        "7.0",
        "1e400",
        "nan",
        "NaN",
        "inf",
        "NULL",
        "null",
        "None",
        "true",
        "9" * 25,
        "9" * 5000,
    ),
    *("\x00", "\x1f", "\x1b[31m", "\x07", "\r", "\x85", "\u2028", "\u202e", "é", "𝔘", "\ufeff", "\ud800", "\udcff"),
    *('"', '""', '"a', 'a"b', "'", "\\", "\\ud800", "\\ud83d\\ude00", "\t", ",", "::", "|", ";", "a b", "x" * 3000),
    *(
        "[",
        "]",
        "{",
        "}",
        "[" * 200,
        '{"a":' * 150,
        "[1,2]",
        '{"a": 1}',
        "2020-01-01",
        "12:00",
        "1.5e3",
        "+5",
        "٣",
        "0x1f",
    ),
]
HEADERS = {",": ["user", "item", "rating", "time"], "\t": ["user", "item", "rating", "time"]}


def events(rng):
    users = [rng.choice(["1", "2", "3", "u4", "07", "é", "u 5"]) if rng.random() < 0.3 else str(n) for n in range(1, 5)]
    rows = []
    for user in users:
        for place in range(rng.randint(3, 6)):
            rows.append([user, str(rng.randint(1, 9)), str(rng.randint(1, 5)), str(1_400_000_000 + 60 * place)])
    return rows


def strange(rng, rows):
    """One to three cells of a table that are not what they should be."""
    for _ in range(rng.choice([0, 1, 1, 2, 3])):
        row = rng.choice(rows)
        if not row:
            continue
        place = rng.randrange(len(row))
        chance = rng.random()
        if chance < 0.6:
            row[place] = rng.choice(ODD)
        elif chance < 0.8:
            row[place] += rng.choice(ODD)
        elif chance < 0.9:
            del row[place]
        else:
            row.insert(place, rng.choice(ODD))
    return rows


def joined(rng, rows, between, quoted):
    def cell(text):
        return '"' + text.replace('"', '""') + '"' if quoted and rng.random() < 0.1 else text

    return rng.choice(["\n"] * 8 + ["\r\n", "\n\n"]).join(between.join(map(cell, row)) for row in rows) + "\n"


def objects(rng, names):
    """JSON lines, with odd values of every kind."""
    lines = []
    for user, item, rating, when in events(rng):
        record = dict(zip(names, [user, item, int(rating), int(when)], strict=True))
        lines.append(record)
    for _ in range(rng.choice([0, 1, 1, 2])):
        record = rng.choice(lines)
        if record:
            key = rng.choice(list(record))
            record[key] = odd_json(rng)
            if rng.random() < 0.15:
                record[rng.choice(ODD)] = record.pop(key)
    return "\n".join(json.dumps(line, ensure_ascii=rng.random() < 0.5) for line in lines) + "\n"


def odd_json(rng, depth=0):
    chance = rng.random()
    if chance < 0.5:
        return rng.choice(ODD)
    if chance < 0.7:
        return rng.choice([None, True, 0, -1, 1.5, 2**70, float("nan"), float("inf"), 1e308, 10**400])
    if depth > 3:
        return []
    if chance < 0.85:
        return [odd_json(rng, depth + 1) for _ in range(rng.randint(0, 3))]
    return {rng.choice(ODD): odd_json(rng, depth + 1) for _ in range(rng.randint(0, 2))}


def table(rng):
    between = rng.choice([",", "\t", ";"])
    rows = [["user", "item", "rating", "time"], *events(rng)]
    return f"t{rng.choice(['.csv', '.tsv', '.txt'])}", joined(rng, strange(rng, rows), between, True)


def atomic(rng):
    header = ["user_id:token", "item_id:token", "rating:float", "timestamp:float"]
    return "a.inter", joined(rng, strange(rng, [header, *events(rng)]), "\t", False)


def atomic_items(rng):
    rows = [["item_id:token", "title:token_seq", "class:token_seq"], *([str(n), f"T {n}", "a b"] for n in range(1, 9))]
    return "a.item", joined(rng, strange(rng, rows), "\t", False)


def movielens(rng):
    name, between = rng.choice([("u.data", "\t"), ("ratings.dat", "::"), ("ratings.csv", ",")])
    head = [["userId", "movieId", "rating", "timestamp"]] if name == "ratings.csv" else []
    return name, joined(rng, strange(rng, [*head, *events(rng)]), between, name == "ratings.csv")


def movies(rng):
    name, between = rng.choice([("u.item", "|"), ("movies.dat", "::"), ("movies.csv", ",")])
    head = [["movieId", "title", "genres"]] if name == "movies.csv" else []
    width = 24 if name == "u.item" else 3
    rows = [[str(n), f"T {n} (1995)", *["0"] * (width - 2)] for n in range(1, 9)]
    return name, joined(rng, strange(rng, [*head, *rows]), between, name == "movies.csv")


def reviews(rng):
    names = rng.choice(
        [
            ("reviewerID", "asin", "overall", "unixReviewTime"),
            ("user_id", "parent_asin", "rating", "timestamp"),
        ]
    )
    return "r.json", objects(rng, names)


def metadata(rng):
    lines = [{"asin": str(n), "title": f"T {n}", "categories": [["A", "B"], ["C"]]} for n in range(1, 9)]
    for _ in range(rng.choice([0, 1, 2])):
        record = rng.choice(lines)
        record[rng.choice(["asin", "title", "categories"])] = odd_json(rng)
    return "m.json", "\n".join(map(json.dumps, lines)) + "\n"


def json_table(rng):
    return rng.choice(["t.json", "t.jsonl", "t.ndjson"]), objects(rng, ("user", "item", "rating", "time"))


def pairs(rng):
    return "p.txt", joined(rng, strange(rng, [row[:2] for row in events(rng)]), rng.choice([" ", "\t"]), False)


def lists(rng):
    rows = [[str(user), *(str(rng.randint(1, 9)) for _ in range(rng.randint(3, 7)))] for user in range(1, 5)]
    return "l.txt", joined(rng, strange(rng, rows), " ", False)


def item_map(rng):
    return "map.txt", joined(rng, strange(rng, [[str(n), str(n + 1)] for n in range(1, 9)]), " ", False)


def titles(rng):
    told = {str(n): rng.choice([f"T {n}", {"title": f"T {n}", "categories": ["a"]}]) for n in range(1, 9)}
    for _ in range(rng.choice([0, 1, 2])):
        told[rng.choice([*map(str, range(1, 9)), rng.choice(ODD)])] = odd_json(rng)
    return "titles.json", json.dumps(told, indent=rng.choice([None, 1]))


def attributes(rng):
    told = {str(n): [1, "b"] for n in range(1, 9)}
    for _ in range(rng.choice([0, 1, 2])):
        told[rng.choice([*map(str, range(1, 9)), rng.choice(ODD)])] = odd_json(rng)
    return "attr.json", json.dumps(told, indent=rng.choice([None, 1]))


def texts(rng):
    if rng.random() < 0.5:
        rows = [["text", "label"], *([f"a text {n}", "yes"] for n in range(12))]
        return rng.choice(["x.csv", "x.tsv"]), joined(rng, strange(rng, rows), rng.choice(",\t"), True)
    lines = [{"text": f"a text {n}", "label": rng.choice(["yes", 1])} for n in range(12)]
    for _ in range(rng.choice([0, 1, 2])):
        rng.choice(lines)[rng.choice(["text", "label"])] = odd_json(rng)
    return "x.jsonl", "\n".join(map(json.dumps, lines)) + "\n"


def parquet(rng):
    rows = events(rng)
    columns = dict(zip(("user", "item", "rating", "time"), map(list, zip(*rows, strict=True)), strict=True))
    frame = pl.DataFrame(columns)
    for name in ("user", "item"):
        kind = rng.choice([pl.String, pl.Categorical, pl.Binary, pl.String, pl.String])
        frame = frame.with_columns(pl.col(name).cast(kind, strict=False))
    frame = frame.with_columns(pl.col("rating", "time").cast(rng.choice([pl.Int64, pl.Float64, pl.UInt64, pl.String])))
    if rng.random() < 0.2:
        frame = frame.with_columns(pl.from_epoch(pl.col("time").cast(pl.Int64, strict=False)))
    if rng.random() < 0.1:
        frame = frame.with_columns(pl.concat_list("item"))
    if rng.random() < 0.1:
        frame = frame.rename({rng.choice(frame.columns): "x"})
    file = io.BytesIO()
    frame.write_parquet(file, compression=rng.choice(["uncompressed", "zstd", "snappy", "gzip"]))
    return "t.parquet", file.getvalue()


KINDS = {
    kind.__name__: kind
    for kind in (
        *(table, atomic, atomic_items, movielens, movies, reviews, metadata, json_table),
        *(pairs, lists, item_map, titles, attributes, texts, parquet),
    )
}


def bytes_of(text):
    """A lone surrogate as the three bytes that a careless writer makes of it."""
    return text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text


def damaged(rng, data):
    """A byte changed, added, lost or cut off, below whatever the format is."""
    if not data or rng.random() < 0.75:
        return data
    if rng.random() < 0.2:
        data = gzip.compress(data, mtime=0)
    place, strange = rng.randrange(len(data)), bytes([rng.randrange(256)])
    ways = [
        data[:place] + strange + data[place:],
        data[:place] + strange + data[place + 1 :],
        data[:place],
        data[:place] + data[place + rng.randint(1, 40) :],
        data[:place] + data[: rng.randint(1, 60)] + data[place:],
        data,
    ]
    return rng.choice(ways)


def make(rng):
    kind = rng.choice(list(KINDS))
    name, text = KINDS[kind](rng)
    data = damaged(rng, bytes_of(text))
    lines = text.count(b"\n" if isinstance(text, bytes) else "\n") if kind != "parquet" else 18
    return f"{kind}/{name}\n".encode() + data, max(1, lines)


PAIRS = "".join(f"{user} {item}\n" for user in range(1, 6) for item in range(1, 9))
INTER = "user_id:token\titem_id:token\n" + PAIRS.replace(" ", "\t")


REVIEWS = "".join(
    json.dumps({"reviewerID": str(user), "asin": str(item), "overall": 3, "unixReviewTime": item}) + "\n"
    for user in range(1, 6)
    for item in range(1, 9)
)


def beside(folder, name, text):
    (folder / name).write_text(text)
    return str(folder / name)


def pairs_with(folder, **more):
    return Sequences(path=beside(folder, "p.txt", PAIRS), **more)


NAMED = {"user": "user", "item": "item", "rating": "rating", "timestamp": "time"}
NUMBERED = json.dumps({str(n): f"T {n}" for n in range(1, 9)})
READERS = {
    "table": lambda path, _: [
        Table(path=path, separator="\t" if path.endswith(".tsv") else ",", **NAMED),
        Table(path=path),
    ],
    "json_table": lambda path, _: [Table(path=path, **NAMED), Table(path=path)],
    "parquet": lambda path, _: [Table(path=path, **NAMED), Table(path=path)],
    "atomic": lambda path, _: [Atomic(path=path)],
    "atomic_items": lambda path, folder: [
        Atomic(path=beside(folder, "a.inter", INTER)),
        pairs_with(folder, titles=path),
    ],
    "movielens": lambda _, folder: [MovieLens(path=str(folder))],
    "movies": lambda path, folder: [pairs_with(folder, titles=path)],
    "reviews": lambda path, _: [Reviews(path=path)],
    "metadata": lambda path, folder: [Reviews(path=beside(folder, "r.json", REVIEWS), metadata=path)],
    "pairs": lambda path, _: [Sequences(path=path), Sequences(path=path, form="pairs")],
    "lists": lambda path, _: [Sequences(path=path), Sequences(path=path, form="lists")],
    "item_map": lambda path, folder: [
        pairs_with(folder, titles=beside(folder, "titles.json", NUMBERED), item_map=path)
    ],
    "titles": lambda path, folder: [pairs_with(folder, titles=path)],
    "attributes": lambda path, folder: [pairs_with(folder, attributes=path)],
}
"""Kind -> the datasets that read a file of it in a folder."""


def attempt(made, folder):
    head, _, data = made.partition(b"\n")
    kind, _, name = head.decode("utf-8", "replace").partition("/")
    if kind not in KINDS or not name or "/" in name:
        return "not an input"
    for old in folder.iterdir():
        old.unlink()
    file = folder / name
    file.write_bytes(data)
    try:
        if kind == "texts":
            return f"{kind}: {'accepted' if read_texts(file, 'text', 'label') else ''}"
        if kind == "attributes":
            read_attributes(file)
        if kind == "titles":
            read_json_items(file)
        readings = [(source, source.files() and source.read()) for source in READERS[kind](str(file), folder)]
    except DataError as error:
        if error.file is None:
            raise AssertionError(f"no file in {error.message!r}") from error
        return f"{kind}: {'line' if error.line is not None else 'file'}"
    told = "accepted"
    for _, found in readings:
        try:
            prepared = prepare(found, Filter(), Split(), 0)
            json.dumps(prepared.catalogue.titles, ensure_ascii=False).encode()
        except DataError:
            told = "not enough"
    return f"{kind}: {told}"


FUZZ = Fuzz(make, attempt, "lines")

if __name__ == "__main__":
    main("data_lines", __doc__, 1_000_000)
