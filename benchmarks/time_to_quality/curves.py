"""What the peers' scripts share, with numpy and torch alone: the held-out examples, their NDCG@10, the clock."""

import json
import sys
import time
from importlib.metadata import version
from itertools import pairwise

import numpy as np
import torch

TRAINER = {
    "max_epochs": -1,
    "accelerator": "cpu",
    "logger": False,
    "enable_checkpointing": False,
    "enable_progress_bar": False,
    "enable_model_summary": False,
}
"""What the trainers of the peers are told: train on, and write nothing."""


def rows_of(file, name):
    """Sequences that were saved as a flat array with offsets."""
    flat, offsets = file[f"{name}.items"], file[f"{name}.offsets"]
    return [flat[a:b] for a, b in pairwise(offsets)]


def ranks_of(scores, histories, targets, block=1024):
    """Rank of each target among all items but the seen ones, behind those of the same score; 0 for one without a place.

    `scores`: histories -> (histories, items) on the CPU; it gets those of like length together.
    """
    ranks = np.zeros(len(targets), dtype=np.int64)
    order = np.argsort([len(history) for history in histories], kind="stable")
    for rows in np.split(order, range(block, len(order), block)):
        part = [histories[row] for row in rows]
        table = scores(part).double().numpy()
        for row, history in enumerate(part):
            table[row, history] = -np.inf
        own = np.take_along_axis(table, targets[rows, None], axis=1)
        ranks[rows] = np.where(np.isfinite(own[:, 0]), (table >= own).sum(axis=1), 0)
    return ranks


def width_of(histories, settings):
    """How many events a network is shown: with `without_padding` none that are padding for every history."""
    longest = max(map(len, histories)) if settings.get("without_padding") else settings["length"]
    return min(longest, settings["length"])


def ndcg(ranks):
    """Mean NDCG@10, as lwa has it."""
    return float(np.where((ranks >= 1) & (ranks <= 10), 1 / np.log2(1 + np.maximum(ranks, 1)), 0).mean())


class Clock:
    """One row an epoch; the time of the evaluations is kept apart from that of the training.

    With `keep` among the settings only the validation examples are looked at, and the weights that are best on them
    are kept, by which `finish` ranks the test examples. Training is over after `seconds` of CPU, after `epochs`, or
    after `patience` epochs without a better one.
    """

    def __init__(self, file, settings):
        self.rows, self.settings, self.kept = [], settings, None
        self.keeps = settings.get("keep", False)
        self.examples = {use: (rows_of(file, use), file[f"{use}.targets"]) for use in ("validation", "test")}
        self.evaluating = 0.0
        self.began = time.process_time()

    def epoch_ends(self, network, scores):
        """`scores`: histories -> (histories, items) on the CPU."""
        paused = time.process_time()
        row = {"epoch": len(self.rows) + 1, "training_s": paused - self.began - self.evaluating}
        for use in ("validation",) if self.keeps else self.examples:
            entered = time.process_time()
            row[use] = ndcg(self.ranks(use, scores))
            row[f"{use}_s"] = time.process_time() - entered
        if self.keeps and row["validation"] > max((earlier["validation"] for earlier in self.rows), default=-1):
            self.kept = {name: value.clone() for name, value in network.state_dict().items()}
        self.rows.append(row)
        if self.keeps:
            print(json.dumps(row), file=sys.stderr, flush=True)
        self.evaluating += time.process_time() - paused

    def ranks(self, use, scores):
        with torch.no_grad():
            return ranks_of(scores, *self.examples[use])

    @property
    def over(self):
        """Why no epoch is to follow; None where one is."""
        best = max(self.rows, key=lambda row: row["validation"])["epoch"]
        reached = {
            "seconds": self.rows[-1]["training_s"],
            "epochs": len(self.rows),
            "patience": len(self.rows) - best,
        }
        return next((name for name, value in reached.items() if value >= self.settings.get(name, np.inf)), None)

    def finish(self, network, scores, package):
        """Print the rows; with `keep` also why there are no more, and the test ranks by the weights that were kept."""
        if not self.keeps:
            print(json.dumps(self.rows))
            return
        network.load_state_dict(self.kept)
        ranks = self.ranks("test", scores).tolist()
        versions = {"version": version(package), "torch": torch.__version__}
        print(json.dumps({**versions, "curve": self.rows, "ended_by": self.over, "ranks": ranks}))


def asked():
    """`SCRIPT FILE.npz SETTINGS.json-text SEED` -> file and settings; the process is set to one thread."""
    torch.set_num_threads(1)
    torch.manual_seed(int(sys.argv[3]))
    np.random.seed(int(sys.argv[3]))
    return np.load(sys.argv[1]), json.loads(sys.argv[2])
