"""A shipped bundle beside its torch teacher, end to end: time at two batches, memory, start, and what a request adds.

    python benchmarks/bundles/speed.py ml-1m            # 8 gated layers of width 64 -> 4 in 8 bits, 3,416 items
    python benchmarks/bundles/speed.py wide             # 12 layers of width 256 -> the same in 8 bits, 12,101 items

Weights are random: time and memory do not depend on them, and nothing is said of quality here. One thread; both answer
the same requests by turns in one process, and ratios are of medians, with the smallest and the largest over blocks.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import tempfile
import time
from pathlib import Path

import attrs
import numpy as np
import torch

from lwa_core import export_bundle, open_bundle
from lwa_core.data import Catalogue
from lwa_core.measuring.configurations import measure_configurations
from lwa_core.modeling.layers.layered import LayeredModel
from lwa_core.plugins.registry import Registry
from lwa_core.plugins.requirements import cpu_name
from lwa_core.recommendation.ranker import Ranker
from lwa_core.settings import unstructure
from lwa_core.types import Quiet

SHAPES = {
    "ml-1m": ({"layers": 8, "width": 64, "block": "gated", "max_length": 200}, 3416, 4),
    "ml-1m-50": ({"layers": 8, "width": 64, "block": "gated", "max_length": 50}, 3416, 4),
    "wide": ({"layers": 12, "width": 256, "block": "gated", "max_length": 50}, 12101, 12),
}
BLOCKS = 10


def ranker_of(settings, items):
    """A model with random weights."""
    recommender = Registry.discover().find("recommender", "sequential").load()(**settings)
    catalogue = Catalogue(ids=tuple(map(str, range(items))))
    torch.manual_seed(0)
    model = recommender.build(catalogue, Quiet()).eval()
    return Ranker(model, recommender, catalogue, "sequential", unstructure(recommender))


def cut(ranker, kept):
    """The first layers alone."""
    return attrs.evolve(ranker, model=LayeredModel(ranker.model).keep(tuple(range(kept))).model)


def alternate(calls, rounds):
    """Milliseconds of each call (calls, rounds), by turns."""
    table = np.zeros((len(calls), rounds))
    for column in range(-3, rounds):
        for row in np.roll(np.arange(len(calls)), column):
            begin = time.perf_counter_ns()
            calls[row](column)
            if column >= 0:
                table[row, column] = (time.perf_counter_ns() - begin) / 1e6
    return table


def ratio(own, other):
    """Median over median, with the range over blocks of consecutive rounds."""
    blocks = [
        float(np.median(a) / np.median(b))
        for a, b in zip(np.array_split(own, BLOCKS), np.array_split(other, BLOCKS), strict=True)
    ]
    return {
        "ratio": round(float(np.median(own) / np.median(other)), 3),
        "lowest": round(min(blocks), 3),
        "highest": round(max(blocks), 3),
    }


def beside(teacher, served, histories, batch, rounds):
    """Teacher and bundle by turns on the same requests, and the bare session with the product by the table."""

    def sent(column):
        return [histories[(column + place) % len(histories)] for place in range(batch)]

    ready = []
    for column in range(8):
        ids = np.array([list(map(int, each)) for each in sent(column)]) + served.described.special
        last = np.full(batch, ids.shape[1] - 1, dtype=np.int64)
        ready.append({"rows": served.table.embedded(ids), "last": last})

    def bare(column):
        return served.table.scores(served.network.run(None, ready[column % len(ready)])[0])

    times = alternate(
        [
            lambda column: teacher.recommend_many(sent(column), 10),
            lambda column: served.recommend_many(sent(column), 10),
            bare,
        ],
        rounds,
    )
    medians = [round(float(each), 3) for each in np.median(times, axis=1)]
    return {
        **dict(zip(("torch_ms", "bundle_ms", "bare_ms"), medians, strict=True)),
        "added_ms": round(float(np.median(times[1] - times[2])), 3),
        **ratio(times[0], times[1]),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("shape", choices=SHAPES)
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--weights", default="int8", choices=["float32", "int8", "int4"])
    parser.add_argument("--save", action="store_true")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    settings, items, kept = SHAPES[asked.shape]
    teacher = ranker_of(settings, items)
    rng = np.random.default_rng(0)
    length = settings["max_length"]
    histories = [list(map(str, rng.integers(0, items, length))) for _ in range(64)]
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "bundle"
        export_bundle(cut(teacher, kept), folder, weights=asked.weights, table="float32")
        served = open_bundle(folder)
        row = {"shape": asked.shape, "weights": asked.weights, "layers": [settings["layers"], kept], **settings}
        for batch, rounds in ((1, asked.rounds), (32, max(BLOCKS, asked.rounds // 10))):
            row[f"batch_{batch}"] = beside(teacher, served, histories, batch, rounds)
        requests = [{"history": each} for each in histories]
        row["fresh_process"] = measure_configurations({"bundle": folder}, requests, 1, Quiet())["bundle"]
    row |= {"cpu": cpu_name(), "python": platform.python_version(), "torch": torch.__version__}
    row["load"] = round(os.getloadavg()[0], 2)
    print(json.dumps(row))
    if asked.save:
        results = Path(__file__).parent / "results"
        results.mkdir(exist_ok=True)
        (results / f"{time.strftime('%Y-%m-%d')}-speed-{asked.shape}.json").write_text(json.dumps(row) + "\n")


if __name__ == "__main__":
    main()
