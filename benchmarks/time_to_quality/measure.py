"""CPU-seconds until NDCG@10 on the test items of MovieLens-100K, for `sequential`, RecTools' and RePlay's SASRec."""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import numpy as np
import torch
from ours import prepared

from lwa_core.data.dataset import concatenate

HERE = Path(__file__).parent
OURS = {"width": 64, "heads": 2, "dropout": 0.2, "max_length": 50, "batch": 32, "learning_rate": 2e-3, "epochs": 15}
PEER = {"layers": 2, "width": 64, "heads": 2, "dropout": 0.2, "length": 50}
SETTINGS = {
    "sequential": {**OURS, "layers": 2, "learning_rate": 1e-3, "epochs": 30, "patience": 30},
    "sequential, one layer": {**OURS, "layers": 1, "patience": 15},
    "rectools": PEER,
    "replay": PEER,
}


def saved(data, file):
    """What the peers need of the data: numbers of items, and of users none."""
    arrays = {"items": np.array(len(data.catalogue))}
    parts = {"training": data.training_sequences()}
    for use in ("validation", "test"):
        examples = getattr(data, use)
        parts[use] = data.histories(examples)
        arrays[f"{use}.targets"] = data.targets(examples)
    for name, rows in parts.items():
        arrays[f"{name}.items"], arrays[f"{name}.offsets"] = concatenate(rows)
    np.savez(file, **arrays)


def curve(command, progress=False, **environment):
    done = subprocess.run(
        command,
        stdout=subprocess.PIPE,
        stderr=None if progress else subprocess.PIPE,
        text=True,
        check=False,
        cwd=HERE,
        env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
    )
    if done.returncode:
        raise SystemExit((done.stderr or f"exit code {done.returncode}")[-2000:])
    return json.loads(done.stdout.splitlines()[-1])


def reached(rows, use, level):
    """CPU-seconds of training, and of training with the evaluations on `use` so far, at the first epoch there."""
    for row in rows:
        if row[use] >= level:
            asked = sum(earlier[f"{use}_s"] for earlier in rows[: row["epoch"]])
            return {
                "epoch": row["epoch"],
                "training_s": row["training_s"],
                "with_evaluation_s": row["training_s"] + asked,
            }
    return None


def summary(curves, level):
    """Over the seeds: time until the level on test, and what the epoch that is best on validation has on test."""
    best = [max(rows, key=lambda row: row["validation"]) for rows in curves]
    times = [reached(rows, "test", level) for rows in curves]
    there = [found["training_s"] for found in times if found]
    late = len(there) <= len(times) // 2
    return {
        "reached": times,
        "median_training_s": None if late else sorted(there)[len(times) // 2],
        "median_test_at_best_validation": median(row["test"] for row in best),
        "median_training_s_at_best_validation": median(row["training_s"] for row in best),
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", required=True, help="folder of ml-100k.inter")
    parser.add_argument("--who", choices=list(SETTINGS), nargs="+", default=list(SETTINGS)[:2])
    parser.add_argument("--peers", type=Path, help="folder that ../training_speed/peers.sh made")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--level", type=float, default=0.09)
    parser.add_argument(
        "--seconds", type=float, default=90, help="CPU-seconds of training after which a peer is stopped"
    )
    parser.add_argument("--settings", default="{}", help='JSON: settings to change, such as {"batch": 32}')
    parser.add_argument("--save", action="store_true")
    asked = parser.parse_args()
    results = {}
    with tempfile.TemporaryDirectory() as folder:
        saved(prepared(asked.data), f"{folder}/data.npz")
        for who in asked.who:
            settings = {**SETTINGS[who], **json.loads(asked.settings)}
            if who in ("rectools", "replay"):
                settings = {**settings, "seconds": asked.seconds}
                start = [str(asked.peers.resolve() / who / "bin" / "python"), f"{who}_curve.py", f"{folder}/data.npz"]
                commands = [[*start, json.dumps(settings), str(seed)] for seed in asked.seeds]
            else:
                start = [sys.executable, "ours.py", "--data", str(Path(asked.data).resolve())]
                commands = [[*start, "--settings", json.dumps(settings), "--seed", str(s)] for s in asked.seeds]
            curves = [curve(command) for command in commands]
            results[who] = {
                "settings": settings,
                "seeds": asked.seeds,
                **summary(curves, asked.level),
                "curves": curves,
            }
            print(who, json.dumps({key: results[who][key] for key in results[who] if key != "curves"}), flush=True)
    if asked.save:
        said = {"level": asked.level, "torch": torch.__version__}
        name = "-".join([asked.who[0].replace(", ", "-").replace(" ", "-"), *map(str, asked.seeds)])
        file = HERE / "results" / f"{time.strftime('%Y-%m-%d-%H%M%S')}-{name}.json"
        file.write_text(json.dumps({"asked": said, "results": results}) + "\n")
