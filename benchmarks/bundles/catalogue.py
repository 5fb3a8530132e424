"""A bundle of a large catalogue: how long it takes to open and to answer a request, with and without an index.

Everything is what a user gets: a network of `sequential` with made-up item vectors is exported, opened in a process
without torch, and asked for ten items, on one thread. Times are ratios to one pass over the item table (the maximum of
its numbers), which is what any exact search has to do, and to a plain product and partition in numpy.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

HERE = Path(__file__).parent
LENGTH = 20
QUERIES = 500
CLUSTERS = 2000
SHAPES = ("clustered", "low-rank")


def vectors(shape, items, width, rng):
    """Item vectors of mean square 1 (items, width)."""
    import numpy as np

    if shape == "clustered":
        centres = rng.standard_normal((CLUSTERS, width), dtype=np.float32)
        near = np.float32(0.3) * rng.standard_normal((items, width), dtype=np.float32)
        return centres[rng.integers(0, CLUSTERS, items)] + near
    mixed = rng.standard_normal((width // 2, width), dtype=np.float32) / np.float32((width // 2) ** 0.5)
    return rng.standard_normal((items, width // 2), dtype=np.float32) @ mixed


def export(folder, shape, items, width, layers, table):
    """Write the bundle; in how many seconds, and which index."""
    import msgspec
    import numpy as np
    import torch

    import lwa_core
    from lwa_core import Catalogue
    from lwa_core.pipeline.bundles import write_bundle
    from lwa_core.plugins.registry import Registry
    from lwa_core.recommendation.ranker import Ranker

    rng = np.random.default_rng(0)
    registry = Registry.discover()
    recommender = registry.find("recommender", "sequential").load()(
        layers=layers, width=width, heads=1, max_length=50, block="gated"
    )
    catalogue = Catalogue(tuple(f"item-{item:07d}" for item in rng.permutation(items)))
    torch.manual_seed(0)
    model = recommender.build(catalogue, lwa_core.Quiet()).eval()
    made = torch.from_numpy(vectors(shape, items, width, rng))
    with torch.no_grad():
        model.item_embedding.weight[-items:] = made
    ranker = Ranker(model, recommender, catalogue, "sequential", {})
    histories = [rng.integers(0, items, LENGTH).astype(np.int32) for _ in range(QUERIES)]
    exporter = registry.find("exporter", "onnx").load()(table=table)
    begin = time.perf_counter()
    served, _ = write_bundle(
        ranker, exporter, folder, lwa_core.Quiet(), popularity=rng.integers(1, 1000, items), histories=histories
    )
    seconds = time.perf_counter() - begin
    return {"export_s": seconds, "index": msgspec.to_builtins(served.described.index)}


def timed(call, rounds):
    """Median milliseconds of CPU time of this thread, and the least: other work on the machine counts in neither."""
    taken = []
    for number in range(rounds):
        begin = time.thread_time()
        call(number)
        taken.append(1e3 * (time.thread_time() - begin))
    return {"median_ms": statistics.median(taken), "least_ms": min(taken)}


def ask(folder, rounds):
    """What opening and asking take in this process, which never imports torch."""
    import attrs
    import faiss  # noqa: F401
    import numpy as np
    import onnxruntime  # noqa: F401

    import lwa_core
    from lwa_core.runtime.served import top

    opening = []
    for _ in range(3):
        begin, wall = time.process_time(), time.perf_counter()
        served = lwa_core.open_bundle(folder)
        opening.append((time.perf_counter() - wall, time.process_time() - begin))
    exact = attrs.evolve(served, nearest=None)
    ids, rng = served.ids, np.random.default_rng(1)
    drawn = [rng.integers(0, len(ids), LENGTH).astype(np.int32) for _ in range(rounds)]
    asked = [[ids[item] for item in each] for each in drawn]
    table = np.load(folder / "items.npy", mmap_mode="r")
    table.max()  # read once: what is timed is the memory, not the disk
    states = [exact.states([each])[0] for each in drawn]
    found = {
        "open": {"wall_s": min(each[0] for each in opening), "cpu_s": min(each[1] for each in opening)},
        "pass over the table": timed(lambda _: table.max(), min(rounds, 20)),
        "network": timed(lambda number: exact.states([drawn[number]]), rounds),
        "exact": timed(lambda number: exact.recommend(asked[number]), rounds),
        "torch": "torch" in sys.modules,
    }
    if exact.table.held is not None:
        held = exact.table.held
        found["product and partition"] = timed(
            lambda number: np.argpartition(held @ states[number], -10)[-10:], min(rounds, 20)
        )
        found["product and top"] = timed(lambda number: top(states[number][None] @ held.T, 10), min(rounds, 20))
    if served.nearest is not None:
        found["indexed"] = timed(lambda number: served.recommend(asked[number]), rounds)
        both = zip(served.recommend_many(asked), exact.recommend_many(asked), strict=True)
        assert not served.recommend(asked[0]).trace.exact
        found["recall"] = statistics.mean(len(set(a.items) & set(b.items)) / 10 for a, b in both)
    return found


def fresh(*words):
    """What a fresh process of this script prints."""
    done = subprocess.run([sys.executable, __file__, *map(str, words)], check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout)


def ratios(found):
    """Exact and indexed answers against one pass over the table, and against each other."""
    least = {name: said["least_ms"] for name, said in found.items() if isinstance(said, dict) and "least_ms" in said}
    made = {"exact / pass": least["exact"] / least["pass over the table"]}
    if "indexed" in least:
        made["exact / indexed"] = least["exact"] / least["indexed"]
    return made


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--items", type=int, default=1_000_000)
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--layers", type=int, default=2)
    parser.add_argument("--table", default="float32")
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--save", action="store_true", help="add the figures to results/")
    parser.add_argument("--ask", help=argparse.SUPPRESS)
    parser.add_argument("--export", nargs=2, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.export:
        folder, shape = asked.export
        print(json.dumps(export(Path(folder), shape, asked.items, asked.width, asked.layers, asked.table)))
        return
    if asked.ask:
        print(json.dumps(ask(Path(asked.ask), asked.rounds)))
        return
    options = [f"--{name}={getattr(asked, name)}" for name in ("items", "width", "layers", "table", "rounds")]
    told = {"command": " ".join(["benchmarks/bundles/catalogue.py", *options]), "python": platform.python_version()}
    for shape in SHAPES:
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch) / "bundle"
            told[shape] = {**fresh("--export", folder, shape, *options), **fresh("--ask", folder, *options)}
            told[shape]["ratios"] = ratios(told[shape])
        print(shape, json.dumps(told[shape], indent=2))
    if asked.save:
        file = HERE / "results" / f"{time.strftime('%Y-%m-%d-%H%M%S')}-catalogue-{asked.table}.json"
        file.write_text(json.dumps(told, indent=2) + "\n", "utf-8")


if __name__ == "__main__":
    main()
