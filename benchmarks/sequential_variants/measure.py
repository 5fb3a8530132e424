"""Ranking quality of `sequential` in its variants on one data set: the same shape, epochs and seed for all."""

import argparse
import json
import tempfile
import time
from functools import partial
from pathlib import Path

import numpy as np
import torch

from lwa_core.data import prepare
from lwa_core.data.sections import Filter, Split
from lwa_core.plugins.registry import Registry
from lwa_core.recommendation.fitting import fit_model, score_histories
from lwa_core.recommendation.metrics import ndcg
from lwa_core.recommendation.ranking import rank_examples
from lwa_core.types import Quiet

HERE = Path(__file__).parent
VARIANTS = {
    "plain": {},
    "times": {"times": True},
    "categories": {"categories": True},
    "masked": {"objective": "masked"},
}


def component(kind, name):
    return Registry.discover().find(kind, name).load()


def measured(data, settings, seed):
    """NDCG@10 of every validation and test user, and the CPU-seconds of fitting."""
    recommender = component("recommender", "sequential")(**settings)
    own = data.for_recommender(recommender)
    begin = time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        model, trained = fit_model(recommender, own, folder=Path(folder), seed=seed, filter_seen=True, report=Quiet())
    spent = time.process_time() - begin
    scores = partial(score_histories, recommender, model)
    users = {
        use: ndcg(rank_examples(scores, own, getattr(own, use), filter_seen=True, depth=10).ranks, 10)
        for use in ("validation", "test")
    }
    return users, spent, trained.best_epoch


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", required=True, help="folder of the atomic files of MovieLens-100K")
    parser.add_argument("--variants", nargs="*", default=list(VARIANTS), choices=VARIANTS)
    parser.add_argument("--layers", type=int, default=2)
    parser.add_argument("--epochs", type=int, default=15)
    parser.add_argument("--seeds", type=int, nargs="*", default=[0])
    parser.add_argument("--save", action="store_true")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    shape = {"layers": asked.layers, "block": "gated", "dropout": 0.4, "batch": 32, "patience": asked.epochs}
    rows, plain = [], {}
    for seed in asked.seeds:
        data = prepare(component("dataset", "atomic")(path=asked.data).read(), Filter(), Split(), 0)
        for name in dict.fromkeys(["plain", *asked.variants]):
            users, spent, epoch = measured(data, {**shape, "epochs": asked.epochs, **VARIANTS[name]}, seed)
            plain = users if name == "plain" else plain
            gain = users["test"] - plain["test"]
            row = {"variant": name, "seed": seed, "best_epoch": epoch, "cpu_s": round(spent, 1)}
            row |= {use: float(values.mean()) for use, values in users.items()}
            row |= {"gain": float(gain.mean()), "gain_standard_error": float(gain.std(ddof=1) / np.sqrt(len(gain)))}
            rows.append(row)
            print(json.dumps(row), flush=True)
    if asked.save:
        file = HERE / "results" / f"{time.strftime('%Y-%m-%d-%H%M%S')}.json"
        facts = {"data": Path(asked.data).name, "shape": shape, "epochs": asked.epochs, "rows": rows}
        file.write_text(json.dumps(facts, indent=1) + "\n")
