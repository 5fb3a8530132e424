"""Peak memory of requests: many histories beside one batch of them, and a huge `k` beside a small one.

Each in a fresh process, which loads the model, makes all histories, and answers some or all of them. This process
imports nothing large: what a process has used counts in the `ru_maxrss` of those that it starts.
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).parent
HISTORIES, LENGTH, BATCH = 60_000, 50, 256
MANY, FEW = 10_000, 60
"""Items of the two models."""
CASES = {
    "one batch": (MANY, BATCH, 10),
    "all histories": (MANY, HISTORIES, 10),
    "k = 10 of 60 items": (FEW, 1, 10),
    "k = 1,000,000 of 60 items": (FEW, 1, 1_000_000),
}
"""What is asked -> items of the model, histories that are answered, and k."""


def fit(folder):
    """A small model of each catalogue, fitted for one epoch on made-up events."""
    import numpy as np
    import polars as pl

    import lwa_core

    rng = np.random.default_rng(0)
    for items in (MANY, FEW):
        users = np.repeat(np.arange(2 * items // 10 + 40), 20)
        drawn = np.concatenate([np.arange(items), rng.integers(items, size=len(users) - items)])
        frame = pl.DataFrame({"user": users, "item": rng.permutation(drawn)})
        model = lwa_core.fit(frame, layers=2, width=64, heads=2, epochs=1)
        model.save(folder / str(items))


def ask(folder, items, count, k):
    """What answering takes, in this process."""
    import numpy as np

    import lwa_core

    ranker = lwa_core.load(folder / str(items))
    ids = ranker.catalogue.ids
    rng, length = np.random.default_rng(1), LENGTH if items == MANY else 5
    # One after another: what is freed before the requests would hide some of what they take.
    histories = [[ids[place] for place in rng.integers(len(ids), size=length)] for _ in range(HISTORIES)]
    before, wall, cpu = peak(), time.perf_counter(), time.process_time()
    answers = ranker.recommend_many(histories[:count], k)
    took = {"wall_s": time.perf_counter() - wall, "cpu_s": time.process_time() - cpu}
    held = {"answers": len(answers), "items": len(answers[0].items), "answers_mb": sum(map(size, answers)) / 1e6}
    return {**took, "before_mb": before, "peak_mb": peak(), **held}


def size(answer):
    """Bytes of an answer that it shares with no other."""
    return sum(map(sys.getsizeof, (answer, answer.items, answer.scores, *answer.scores)))


def peak():
    """Highest resident size of this process so far, MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6


def fresh(*arguments):
    """What this script prints in a process of its own."""
    done = subprocess.run(
        [sys.executable, __file__, *map(str, arguments)], stdout=subprocess.PIPE, text=True, check=True
    )
    return done.stdout.splitlines()[-1] if done.stdout else ""


def compare(folder):
    """Every case three times, and how far the large ones lie above the small ones by their medians."""
    fresh("--fit", folder)
    rows = []
    for name in [*CASES] * 3:
        rows.append({"asked": name, **json.loads(fresh("--case", name, folder))})
        print(name, {key: round(value, 1) for key, value in rows[-1].items() if key != "asked"}, flush=True)
    one, many, small, large = (
        statistics.median(row["peak_mb"] for row in rows if row["asked"] == name) for name in CASES
    )
    return {"rows": rows, "histories_over_one_batch_mb": many - one, "large_k_over_small_mb": large - small}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--save", action="store_true")
    parser.add_argument("--fit", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--case", nargs=2, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.fit:
        fit(asked.fit)
    elif asked.case:
        name, folder = asked.case
        print(json.dumps(ask(Path(folder), *CASES[name])))
    else:
        with tempfile.TemporaryDirectory() as folder:
            found = compare(folder)
        print({key: round(value, 1) for key, value in found.items() if key != "rows"})
        if asked.save:
            file = HERE / "results" / f"{time.strftime('%Y-%m-%d-%H%M%S')}-requests.json"
            file.write_text(json.dumps(found, indent=1) + "\n")
