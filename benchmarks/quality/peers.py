"""The sequential models of RecTools and RePlay on the split that ours have, and their difference to ours.

    sh benchmarks/training_speed/peers.sh ENVIRONMENTS
    python benchmarks/quality/peers.py --who rectools --data …/amazon-beauty/Beauty.txt --peers ENVIRONMENTS --save
    python benchmarks/quality/peers.py --paired PEER.json OURS/rankings.safetensors --metrics OURS/metrics.json

Leave-one-out in the order of the file: the last event of a user is the test target, the one before it the validation
target, and all earlier ones train. NDCG@10 of the validation users chooses the epoch; the test users are ranked once,
the full catalogue without the items that the user has seen, and the rank of every target is written down.
"""

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file

from lwa_core.data.dataset import test_digest
from lwa_core.data.prepare import prepare
from lwa_core.data.sections import Filter, Split
from lwa_core.plugins.registry import Registry
from lwa_core.statistics.bootstrap import compare, intervals
from lwa_core.statistics.rank_metrics import ndcg, recall

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "time_to_quality"))
from measure import curve, saved  # noqa: E402

NAMES = {"Beauty.txt": "beauty", "ml-1m_sasrec.txt": "ml-1m"}
COMMON = {"batch": 128, "learning_rate": 1e-3, "without_padding": True, "keep": True}
# eSASRec (RecSys 2025): table of chosen hyperparameters in its repository, which for Beauty has width 64 where the
# configuration file there has 256.
ESASREC = {**COMMON, "block": "ligr", "feed_forward": 4, "heads": 1, "loss": "sampled_softmax", "negatives": 256}
REPLAY = {**COMMON, "newer": True, "loss": "softmax", "patience": 50}
SETTINGS = {
    ("rectools", "beauty"): {
        **ESASREC,
        **{"layers": 1, "width": 64, "dropout": 0.2, "length": 50, "epochs": 200, "patience": 50, "seconds": 780},
    },
    ("rectools", "ml-1m"): {
        **ESASREC,
        **{"layers": 2, "width": 64, "dropout": 0.1, "length": 200, "epochs": 100, "patience": 50, "seconds": 1100},
    },
    # The defaults of `SasRec.from_params`.
    ("replay", "beauty"): {
        **REPLAY,
        **{"layers": 2, "width": 192, "heads": 4, "dropout": 0.3, "length": 50, "epochs": 200, "seconds": 780},
    },
    # What eSASRec's authors chose for SASRec: wider models do not get far in the time.
    ("replay", "ml-1m"): {
        **REPLAY,
        **{"layers": 2, "width": 64, "heads": 1, "dropout": 0.1, "length": 200, "epochs": 100, "seconds": 1100},
    },
}
# Tensors of some 10 MB are made and freed all the time: without these, glibc gives them back to the system each time.
MALLOC = {"MALLOC_MMAP_THRESHOLD_": str(2**32), "MALLOC_TRIM_THRESHOLD_": str(2**33)}


def read(path):
    return prepare(Registry.discover().find("dataset", "sequences").load()(path=path).read(), Filter(), Split(), 0)


def trained(who, data, settings, seed, environments):
    """What the script of the peer prints: curve of the validation users, ranks of the test users."""
    with tempfile.TemporaryDirectory() as folder:
        saved(data, f"{folder}/data.npz")
        python = environments.resolve() / who / "bin" / "python"
        command = [str(python), f"{who}_curve.py", f"{folder}/data.npz", json.dumps(settings), str(seed)]
        return curve(command, progress=True, **MALLOC)


