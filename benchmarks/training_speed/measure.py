"""CPU-seconds of training, evaluating and asking `sequential` on ML-1M, beside the same network in plain torch."""

import argparse
import json
import os
import subprocess
import tempfile
import time
from contextlib import ExitStack, nullcontext
from functools import partial
from pathlib import Path
from statistics import median
from unittest import mock

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from lwa_core.data import Catalogue
from lwa_core.data.dataset import concatenate
from lwa_core.data.prepare import prepare
from lwa_core.data.sections import Filter, Split
from lwa_core.plugins.registry import Registry
from lwa_core.recommendation.fitting import score_histories
from lwa_core.recommendation.ranker import Ranker
from lwa_core.recommendation.ranking import rank_examples
from lwa_core.training.trainer import train
from lwa_core.types import Quiet, TrainingSettings

HERE = Path(__file__).parent
SHAPE = {"layers": 2, "width": 64, "heads": 2, "dropout": 0.2}
PEERS = ("rectools", "replay")
RIVALS = {
    "sequential": {},
    "sequential, 256 shared negatives": {"training_loss": "sampled", "negatives": 256},
    "sequential, gBCE with 256 negatives": {"training_loss": "gbce", "negatives": 256},
}


class Silent:
    def progress(self, done, total, message=""):
        pass

    def warn(self, code, message):
        print(f"{code}: {message}")

    def note(self, message):
        print(message)


def component(kind, name):
    return Registry.discover().find(kind, name).load()


def seconds(call):
    begin = time.process_time()
    value = call()
    return time.process_time() - begin, value


def as_torch_has_it():
    """Undo what is done for speed: the same loss, dropout, attention and linear maps by torch's own functions."""
    at = "lwa_plugins.recommenders.sequential"

    def attention(q, k, v, dropout):
        return F.scaled_dot_product_attention(q, k, v, is_causal=True, dropout_p=dropout)

    def loss(hidden, table, targets):
        parts = zip(hidden.split(1024), targets.split(1024), strict=True)
        return torch.cat([F.cross_entropy(states @ table.T, wanted, reduction="none") for states, wanted in parts])

    stack = ExitStack()
    stack.enter_context(mock.patch(f"{at}.model.causal_attention", attention))
    stack.enter_context(mock.patch(f"{at}.dropout.Dropout.forward", nn.Dropout.forward))
    stack.enter_context(mock.patch("lwa_core.modeling.kernels.cross_entropy.cross_entropy", loss))
    stack.enter_context(mock.patch("lwa_core.training.trainer.fast_linear_maps", nullcontext))
    return stack


def epoch(recommender, catalogue, sequences):
    """One epoch by the core's own loop, checkpoint included, without the evaluation; and its targets."""
    torch.manual_seed(0)
    model, windows = recommender.build(catalogue, Quiet()), recommender.training_windows(sequences)
    with tempfile.TemporaryDirectory() as folder:
        spent, _ = seconds(
            lambda: train(
                model,
                lambda model, batch: recommender.loss(model, batch).overall,
                windows=windows,
                collate=recommender.training_batch,
                evaluate=lambda _: 0.0,
                settings=TrainingSettings(epochs=1, batch=128, learning_rate=1e-3),
                folder=Path(folder),
                seed=0,
                report=Silent(),
            )
        )
    return {"cpu_s": spent, "targets": sum(len(window) - 1 for window in windows)}


