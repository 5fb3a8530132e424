"""What does `lwa study` cost beside its runs, one by one?

    OMP_NUM_THREADS=1 python benchmarks/studies/overhead.py RECIPE.toml --set data.path=FOLDER

Two cells with two seeds each, once by `lwa study` and once by four times `lwa run`, each into a fresh store, by turns;
CPU-seconds of the processes with all of theirs. Both share what the runs have in common through their store.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

LWA = [sys.executable, "-m", "lwa_core.cli"]


def cpu_seconds(commands):
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    for command in commands:
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("recipe", type=Path)
    parser.add_argument("--set", dest="overrides", action="append", default=[])
    parser.add_argument("--rounds", type=int, default=2)
    asked = parser.parse_args()
    changes = [part for each in asked.overrides for part in ("--set", each)]
    depths, seeds = (2, 4), (0, 1)
    for turn in range(asked.rounds):
        with tempfile.TemporaryDirectory() as folder:
            study = Path(folder) / "study.toml"
            study.write_text(
                f'name = "overhead"\nrecipe = "{asked.recipe.resolve()}"\nseeds = {list(seeds)}\n'
                f'[[vary]]\nkey = "recommender.layers"\nvalues = {list(depths)}\n',
                "utf-8",
            )
            whole = [[*LWA, "study", str(study), *changes, "--store", f"{folder}/a"]]
            run = [*LWA, "run", str(asked.recipe), *changes, "--no-smoke-test", "--store", f"{folder}/b"]
            single = [
                [*run, "--set", f"recommender.layers={depth}", "--set", f"seed={seed}"]
                for seed in seeds
                for depth in depths
            ]
            order = [("study", whole), ("runs", single)]
            took = {name: cpu_seconds(commands) for name, commands in (order if turn % 2 else order[::-1])}
        print(json.dumps({**took, "ratio": took["study"] / took["runs"]}), flush=True)


if __name__ == "__main__":
    main()
