"""What makes a teacher better: `sequential` in variants on one data set, over seeds, beside `transitions`.

    python benchmarks/quality/teachers.py ml-100k --variants ids prior --seeds 0 1 2
    python benchmarks/quality/teachers.py ml-1m --variants prior --set layers=8 --set epochs=6

Leave-one-out, the same users for all; `transitions` is tuned once on validation users, and each model is the epoch that
is best on them. The test users are looked at once for each model. Prints one JSON object a line, the last of a variant
over all its seeds.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from functools import partial
from pathlib import Path

import numpy as np
import tomli
import torch
from transitions import source_of

from lwa_core.data.prepare import prepare
from lwa_core.data.sections import Filter, Split
from lwa_core.plugins.registry import Registry
from lwa_core.recommendation.fitting import fit_model, score_histories
from lwa_core.recommendation.ranking import rank_examples
from lwa_core.recommendation.transitions import fit_transitions
from lwa_core.recommendation.transitions_tuning import tune_transitions
from lwa_core.statistics.rank_metrics import ndcg, recall
from lwa_core.types import Quiet

HERE = Path(__file__).parent
SHAPES = {
    "ml-1m": {"layers": 2, "block": "gated", "max_length": 200, "batch": 32, "epochs": 10},
    "ml-100k": {"layers": 2, "block": "gated", "dropout": 0.4, "batch": 32, "epochs": 15},
    "beauty": {
        "layers": 2,
        "block": "gated",
        "training_loss": "sampled",
        "negatives": 512,
        "dropout": 0.5,
        "batch": 64,
        "epochs": 10,
    },
    "games": {
        "layers": 2,
        "block": "gated",
        "training_loss": "sampled",
        "negatives": 512,
        "dropout": 0.5,
        "batch": 128,
        "epochs": 8,
    },
}
VARIANTS = {
    "ids": {},
    "categories": {"categories": True},
    "times": {"times": True},
    "prior": {"prior": "transitions"},
    "prior-categories": {"prior": "transitions", "categories": True},
    "prior-times": {"prior": "transitions", "times": True},
}


class _Told(Quiet):
    """Says the last line of progress now and then, so that a long run is seen to move."""

    def __init__(self) -> None:
        self.said = 0.0

    def progress(self, done: int, total: int, message: str = "") -> None:
        if time.monotonic() - self.said > 30:
            self.said = time.monotonic()
            print(f"# {message} {done} of {total}", flush=True)


def figures(ranking):
    """NDCG@10 and Recall@10 of every user."""
    return ndcg(ranking.ranks, 10, ranking.tied), recall(ranking.ranks, 10, ranking.tied)


def against(model, table):
    """The mean advantage over `transitions`, with its standard error over the users."""
    gain = model - table
    return {"advantage": round(float(gain.mean()), 5), "standard_error": round(float(gain.std() / len(gain) ** 0.5), 5)}


def fitted(settings, data, tuned, seed):
    """How a model ranks the test users, its NDCG@10 on validation users by epoch, and the CPU-seconds of fitting."""
    recommender = Registry.discover().find("recommender", "sequential").load()(**settings)
    own = data.for_recommender(recommender)
    begin = time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        model, trained = fit_model(
            recommender,
            own,
            folder=Path(folder),
            seed=seed,
            filter_seen=True,
            report=_Told(),
            transitions=tuned.settings,
        )
    spent = time.process_time() - begin
    scores = partial(score_histories, recommender, model)
    return rank_examples(scores, own, own.test, filter_seen=True, depth=10), trained, spent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("set", choices=SHAPES)
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("LWA_DATA", "data")))
    parser.add_argument("--variants", nargs="*", default=["ids", "prior"], choices=VARIANTS)
    parser.add_argument("--seeds", type=int, nargs="*", default=[0, 1, 2])
    parser.add_argument("--set", dest="settings", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--untitled", action="store_true", help="leave titles and categories out, for all")
    parser.add_argument("--ranks", type=Path, help="file (.npz) for the ranks of every model and the ids of the users")
    parser.add_argument("--save", action="store_true")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    data = prepare(source_of(asked.set, asked.data), Filter(), Split(), 0, None)
    if asked.untitled:
        data = untitled(data)
    tuned = tune_transitions(data, k=10, filter_seen=True, seed=0)
    table = fit_transitions(data.training_sequences(), data.catalogue, tuned.settings)
    ranked = rank_examples(table.scores, data, data.test, filter_seen=True, depth=10)
    base, base_recall = figures(ranked)
    rows = [{"set": asked.set, "variant": "transitions", "validation": tuned.ndcg, "untitled": asked.untitled}]
    rows[0] |= {"test_ndcg": float(base.mean()), "test_recall": float(base_recall.mean())}
    print(json.dumps(rows[0]), flush=True)
    ranks = {"transitions": ranked.ranks}
    given = tomli.loads("\n".join(asked.settings))
    for name in asked.variants:
        settings = {**SHAPES[asked.set], **VARIANTS[name], **given}
        settings.setdefault("patience", settings["epochs"])
        every = []
        for seed in asked.seeds:
            ranking, trained, spent = fitted(settings, data, tuned, seed)
            quality, hits = figures(ranking)
            every.append((quality, hits))
            ranks[f"{name}-{seed}"] = ranking.ranks
            curve = [round(epoch["ndcg@10"], 4) for epoch in trained.history]
            row = {"set": asked.set, "variant": name, "seed": seed, "best_epoch": trained.best_epoch, "curve": curve}
            row |= {"test_ndcg": round(float(quality.mean()), 5), "test_recall": round(float(hits.mean()), 5)}
            rows.append({**row, **against(quality, base), "cpu_s": round(spent)})
            print(json.dumps(rows[-1]), flush=True)
        quality, hits = (np.mean(each, axis=0) for each in zip(*every, strict=True))
        row = {"set": asked.set, "variant": name, "seeds": asked.seeds, "settings": settings}
        row |= {"test_ndcg": round(float(quality.mean()), 5), "test_recall": round(float(hits.mean()), 5)}
        rows.append({**row, **against(quality, base)})
        print(json.dumps(rows[-1]), flush=True)
    if asked.ranks is not None:
        np.savez(asked.ranks, users=data.test.users, **ranks)
    if asked.save:
        file = HERE / "results" / f"{time.strftime('%Y-%m-%d-%H%M%S')}-teachers-{asked.set}.json"
        file.write_text(json.dumps({"rows": rows}) + "\n")


def untitled(data):
    """The data with nothing known of its items."""
    import attrs

    return attrs.evolve(data, catalogue=attrs.evolve(data.catalogue, titles=None, categories=None))


if __name__ == "__main__":
    main()
