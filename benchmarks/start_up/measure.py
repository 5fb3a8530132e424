"""Start-up time of the light commands as a ratio to a bare interpreter's, both timed in turn in this run."""

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from pathlib import Path
from statistics import median

HERE = Path(__file__).parent
RECIPE = HERE.parent.parent / "recipes" / "quickstart.toml"
LWA = [str(Path(sys.executable).with_name("lwa"))]
COMMANDS = {
    "bare interpreter": [sys.executable, "-c", "pass"],
    "lwa --help": [*LWA, "--help"],
    "lwa check": [*LWA, "check", str(RECIPE)],
    "lwa plan": [*LWA, "plan", str(RECIPE), "--store", os.devnull],
    "lwa plugins list": [*LWA, "plugins", "list"],
}


def measure(rounds: int) -> dict[str, float]:
    times = {name: [] for name in COMMANDS}
    for number in range(rounds + 1):
        for name, command in COMMANDS.items():
            begin = time.perf_counter()
            subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)
            if number:  # the first round fills the disk cache
                times[name].append(time.perf_counter() - begin)
    return {name: median(values) for name, values in times.items()}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--save", action="store_true")
    asked = parser.parse_args()
    medians = measure(asked.rounds)
    bare = medians["bare interpreter"]
    ratios = {name: round(value / bare, 2) for name, value in medians.items()}
    for name, value in medians.items():
        print(f"{name:<18} {1000 * value:8.1f} ms   {ratios[name]:5.2f} x")
    if asked.save:
        file = HERE / "results" / f"{time.strftime('%Y-%m-%d-%H%M%S')}.json"
        facts = {"python": platform.python_version(), "rounds": asked.rounds, "ratios": ratios}
        file.write_text(json.dumps(facts) + "\n")
