"""Histories and requests that are nearly right, asked of a small model that looks at times and of one that does not.

By `lwa recommend` with `--history`, `--times` and `--input`, and from Python. An answer is a whole one: as many scores
as items, items of the catalogue alone, valid JSON without control characters.
"""

import json
import tempfile
from pathlib import Path

from click.testing import CliRunner
from harness import Fuzz, main

CHARACTERS = ["\0", "\x1b[31m", "\x07", "\r", "\n", "\u2028", "\u202e", "\x85", "é", "𝔘", "\ufeff", "\ud800", "\\ud800"]
TOKENS = [
    *(
        "1",
        "2",
        "3",
        "[",
        "]",
        "{",
        "}",
        '"',
        ",",
        ":",
        " ",
        "\\",
        "null",
        "true",
        "NaN",
        "Infinity",
        "-1",
        "1.5",
        "1e400",
    ),
    *(
        "history",
        '"history"',
        "times",
        "[1,2]",
        '{"history":[1,2]}',
        '["1","2"]',
        "9" * 30,
        "9" * 5000,
        "[" * 2000,
        "a" * 3000,
    ),
    *('{"a":' * 300, "1" + ",1" * 3000, "٣", "0x1f", "1_0", "+1", *CHARACTERS),
]
MODELS = {}
RUNNER = CliRunner()


def open_():
    """Two models of a few weights each, fitted on forty users."""
    import numpy as np
    import polars as pl
    import torch

    import lwa_core
    from lwa_core import api

    torch.set_num_threads(1)
    rng = np.random.default_rng(0)
    frame = pl.DataFrame(
        {"user": np.repeat(np.arange(40), 8), "item": rng.integers(0, 30, 320), "time": np.tile(np.arange(8), 40) * 60}
    )
    tiny = {"layers": 1, "width": 8, "heads": 1, "epochs": 1, "batch": 32}
    held = tempfile.mkdtemp(prefix="lwa-histories-")
    for name, more, timestamp in (("plain", {}, None), ("timed", {"times": True}, "time")):
        folder = Path(held) / name
        folder.mkdir()
        try:
            ranker = lwa_core.fit(frame, timestamp=timestamp, **tiny, **more)
        except lwa_core.LwaError as error:
            raise SystemExit(f"the model cannot be fitted: {error}") from error
        ranker.save(folder)
        MODELS[name] = (folder, ranker)
    loaded = {str(folder): ranker for folder, ranker in MODELS.values()}
    api.load = lambda path, *_, **__: loaded[str(path)]


def text(rng):
    return "".join(rng.choice(TOKENS) for _ in range(rng.randint(1, 6)))


def times(rng, count):
    found = [60 * place for place in range(count)]
    for _ in range(rng.choice([0, 0, 1, 2])):
        if found:
            found[rng.randrange(len(found))] = rng.choice(
                [None, True, "1", -1, 1e308, 10**30, 1.5, [1], 2**63, 10**400, 1_400_000_000_000]
            )
    return found + rng.choice([[]] * 5 + [[1], [10**12]])


def value(rng):
    """What a line holds: a history, mostly right, and what else somebody writes into it."""
    items = [rng.choice(["1", "2", 3, 4, "gone", "", "é"]) for _ in range(rng.choice([0, 1, 3, 8, 60]))]
    for _ in range(rng.choice([0, 0, 1, 2])):
        odd = rng.choice([None, True, 1.5, [], {}, [1], "9" * 400, 10**30, -5, rng.choice(CHARACTERS), "[red]x[/]"])
        items.insert(rng.randrange(len(items) + 1), odd)
    if rng.random() < 0.5:
        return items
    line = {"history": items, "times": times(rng, len(items))}
    for _ in range(rng.choice([0, 1, 2])):
        line[rng.choice(["id", "items", "scores", "times", "history", "é", *CHARACTERS])] = rng.choice(
            [1, "x", None, [[1]], {"a": {}}, 1e308, rng.choice(CHARACTERS), float("nan"), 10**400]
        )
    return line


def make(rng):
    way = rng.choice(["history", "input", "input", "python"])
    if way == "python" or (way == "input" and rng.random() < 0.6):
        body = "\n".join(json.dumps(value(rng), ensure_ascii=rng.random() < 0.5) for _ in range(rng.choice([1, 1, 3])))
        if way == "input" and rng.random() < 0.3:
            place = rng.randrange(len(body) + 1)
            body = body[:place] + rng.choice(TOKENS) + body[place + rng.choice([0, 1, 5]) :]
    else:
        body = text(rng)
    model = rng.choice(["plain", "timed"])
    k = rng.choice(["1", "3", "10", "1000", "9" * 25])
    return f"{way} {model} {k}\n{body}".encode("utf-8", "surrogatepass"), 1


def attempt(made, _):
    head, _, body = made.partition(b"\n")
    way, model, k = [*head.decode("ascii", "replace").split(" "), "", ""][:3]
    if way not in ("history", "input", "python") or model not in MODELS or not k.isdecimal():
        return "not an input"
    folder, ranker = MODELS[model]
    if way == "python":
        return from_python(ranker, body, int(k))
    if way == "input":
        return from_command(["--input", "-", "-k", k], folder, body)
    given = body.decode("utf-8", "surrogateescape").replace("\0", "")
    timed = ["--times", ",".join("1" for _ in given.split(","))[:200]] if model == "timed" else []
    return from_command(["--history", given, "-k", k, *timed, *(["--json"] if len(given) % 2 else [])], folder, None)


def from_python(ranker, body, k):
    told = "accepted"
    for line in body.decode("utf-8", "surrogatepass").split("\n"):
        try:
            asked = json.loads(line)
        except (ValueError, RecursionError):
            return "not an input"
        history = asked.get("history", []) if isinstance(asked, dict) else asked
        when = asked.get("times") if isinstance(asked, dict) else None
        answer = ranker.recommend(history, k, when)
        assert len(answer.items) == len(answer.scores)
        assert set(answer.items) <= set(ranker.catalogue.ids)
    return f"python: {told}"


def not_json(constant):
    raise AssertionError(f"{constant} is no JSON")


def from_command(arguments, folder, body):
    from lwa_core.cli import main as lwa

    done = RUNNER.invoke(lwa, ["recommend", str(folder), *arguments], input=body)
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    said = done.output
    if "lwa has a bug" in said:
        raise AssertionError(said[:300])
    assert not set(said) & {"\x1b", "\x07", "\r", "\0", "\u202e", "\u2028", "\x85"}, (
        f"control characters: {said[:200]!r}"
    )
    if done.exit_code == 0 and ("--input" in arguments or "--json" in arguments):
        for line in done.stdout.splitlines():
            answer = json.loads(line, parse_constant=not_json)
            assert len(answer["items"]) == len(answer["scores"])
    return f"command: exit {done.exit_code}"


FUZZ = Fuzz(make, attempt, "histories", open_)

if __name__ == "__main__":
    main("histories", __doc__, 100_000)
