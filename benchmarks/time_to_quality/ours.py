"""The curve of `sequential`: (CPU-seconds, validation and test NDCG@10) after every epoch of one training."""

import argparse
import json
import tempfile
import time
from functools import partial
from pathlib import Path

import torch

from lwa_core.data.prepare import prepare
from lwa_core.data.sections import Filter, Split
from lwa_core.plugins.registry import Registry
from lwa_core.recommendation.fitting import score_histories
from lwa_core.recommendation.metrics import ndcg
from lwa_core.recommendation.ranking import rank_examples
from lwa_core.training.trainer import train


class Quiet:
    def progress(self, done, total, message=""):
        pass

    def warn(self, code, message):
        print(f"{code}: {message}")

    def note(self, message):
        pass


def prepared(path):
    """Leave-one-out of MovieLens-100K, unfiltered: the users that also serve calibration are left out of validation."""
    return prepare(Registry.discover().find("dataset", "atomic").load()(path=path).read(), Filter(), Split(), 0)


def curve(data, settings, seed):
    """One row an epoch. `training_s` leaves the evaluations out, checkpoints and all else are in it."""
    recommender = Registry.discover().find("recommender", "sequential").load()(**settings)
    rows, evaluating = [], 0.0
    torch.manual_seed(seed)
    began = time.process_time()
    model = recommender.build(data.catalogue, Quiet())

    def evaluate(current):
        nonlocal evaluating
        paused = time.process_time()
        row = {"epoch": len(rows) + 1, "training_s": paused - began - evaluating}
        ask = partial(score_histories, recommender, current)
        for use in ("validation", "test"):
            entered = time.process_time()
            ranks = rank_examples(ask, data, getattr(data, use), filter_seen=True, depth=10).ranks
            row[use] = float(ndcg(ranks, 10).mean())
            row[f"{use}_s"] = time.process_time() - entered
        rows.append(row)
        evaluating += time.process_time() - paused
        return row["validation"]

    with tempfile.TemporaryDirectory() as folder:
        train(
            model,
            lambda model, batch: recommender.loss(model, batch).overall,
            windows=recommender.training_windows(data.training_sequences()),
            collate=recommender.training_batch,
            evaluate=evaluate,
            settings=recommender.training(),
            folder=Path(folder),
            seed=seed,
            report=Quiet(),
        )
    return rows


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", required=True, help="folder of ml-100k.inter")
    parser.add_argument("--settings", default="{}", help="JSON: settings of `sequential`")
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    print(json.dumps(curve(prepared(asked.data), json.loads(asked.settings), asked.seed)))
