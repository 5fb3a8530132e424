"""Files in the forms that others publish, made small here: a recipe that names them runs, and its split is theirs."""

import json

import numpy as np
import polars as pl
import pytest
from tiny_recipe import run

USERS, ITEMS = 40, 30

RECIPE = """\
name = "as-they-are"

{data}

[recommender]
use = "sequential"
layers = 2
width = 8
max_length = 12
epochs = 1
batch = 32

[[score]]
use = "block-influence"

[select]
use = "greedy"
keep = [1]

[[compress]]
use = "drop"

[evaluate]
bootstrap = 200
requests = 0
memory = false
k = [5]
"""


@pytest.fixture(scope="module")
def histories():
    """Each user's items, oldest first, by number."""
    rng = np.random.default_rng(0)
    return {user: rng.permutation(ITEMS)[: rng.integers(5, 12)].tolist() for user in range(USERS)}


def letter(folder, histories):
    """LETTER's and TIGER's `Instruments.inter.json`: {"user": [item, ...]}."""
    file = folder / "Instruments.inter.json"
    file.write_text(json.dumps({str(user): items for user, items in histories.items()}), encoding="utf-8")
    return f'[data]\nuse = "table"\npath = "{file}"'


def shards(folder, histories):
    """A folder of 40 Parquet parts, as Spark leaves it."""
    rows = [
        (user, item, 1_600_000_000 + 60 * place)
        for user, items in histories.items()
        for place, item in enumerate(items)
    ]
    parts = folder / "events"
    parts.mkdir()
    table = pl.DataFrame(rows, schema=["user_id", "item_id", "ts"], orient="row").sample(
        fraction=1.0, shuffle=True, seed=1
    )
    for number in range(40):
        part = table[number::40]
        part.write_parquet(parts / f"part-{number:05d}-c000.snappy.parquet", compression="snappy")
    (parts / "_SUCCESS").touch()
    return f'[data]\nuse = "table"\npath = "{parts}"\nuser = "user_id"\nitem = "item_id"\ntimestamp = "ts"'


def recbole(folder, histories):
    """RecBole's `.train.inter`, `.valid.inter` and `.test.inter`, one event a line."""
    paths = {"train": "d.train.inter", "validation": "d.valid.inter", "test": "d.test.inter"}
    lines = {part: ["user_id:token\titem_id:token\ttimestamp:float"] for part in paths}
    for user, items in histories.items():
        for place, item in enumerate(items):
            part = {len(items) - 1: "test", len(items) - 2: "validation"}.get(place, "train")
            lines[part].append(f"{user}\t{item}\t{1_600_000_000 + 60 * place}")
    for part, name in paths.items():
        (folder / name).write_text("\n".join(lines[part]) + "\n", encoding="utf-8")
    named = "\n".join(f'{part} = "{folder / name}"' for part, name in paths.items())
    return f'[data]\nuse = "ready-made-split"\ntimestamp = "timestamp"\n{named}'


@pytest.mark.parametrize("made", [letter, shards, recbole], ids=lambda made: made.__name__)
def test_they_run_and_every_user_is_tested_on_their_last_item(tmp_path, histories, made):
    folder, _ = run(tmp_path, tmp_path / "store", text=RECIPE.format(data=made(tmp_path, histories)), smoke_test=True)

    metrics = json.loads((folder / "metrics.json").read_text("utf-8"))
    counts = metrics["data"]["facts"]["counts"]
    assert (USERS, ITEMS, sum(map(len, histories.values()))) == (counts["users"], counts["items"], counts["events"])
    assert USERS == counts["test"] == counts["validation"] + counts["calibration"]
    assert {"teacher", "drop-1"} <= {model["name"] for model in metrics["models"]}
    assert metrics["data"]["test_items_sha256"] == expected_digest(histories)


def expected_digest(histories):
    """sha256 of the pairs of user and last item, by hand: users in the order of their numbers."""
    import hashlib

    text = "".join(f"{user}\t{items[-1]}\n" for user, items in sorted(histories.items()))
    return hashlib.sha256(text.encode()).hexdigest()