def result(who, name, data, settings, seed, found):
    """Everything for the file; `users` and `ranks` belong together, in the order of our own test examples."""
    ranks = np.array(found["ranks"])
    best = max(found["curve"], key=lambda row: row["validation"])
    rounded = [{key: round(value, 6) for key, value in row.items()} for row in found["curve"]]
    return {
        "who": who,
        "version": found["version"],
        "torch": found["torch"],
        "data": name,
        "settings": settings,
        "seed": seed,
        "epochs": len(found["curve"]),
        "ended_by": found["ended_by"],
        "cut_off": found["ended_by"] == "seconds",
        "best_epoch": best["epoch"],
        "validation_users": len(data.validation),
        "validation_ndcg@10": round(best["validation"], 6),
        "test": figures(intervals(metrics(ranks))),
        "targets_without_a_place": int((ranks == 0).sum()),
        "test_items_sha256": test_digest(data),
        "curve": rounded,
        "users": [data.user_ids[user] for user in data.test.users],
        "ranks": found["ranks"],
    }


def metrics(ranks, tied=None):
    return {"ndcg@10": ndcg(ranks, 10, tied), "hr@10": recall(ranks, 10, tied)}


def figures(estimates):
    """Mean, low and high end of the 95 % interval over the users."""
    return {key: [round(float(x), 5) for x in (e.mean, e.low, e.high)] for key, e in estimates.items()}


def one_key_a_line(values):
    lines = [f" {json.dumps(key)}: {json.dumps(value, separators=(',', ':'))}" for key, value in values.items()]
    return "{\n" + ",\n".join(lines) + "\n}\n"


def paired(peer, rankings, run=None):
    """Both models' figures and their difference, ours − theirs, on the same users.

    Args:
        peer: What `--save` wrote.
        rankings: Our arrays `model.ranks` and, where it is there, `model.tied`.
        run: Our `metrics.json`, whose test items must be those of the peer.
    """
    theirs = np.array(peer["ranks"])
    ours, tied = rankings["model.ranks"], rankings.get("model.tied")
    if len(ours) != len(theirs):
        raise SystemExit(f"{len(ours)} of our users, {len(theirs)} of theirs")
    if run is not None and run["data"]["test_items_sha256"] != peer["test_items_sha256"]:
        raise SystemExit("the test items are others")
    own, other = metrics(ours, tied), metrics(theirs)
    both = compare({key: (own[key], other[key]) for key in own})
    return {
        "ours": figures(intervals(own)),
        peer["who"]: figures(intervals(other)),
        "difference": figures({key: found.difference for key, found in both.items()}),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--who", choices=("rectools", "replay"))
    parser.add_argument("--data", type=Path, help=" or ".join(NAMES))
    parser.add_argument("--peers", type=Path, help="folder that ../training_speed/peers.sh made")
    parser.add_argument("--seconds", type=float, help="CPU-seconds of training after which no further epoch begins")
    parser.add_argument("--settings", default="{}", help='JSON: settings to change, such as {"width": 256}')
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--save", action="store_true")
    parser.add_argument("--paired", type=Path, nargs=2, metavar=("PEER.json", "OURS.safetensors"))
    parser.add_argument("--metrics", type=Path, help="our metrics.json: compare only if the test items are the same")
    given = parser.parse_args()
    if given.paired:
        file, rankings = given.paired
        run = json.loads(given.metrics.read_text()) if given.metrics else None
        print(one_key_a_line(paired(json.loads(file.read_text()), load_file(rankings), run)), end="")
        return
    if not (given.who and given.data and given.peers):
        parser.error("--who, --data and --peers are needed, or --paired")
    name = NAMES[given.data.name]
    settings = {**SETTINGS[given.who, name], **json.loads(given.settings)}
    if given.seconds is not None:
        settings["seconds"] = given.seconds
    data = read(str(given.data))
    found = result(
        given.who, name, data, settings, given.seed, trained(given.who, data, settings, given.seed, given.peers)
    )
    print(
        one_key_a_line({key: value for key, value in found.items() if key not in ("curve", "users", "ranks")}), end=""
    )
    if given.save:
        file = HERE / "results" / f"{time.strftime('%Y-%m-%d')}-peers-{given.who}-{name}.json"
        file.write_text(one_key_a_line(found))


if __name__ == "__main__":
    main()
