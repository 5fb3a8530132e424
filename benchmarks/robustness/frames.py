"""Frames of random columns, taken as `lwa_core.fit` takes them, beside a second reading of them in plain Python.

pandas and polars frames, Arrow tables and dicts of columns, with columns of every type that those have, names and
settings that are right or strange. What is taken in has to give the sequences that the plain values give; what holds no
events has to be refused.
"""

import json
import warnings
from pathlib import Path

import pandas as pd
import polars as pl
import pyarrow as pa
from frame_columns import FORMS, IDS_KINDS, KINDS, NO_COLUMNS, RATING_KINDS, TIME_KINDS, of_arrow, of_pandas, of_polars
from frame_reading import NotReadError, UnclearError, read
from harness import Fuzz, main

from lwa_core.api import _checked
from lwa_core.data import prepare, source_from_frame
from lwa_core.data.sections import Filter, Split
from lwa_core.errors import LwaError

CONTAINERS = ["polars", "lazy", "pandas", "arrow", "batch", "dict", "dict", "other"]
NAMES = ["", "é", "part", "*", "^.*$", "a.b", "user ", "\x00", "\ud800", "rated", "enough", "index", 0, None, True]
NAMES += [("a", "b"), 1.5]
LETTERS = "abcdefghijklmnopqrstuvwxyz"
BOUNDED = ("the split gives", "of two units", "is no second", "is no millisecond", "is no microsecond", "is no nano")
BOUNDED += ("nothing is left of", "cannot be told from the month", "is no time", "time_format")
"""What may be wrong with times and sizes, of which the second reading knows nothing."""


def roles(rng, plainly):
    """Each role's column: its name, kind and form."""
    asked = {"user": (IDS_KINDS, "user"), "item": ([*IDS_KINDS, "lists", "text lists"], "item")}
    if rng.random() < 0.6:
        asked["timestamp"] = (TIME_KINDS, "time")
    if rng.random() < 0.5:
        asked["rating"] = (RATING_KINDS, "stars")
    found = {}
    for role, (kinds, name) in asked.items():
        kind = rng.choice(kinds if plainly or rng.random() < 0.8 else list(KINDS))
        odd = not plainly and rng.random() < 0.06
        found[role] = [rng.choice(NAMES) if odd else name, kind, rng.choice(list(FORMS))]
    return found


def settings(rng, found, plainly):
    made = {"time_unit": "auto", "time_format": None, "duplicates": rng.choice(["first", "last", "all"])}
    made |= {"min_rating": None, "user_core": rng.choice([1, 1, 2, 3]), "item_core": rng.choice([1, 1, 2])}
    if "rating" in found and rng.random() < 0.5:
        made["min_rating"] = rng.choice([0, 1, 2.5, -1, 1e308])
    if rng.random() < 0.2:
        made["time_unit"] = rng.choice(["s", "ms", "us", "ns"])
    if found.get("timestamp", ["", ""])[1].endswith("n texts"):
        made["time_format"] = rng.choice([None, "%d.%m.%Y", "%m/%d/%Y"])
    if not plainly and rng.random() < 0.1:
        odd = ["%", "%Q", "", "\ud800", 5, True, None, [], {}, float("nan"), 10**400, -1, "first", "minutes", "s"]
        made[rng.choice(list(made))] = rng.choice(odd)
    return made


def make(rng):
    plainly = rng.random() < 0.6  # most of what is strange is refused, and then nothing is compared
    found = roles(rng, plainly)
    named = {role: name for role, (name, _, _) in found.items()}
    fault = ""
    if not plainly and rng.random() < 0.2:
        fault = rng.choice(["twice", "ragged", "none", "names"])
    if fault == "names":  # what is asked for is not what is there
        fault, named[rng.choice(list(named))] = "", rng.choice(["x", *NAMES, *named.values()])
    containers = CONTAINERS[:-1] if plainly else CONTAINERS
    head = {"container": rng.choice(containers), "columns": list(found.values()), "names": named}
    head |= {"settings": settings(rng, found, plainly), "fault": fault}
    usual = rng.choice([3, 4, 5] if plainly else [3, 5, 7, 12])
    strange = 0.01 if plainly else 0.04
    rows = [
        "".join(rng.choice(LETTERS if rng.random() < strange else LETTERS[:usual]) for _ in found)
        for _ in range(rng.choice([12, 20, 30, 40] if plainly else [0, 1, 2, 5, 9, 20, 30]))
    ]
    return "\n".join([json.dumps(head), *rows]).encode("utf-8", "surrogatepass"), 1


def plain(head, rows):
    """The values of each column."""
    found = []
    for place, (_, kind, _) in enumerate(head["columns"]):
        values = KINDS[kind].values
        found.append([values[LETTERS.index(row[place]) % len(values)] for row in rows])
    return found