def peer(name, folder, sequences, length):
    """One epoch of another library, in its own environment."""
    with tempfile.TemporaryDirectory() as scratch:
        flat, offsets = concatenate(sequences)
        np.savez(f"{scratch}/sequences.npz", items=flat, offsets=offsets)
        command = [folder / name / "bin" / "python", HERE / f"{name}_epoch.py", f"{scratch}/sequences.npz", str(length)]
        done = subprocess.run(
            command,
            cwd=scratch,
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
    if done.returncode:
        raise SystemExit(f"{name}: {done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def naive_rank(model, recommender, history, target):
    """Rank among the items not seen, the history alone, in float64, by counting."""
    ids = torch.from_numpy(history[-recommender.max_length :].astype("int64"))[None] + 1
    scores = recommender.head(model, model(ids).last_hidden_state[0, -1:])[0].tolist()
    seen, own = set(history.tolist()), scores[target]
    if target in seen:
        return 0
    return 1 + sum(
        score > own or (score == own and item < target) for item, score in enumerate(scores) if item not in seen
    )


def evaluation(recommender, data, checked):
    """All test users over the full catalogue; and the ranks of some of them beside naive ones."""
    torch.manual_seed(0)
    model = recommender.build(data.catalogue, Quiet()).eval()
    ask = partial(score_histories, recommender, model)
    spent, ranking = seconds(lambda: rank_examples(ask, data, data.test, filter_seen=True, depth=10))
    rows = np.random.default_rng(0).choice(len(data.test), size=min(checked, len(data.test)), replace=False)
    histories, targets = data.histories(data.test.take(rows)), data.targets(data.test.take(rows))
    with torch.no_grad():
        exact = model.double()
        naive = [naive_rank(exact, recommender, h, int(t)) for h, t in zip(histories, targets, strict=True)]
    off = np.abs(ranking.ranks[rows] - np.array(naive))
    return {
        "cpu_s": spent,
        "users": len(data.test),
        "checked": len(rows),
        "other_rank": int((off > 0).sum()),  # float32 against float64: neighbours whose scores are almost equal
        "largest_difference": int(off.max()),
    }


def latency(recommender, items, length, requests):
    """Milliseconds of the ten best items for one history, from item ids to item ids."""
    catalogue = Catalogue(ids=tuple(map(str, range(items))))
    torch.manual_seed(0)
    ranker = Ranker(recommender.build(catalogue, Quiet()).eval(), recommender, catalogue, "sequential", {})
    rng = np.random.default_rng(0)
    histories = [[str(item) for item in rng.integers(0, items, length)] for _ in range(requests)]
    for history in histories[:20]:
        ranker.recommend(history)
    wall, cpu = [], []
    for history in histories:
        begin, began = time.perf_counter(), time.process_time()
        ranker.recommend(history)
        wall.append(1000 * (time.perf_counter() - begin))
        cpu.append(1000 * (time.process_time() - began))
    return {"items": items, "length": length, "p50_ms": median(wall), "p50_cpu_ms": median(cpu)}


def show(name, row):
    each = 1e6 * row["cpu_s"] / row["targets"]
    print(f"{name:<38} {row['cpu_s']:8.1f} CPU-s  {row['targets']:>9,} targets  {each:6.1f} us a target", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", required=True, help="ml-1m_sasrec.txt: `user item` a line, in order")
    parser.add_argument("--length", type=int, default=200)
    parser.add_argument("--users", type=int, help="train on this many users only, drawn at random")
    parser.add_argument("--peers", type=Path, help="folder that peers.sh made: measure RecTools and RePlay too")
    parser.add_argument("--only-training", action="store_true")
    parser.add_argument("--save", action="store_true")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    data = prepare(component("dataset", "sequences")(path=asked.data).read(), Filter(), Split(), 0)
    make = partial(component("recommender", "sequential"), max_length=asked.length, **SHAPE)
    sequences = data.training_sequences()
    if asked.users is not None:
        drawn = np.random.default_rng(0).choice(len(sequences), size=asked.users, replace=False)
        sequences = [sequences[user] for user in drawn]
    rows = {"training": {}}
    epoch(make(), data.catalogue, sequences[:200])
    with as_torch_has_it():
        rows["training"]["the same network, plain torch"] = epoch(make(), data.catalogue, sequences)
    for name, settings in RIVALS.items():
        rows["training"][name] = epoch(make(**settings), data.catalogue, sequences)
    for name in PEERS if asked.peers else ():
        rows["training"][name] = peer(name, asked.peers.resolve(), sequences, asked.length)
    for name, row in rows["training"].items():
        show(name, row)
    if not asked.only_training:
        rows["evaluation"] = evaluation(make(), data, 300)
        rows["latency"] = [latency(make(max_length=n), 12_000, n, 500) for n in (50, asked.length)]
        print(json.dumps({name: rows[name] for name in ("evaluation", "latency")}, indent=1))
    if asked.save:
        file = HERE / "results" / f"{time.strftime('%Y-%m-%d-%H%M%S')}.json"
        said = {**vars(asked), "data": Path(asked.data).name, "peers": bool(asked.peers)}
        file.write_text(json.dumps({"asked": said, "torch": torch.__version__, "rows": rows}, indent=1) + "\n")
