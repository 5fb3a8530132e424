"""What the peers' scripts share, with numpy and torch alone: the held-out examples, their NDCG@10, the clock."""

import json
import sys
import time
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


def ndcg(scores, histories, targets):
    """Mean NDCG@10 over all items but the seen ones; of equal scores the lower index comes first. As lwa has it."""
    table = scores.double().numpy()
    for row, history in enumerate(histories):
        table[row, history] = -np.inf
    own = table[np.arange(len(targets)), targets][:, None]
    ahead = (table > own) | ((table == own) & (np.arange(table.shape[1]) < targets[:, None]))
    ranks = 1 + ahead.sum(axis=1)
    return float(np.where((ranks <= 10) & np.isfinite(own[:, 0]), 1 / np.log2(1 + ranks), 0).mean())


class Clock:
    """One row an epoch; the time of the evaluations is kept apart from that of the training."""

    def __init__(self, file):
        self.rows = []
        self.examples = {use: (rows_of(file, use), file[f"{use}.targets"]) for use in ("validation", "test")}
        self.evaluating = 0.0
        self.began = time.process_time()

    def epoch_ends(self, scores):
        """`scores`: histories -> (histories, items) on the CPU."""
        paused = time.process_time()
        row = {"epoch": len(self.rows) + 1, "training_s": paused - self.began - self.evaluating}
        for use, (histories, targets) in self.examples.items():
            entered = time.process_time()
            with torch.no_grad():
                row[use] = ndcg(scores(histories), histories, targets)
            row[f"{use}_s"] = time.process_time() - entered
        self.rows.append(row)
        self.evaluating += time.process_time() - paused


def asked():
    """`SCRIPT FILE.npz SETTINGS.json-text SEED` -> file and settings; the process is set to one thread."""
    torch.set_num_threads(1)
    torch.manual_seed(int(sys.argv[3]))
    np.random.seed(int(sys.argv[3]))
    return np.load(sys.argv[1]), json.loads(sys.argv[2])