def frame_of(head, values):
    """The frame itself. What a library does not build is no input."""
    container = head["container"]
    columns = [(tuple(n) if isinstance(n, list) else n, KINDS[kind], form) for n, kind, form in head["columns"]]
    if head["fault"] == "ragged" and container == "dict" and values[0]:
        values = [values[0][1:], *values[1:]]
    columns = [(name, kind, form, own) for (name, kind, form), own in zip(columns, values, strict=True)]
    if head["fault"] == "twice":
        columns.append(columns[0])
    if container == "other":
        return NO_COLUMNS[len(values[0]) % len(NO_COLUMNS)]
    if container == "dict":
        made = {name: FORMS[form](name, kind, own) for name, kind, form, own in columns}
        if head["fault"] == "none":
            made[columns[-1][0]] = NO_COLUMNS[len(values[0]) % len(NO_COLUMNS)]
        return made
    if container == "pandas":
        made = pd.concat([of_pandas(name, kind, own) for name, kind, _, own in columns], axis=1)
        made.columns = pd.Index([name for name, *_ in columns], tupleize_cols=False, dtype=object)
        return made
    if container in ("arrow", "batch"):
        library = pa.table if container == "arrow" else pa.record_batch
        return library([of_arrow(*one[:2], one[3]) for one in columns], [name for name, *_ in columns])
    frame = pl.DataFrame([of_polars(*one[:2], one[3]) for one in columns])
    assert frame.columns == [name for name, *_ in columns]  # polars names a column itself where it has no name
    return frame.lazy() if container == "lazy" else frame


def attempt(made, _):
    head, *rows = made.decode("utf-8", "surrogatepass").split("\n")
    try:
        head = json.loads(head)
        values = plain(head, [row for row in rows if len(row) == len(head["columns"])])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            frame = frame_of(head, values)
    except (pl.exceptions.PanicException, Exception):
        return "not an input"
    expected, why = expectation(head, values)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            data = taken(frame, head)
    except LwaError as error:
        sound = expected is not None and head["fault"] == "" and head["container"] != "other"
        if sound and usual(head) and not allowed(error.message):
            raise AssertionError(f"refused, and it is sound: {error.message}") from error
        return f"{head['container']}: refused"
    if why is not None:
        assert why == "", f"taken in, and it holds what is no event: {why}"
        return f"{head['container']}: accepted, not compared"
    compare(data, *expected)
    return f"{head['container']}: accepted"


def taken(frame, head):
    """As `lwa_core.fit` does it."""
    asked = head["settings"]
    kept = {name: asked[name] for name in ("duplicates", "user_core", "item_core")}
    filters = _checked(Filter, {**kept, **({} if asked["min_rating"] is None else {"min_rating": asked["min_rating"]})})
    names = {role: tuple(name) if isinstance(name, list) else name for role, name in head["names"].items()}
    times = {name: asked[name] for name in ("time_unit", "time_format")}
    return prepare(source_from_frame(frame, **names, **times), filters, Split(), 0)


def expectation(head, values):
    """What the second reading finds, and why it finds nothing: empty where it does not know."""
    by_name = {json.dumps(name): own for (name, *_), own in zip(head["columns"], values, strict=True)}
    named = {role: name for role, name in head["names"].items() if name is not None}
    if head["fault"] or len(by_name) < len(values) or any(json.dumps(name) not in by_name for name in named.values()):
        return None, ""
    if head["settings"]["time_format"] is not None:
        return None, ""
    try:
        return read({role: by_name[json.dumps(name)] for role, name in named.items()}, head["settings"]), None
    except UnclearError:
        return None, ""
    except NotReadError as error:
        return None, str(error)
    except Exception:  # settings that are none
        return None, ""


def usual(head):
    """Whether names and settings are such that a frame that is sound has to be taken in."""
    asked = head["settings"]
    return (
        all(isinstance(name, str) and name != "\ud800" for name in head["names"].values())
        and not UNTAKEN & {kind for _, kind, _ in head["columns"]}
        and all(NUMERIC & {*kind.split()} for name, kind, _ in head["columns"] if name == head["names"].get("rating"))
        and asked["duplicates"] in ("first", "last", "all")
        and asked["time_unit"] in ("auto", "s", "ms", "us", "ns")
        and all(type(asked[name]) is int and 0 < asked[name] < 9 for name in ("user_core", "item_core"))
        and (asked["min_rating"] is None or type(asked["min_rating"]) in (int, float))
    )


NUMERIC = {"decimal", *(f"{sort}{bits}" for sort in ("int", "uint", "float") for bits in (8, 16, 32, 64))}
UNTAKEN = {"days", "nothing", "sparse", "uint128"}
"""Kinds of which a frame need not be taken in, whatever its values."""


def allowed(message):
    return any(part in message for part in BOUNDED)


def compare(data, rows, valid, sequences):
    found = {
        user: [
            (data.catalogue.ids[data.items[place]], None if data.times is None else int(data.times[place]))
            for place in range(data.offsets[row], data.offsets[row + 1])
        ]
        for row, user in enumerate(data.user_ids)
    }
    said = {step.name: step for step in data.steps}
    assert said["read"].rows == rows, f"{said['read'].rows} rows read, of {rows}"
    assert said["valid"].rows == valid, f"{said['valid'].rows} valid rows, of {valid}"
    missing = {rule: count for rule, count in data.facts["dropped"].items() if rule != "rows without a rating"}
    assert sum(missing.values()) == rows - valid, f"{missing} dropped, where {rows - valid} are no events"
    assert found.keys() == sequences.keys(), f"users {sorted(found)}, not {sorted(sequences)}"
    for user, events in sequences.items():
        assert [item for item, _ in found[user]] == [item for item, _ in events], f"items of {user!r}"
        for (_, got), (_, wanted) in zip(found[user], events, strict=True):
            assert (got is None) == (wanted is None), "times or none"
            assert wanted is None or abs(got - wanted) <= 1, f"time {got}, not {float(wanted)}"
    counted = data.facts["counts"]
    assert counted["events"] == sum(map(len, sequences.values())), "the count of events"


FUZZ = Fuzz(make, attempt, "frames")

if __name__ == "__main__":
    main(Path(__file__).stem, __doc__, 100_000)
