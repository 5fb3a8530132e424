"""Peak memory of ranking a million items for every user, and the ranks beside naive ones in float64."""

import argparse
import json
import resource
import time
from pathlib import Path

import numpy as np
import torch

from lwa_core.data import Catalogue, Examples, PreparedData
from lwa_core.modeling.kernels.matmul import product
from lwa_core.recommendation.ranking import rank_examples

HERE = Path(__file__).parent


def peak_mb():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6


def data_of(users, items, length):
    """Random histories of `length` items and a target each."""
    rng = np.random.default_rng(0)
    flat = rng.integers(items, size=users * (length + 1), dtype=np.int32)
    offsets = np.arange(users + 1, dtype=np.int64) * (length + 1)
    test = Examples(np.arange(users), offsets[1:] - 1)
    none = test.take(slice(0, 0))
    catalogue = Catalogue(tuple(map(str, range(items))))
    return PreparedData(catalogue, tuple(map(str, range(users))), flat, offsets, offsets[1:] - 1, none, none, test)


def naive_rank(state, table, history, target):
    scores = table.double() @ state.double()
    scores[torch.from_numpy(history.astype(np.int64))] = -torch.inf
    if torch.isneginf(scores[target]):
        return 0
    ahead = (scores > scores[target]) | ((scores == scores[target]) & (torch.arange(len(table)) < target))
    return 1 + int(ahead.sum())


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--users", type=int, default=2000)
    parser.add_argument("--items", type=int, default=1_000_000)
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--checked", type=int, default=50, help="users whose rank is found in the naive way too")
    parser.add_argument("--save", action="store_true")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    data = data_of(asked.users, asked.items, 50)
    table = torch.randn(asked.items, asked.width)

    def states_of(histories):
        """A state each, as a model would have it: the mean of the last ten items' rows."""
        return torch.stack([table[torch.from_numpy(h[-10:].astype(np.int64))].mean(0) for h in histories])

    product(states_of(data.histories(data.test.take(slice(0, 2)))), table[:1000])
    baseline, wall, cpu = peak_mb(), time.perf_counter(), time.process_time()
    ranking = rank_examples(
        lambda histories: product(states_of(histories), table), data, data.test, filter_seen=True, depth=20
    )
    took = {"wall_s": time.perf_counter() - wall, "cpu_s": time.process_time() - cpu}
    found = {**took, "baseline_mb": baseline, "peak_mb": peak_mb(), "over_baseline_mb": peak_mb() - baseline}
    rows = np.random.default_rng(1).choice(asked.users, size=min(asked.checked, asked.users), replace=False)
    histories, targets = data.histories(data.test.take(rows)), data.targets(data.test.take(rows))
    states = states_of(histories)
    naive = [naive_rank(s, table, h, int(t)) for s, h, t in zip(states, histories, targets, strict=True)]
    off = np.abs(ranking.ranks[rows] - np.array(naive))
    found |= {"checked": len(rows), "other_rank": int((off > 0).sum()), "largest_difference": int(off.max())}
    print(json.dumps(found))
    if asked.save:
        said = {"asked": vars(asked), "torch": torch.__version__, "found": found}
        file = HERE / "results" / f"{time.strftime('%Y-%m-%d-%H%M%S')}-evaluation.json"
        file.write_text(json.dumps(said, indent=1) + "\n")
