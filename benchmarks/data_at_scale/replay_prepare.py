"""Read, filter, split and index one file, or a folder of Parquet, with RePlay.

`python replay_prepare.py FILE CORE pandas|polars`

Duplicates, for which RePlay has no filter, are those of the frame. Sequences, which it makes by a tokenizer of its own,
are not made.
"""

import json
import resource
import sys
import time

import pandas as pd
import polars as pl
from replay.preprocessing import LabelEncoder, LabelEncodingRule
from replay.preprocessing.filters import InteractionEntriesFilter
from replay.splitters import LastNSplitter

IDS = {"query_column": "user", "item_column": "item"}


def read(file, frames):
    csv = file.endswith(".csv")
    if frames == "polars":
        table = (pl.read_csv if csv else pl.read_parquet)(file).sort("timestamp", maintain_order=True)
        return table.unique(["user", "item"], keep="first", maintain_order=True)
    table = (pd.read_csv if csv else pd.read_parquet)(file).sort_values("timestamp", kind="stable")
    return table.drop_duplicates(["user", "item"])


if __name__ == "__main__":
    file, least, frames = sys.argv[1], int(sys.argv[2]), sys.argv[3]
    wall, cpu = time.perf_counter(), time.process_time()
    table = read(file, frames)
    table = InteractionEntriesFilter(**IDS, min_inter_per_user=least, min_inter_per_item=least).transform(table)
    count = pd.Series.nunique if frames == "pandas" else pl.Series.n_unique
    counts = {"users": int(count(table["user"])), "items": int(count(table["item"])), "events": len(table)}
    encoder = LabelEncoder([LabelEncodingRule("user"), LabelEncodingRule("item")])
    table = encoder.fit_transform(table)
    splitter = LastNSplitter(1, divide_column="user", **IDS)
    table, test = splitter.split(table)
    train, validation = splitter.split(table)
    took = {"wall_s": time.perf_counter() - wall, "cpu_s": time.process_time() - cpu}
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6
    print(json.dumps({**took, "peak_mb": peak, **counts}))
