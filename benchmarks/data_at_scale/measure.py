"""Time and peak memory from a file of interactions to splits, beside RecTools and RePlay: each in its own process."""

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

import polars

HERE = Path(__file__).parent
PEERS = {"rectools": [()], "replay": [("pandas",), ("polars",)]}


def size_of(path):
    """Bytes of a file, or of all files of a folder."""
    return sum(file.stat().st_size for file in path.rglob("*")) if path.is_dir() else path.stat().st_size


def asked_of(command):
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False, cwd=HERE)
    if done.returncode:
        raise SystemExit(f"{command}: {done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("files", type=Path, nargs="+", help="what generate.py wrote")
    parser.add_argument("--core", type=int, default=5)
    parser.add_argument("--peers", type=Path, help="folder that ../training_speed/peers.sh made")
    parser.add_argument("--save", action="store_true")
    asked = parser.parse_args()
    rows = []
    for file in (file.resolve() for file in asked.files):
        commands = {"lwa": [sys.executable, "ours.py", file, "--core", asked.core]}
        for peer, ways in PEERS.items() if asked.peers else ():
            for way in ways:
                python = asked.peers.absolute() / peer / "bin" / "python"
                commands[" with ".join((peer, *way))] = [python, f"{peer}_prepare.py", file, asked.core, *way]
        for who, command in commands.items():
            found = asked_of(command)
            rows.append({"who": who, "file": f"{file.parent.name}/{file.name}", "bytes": size_of(file), **found})
            short = {key: round(value, 1) for key, value in found.items() if key in ("wall_s", "cpu_s", "peak_mb")}
            print(rows[-1]["file"], who, short, {key: found[key] for key in ("users", "items", "events")}, flush=True)
    if asked.save:
        result = HERE / "results" / f"{time.strftime('%Y-%m-%d-%H%M%S')}-preparing.json"
        said = {"core": asked.core, "polars": polars.__version__}
        result.write_text(json.dumps({"asked": said, "rows": rows}, indent=1) + "\n")
