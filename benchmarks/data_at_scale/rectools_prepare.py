"""Read, filter, split and index one file, or a folder of Parquet, with RecTools and pandas.

`python rectools_prepare.py FILE CORE`

RecTools has no filter: duplicates and k-core are those of pandas. Sequences, which it makes when a model is fitted, are
not made.
"""

import json
import resource
import sys
import time

import pandas as pd
from rectools import Columns
from rectools.dataset import Dataset, Interactions
from rectools.model_selection import LastNSplitter

NAMES = {"user": Columns.User, "item": Columns.Item, "rating": Columns.Weight, "timestamp": Columns.Datetime}


def core(table, least):
    while True:
        enough = table.groupby(Columns.User)[Columns.Item].transform("size") >= least
        enough &= table.groupby(Columns.Item)[Columns.User].transform("size") >= least
        if enough.all():
            return table
        table = table[enough]


if __name__ == "__main__":
    file, least = sys.argv[1], int(sys.argv[2])
    wall, cpu = time.perf_counter(), time.process_time()
    table = (pd.read_csv if file.endswith(".csv") else pd.read_parquet)(file).rename(columns=NAMES)
    table[Columns.Datetime] = pd.to_datetime(table[Columns.Datetime], unit="s")
    table = table.sort_values(Columns.Datetime, kind="stable").drop_duplicates([Columns.User, Columns.Item])
    table = core(table, least)
    counts = {"users": table[Columns.User].nunique(), "items": table[Columns.Item].nunique(), "events": len(table)}
    for _ in ("test", "validation"):
        ((train, held, _),) = LastNSplitter(
            1, filter_cold_users=False, filter_cold_items=False, filter_already_seen=False
        ).split(Interactions(table))
        table, last = table.iloc[train], table.iloc[held]
    dataset = Dataset.construct(table)
    took = {"wall_s": time.perf_counter() - wall, "cpu_s": time.process_time() - cpu}
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6
    print(json.dumps({**took, "peak_mb": peak, **counts}))
