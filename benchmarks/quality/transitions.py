"""The untrained baseline `transitions`: what it reaches, what it chooses, what it costs.

    python benchmarks/quality/transitions.py                  # the data sets under $LWA_DATA
    python benchmarks/quality/transitions.py --data FOLDER --only ml-100k beauty
    python benchmarks/quality/transitions.py --size           # made-up: a million users, 200,000 items

Knobs are chosen on validation users alone, and the test users are looked at once for each data set (and once with
equal times shuffled, where there are times). Prints one JSON object a line.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import time
from pathlib import Path

import attrs
import numpy as np

from lwa_core.data.prepare import prepare
from lwa_core.data.sections import Filter, Split
from lwa_core.plugins.registry import Registry
from lwa_core.recommendation.ranking import rank_examples
from lwa_core.recommendation.transitions import Counting, TransitionSettings, fit_transitions
from lwa_core.recommendation.transitions_tuning import tune_transitions
from lwa_core.statistics.rank_metrics import ndcg, recall

SETS = {
    "ml-1m": (
        "sequences",
        {
            "path": "ml-1m/ml-1m_sasrec.txt",
            "titles": "ml-1m/movies.dat",
            "item_map": "ml-1m/sasrec_to_movielens_items.txt",
        },
    ),
    "ml-100k": ("atomic", {"path": "ml-100k/ml-100k.inter"}),
    "beauty": (
        "sequences",
        {
            "path": "amazon-beauty/Beauty.txt",
            "titles": "amazon-beauty/items.json",
            "attributes": "amazon-beauty/Beauty_item2attributes.json",
        },
    ),
    "games": ("sequences", {"path": "amazon-games/sequences.txt", "titles": "amazon-games/Games-6k.item"}),
}


def source_of(name, folder):
    use, files = SETS[name]
    return (
        Registry.discover()
        .find("dataset", use)
        .load()(**{key: str(folder / path) for key, path in files.items()})
        .read()
    )


def shuffled(source, seed):
    """The same events in an order in which equal times stand at random."""
    rows = source.events.collect()
    return attrs.evolve(source, events=rows.sample(fraction=1.0, shuffle=True, seed=seed).lazy())


def share_of_ties(data):
    """Of the neighbouring pairs of a user's events the share that has one time."""
    inside = np.ones(len(data.times) - 1, dtype=bool)
    inside[data.offsets[1:-1] - 1] = False
    return float((np.diff(data.times) == 0)[inside].mean())


def measured(name, data, seed, **more):
    began = time.process_time()
    tuned = tune_transitions(data, k=10, filter_seen=True, seed=seed)
    tuning = time.process_time() - began
    began = time.process_time()
    fitted = fit_transitions(data.training_sequences(), data.catalogue, tuned.settings)
    fitting = time.process_time() - began
    began = time.process_time()
    ranking = rank_examples(fitted.scores, data, data.test, filter_seen=True, depth=10)
    ranked = time.process_time() - began
    found = {
        "data": name,
        **more,
        "users": data.users,
        "items": len(data.catalogue),
        "test_ndcg@10": round(float(ndcg(ranking.ranks, 10, ranking.tied).mean()), 5),
        "test_hr@10": round(float(recall(ranking.ranks, 10, ranking.tied).mean()), 5),
        "tuning_cpu_s": round(tuning, 1),
        "fit_cpu_s": round(fitting, 2),
        "rank_cpu_ms_a_user": round(1e3 * ranked / len(data.test), 3),
        "table_entries": int(fitted.evidence.nnz),
        **tuned.facts(),
    }
    print(json.dumps(found), flush=True)


def quality(folder, names, seed):
    for name in names:
        source = source_of(name, folder)
        data = prepare(source, Filter(), Split(), seed)
        timed = source.order == "timestamp"
        measured(name, data, seed, ties="order of the file", **({"tied_pairs": share_of_ties(data)} if timed else {}))
        if timed:
            measured(name, prepare(shuffled(source, seed), Filter(), Split(), seed), seed, ties="shuffled")


def size(users, items, events, seed):
    """A made-up catalogue with a long tail, each user around one place of it; 1,000 users are scored at once by 100."""
    from lwa_core.data import Catalogue

    rng = np.random.default_rng(seed)
    lengths = rng.poisson(events - 2, users) + 2
    middle = np.repeat(rng.integers(0, items, users), lengths)
    near = (middle + rng.normal(0, 200, len(middle)).astype(np.int64)) % items
    popular = (items * rng.random(len(middle)) ** 4).astype(np.int64)
    flat = np.where(rng.random(len(middle)) < 0.6, near, popular).astype(np.int32)
    sequences = np.split(flat, np.cumsum(lengths)[:-1])
    catalogue = Catalogue(tuple(map(str, range(items))))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    settings = TransitionSettings(Counting(window=12, reverse=0.5))
    began = time.perf_counter()
    fitted = fit_transitions(sequences, catalogue, settings)
    fitting = time.perf_counter() - began
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    began = time.perf_counter()
    for start in range(0, 1000, 100):
        fitted.table(sequences[start : start + 100])
    each = time.perf_counter() - began
    found = {
        "data": "made-up",
        "users": users,
        "items": items,
        "events": len(flat),
        "settings": attrs.asdict(settings),
        "table_entries": int(fitted.evidence.nnz),
        "fit_s": round(fitting, 1),
        "peak_gib": round(peak / 2**20, 2),
        "of_which_data_gib": round(before / 2**20, 2),
        "ms_a_user": round(each, 3),
    }
    print(json.dumps(found), flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("LWA_DATA", "data")))
    parser.add_argument("--only", nargs="+", choices=tuple(SETS), default=list(SETS))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--size", action="store_true", help="made-up data instead")
    parser.add_argument("--users", type=int, default=1_000_000)
    parser.add_argument("--items", type=int, default=200_000)
    parser.add_argument("--events", type=int, default=20, help="mean length of a made-up history")
    given = parser.parse_args()
    if given.size:
        size(given.users, given.items, given.events, given.seed)
    else:
        quality(given.data, given.only, given.seed)


if __name__ == "__main__":
    main()
