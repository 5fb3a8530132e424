"""Made-up interactions of any number: `generate.py FOLDER --events 50000000`, in one file or in `--parts`."""

import argparse
from pathlib import Path

import numpy as np
import polars as pl

BLOCK = 1_000_000
FIRST, SECONDS = 1_500_000_000, 100_000_000


def tables(events, users, items, text):
    """Blocks of `user, item, rating, timestamp`, in no order: users by lognormal activity, items by a Zipf law.

    Ids are whole numbers, or texts of about ten letters and digits.
    """
    setup = np.random.default_rng(0)
    active = np.cumsum(setup.lognormal(sigma=1.0, size=users))
    popular = np.cumsum(1.0 / np.arange(1, items + 1))
    names = [setup.permutation(count) + 1 for count in (users, items)]
    for block, begin in enumerate(range(0, events, BLOCK)):
        rng, rows = np.random.default_rng([1, block]), min(BLOCK, events - begin)
        drawn = [np.searchsorted(share, rng.random(rows) * share[-1]) for share in (active, popular)]
        columns = dict(
            zip(("user", "item"), (known[row] for known, row in zip(names, drawn, strict=True)), strict=True)
        )
        columns["rating"] = rng.integers(1, 11, rows) / 2
        columns["timestamp"] = FIRST + rng.integers(SECONDS, size=rows)
        table = pl.DataFrame(columns)
        if text:
            table = table.with_columns(
                pl.format("U{}X", pl.col("user") * 7919), pl.format("B{}", pl.col("item") * 7919)
            )
        yield table


def write_parts(folder, events, users, items, text, parts):
    """`events/part-00000.parquet` and so on in `folder`, of as many events each, as a job of several workers leaves."""
    (folder / "events").mkdir(parents=True, exist_ok=True)
    table = pl.concat(tables(events, users, items, text))
    for part in range(parts):
        rows = slice(events * part // parts, events * (part + 1) // parts)
        table[rows].write_parquet(folder / "events" / f"part-{part:05}.parquet")


def write(folder, events, users, items, text=False):
    """`events.csv` and `events.parquet` in `folder`."""
    import pyarrow.parquet as pq

    folder.mkdir(parents=True, exist_ok=True)
    writer = None
    with (folder / "events.csv").open("wb") as file:
        for block, table in enumerate(tables(events, users, items, text)):
            table.write_csv(file, include_header=block == 0)
            arrow = table.to_arrow()
            writer = writer or pq.ParquetWriter(folder / "events.parquet", arrow.schema)
            writer.write_table(arrow)
    writer.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--events", type=int, default=50_000_000)
    parser.add_argument("--users", type=int, help="as many as events / 100, where left out")
    parser.add_argument("--items", type=int, help="as many as events / 500, where left out")
    parser.add_argument("--text", action="store_true", help="ids that are no numbers")
    parser.add_argument("--parts", type=int, help="write a folder of so many Parquet files instead")
    asked = parser.parse_args()
    users, items = asked.users or asked.events // 100, asked.items or asked.events // 500
    if asked.parts:
        write_parts(asked.folder, asked.events, users, items, asked.text, asked.parts)
    else:
        write(asked.folder, asked.events, users, items, asked.text)
