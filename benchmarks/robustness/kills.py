"""Kill `lwa run`, `lwa bench` and `lwa score` at random moments, start them again, and compare with undisturbed ones.

    python benchmarks/robustness/kills.py --kills 200
    python benchmarks/robustness/kills.py --kills 20 --command bench --seed 1

Each command is run once undisturbed. Then, in a store of its own, it is started and killed (SIGKILL) after a time drawn
evenly from what the undisturbed command took, again and again, until it is done before its time is up. Time is that of
the processors where the system tells it (Linux), for another program must not move the kills; libraries are loaded once
and commands are forked from there, for kills are to hit work and not imports. What the command leaves
then has to be what the undisturbed one left, byte for byte, but for what was timed. Every second kill hits the process
alone, and its workers are to notice; the others hit all processes of the command.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import os
import pkgutil
import random
import re
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from importlib import import_module
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file

import lwa_core
import lwa_plugins
from lwa_core.cli import main

RESULTS = Path(__file__).parent / "results"

RECIPE = """\
name = "killed"

[data]
use = "synthetic"
users = 100
items = 220
mean_length = 12

[recommender]
use = "sequential"
layers = 4
width = 16
max_length = 12
epochs = 3
batch = 16

[[score]]
use = "fisher"

[[score]]
use = "leave-one-out"

[calibration]
examples = 32

[select]
use = "greedy"
keep = 2

[[compress]]
use = "distill"
epochs = 2
batch = 16

[evaluate]
bootstrap = 100
requests = 0
memory = false
"""

BENCH = """\
name = "killed"
seeds = [0, 1]

[[cell]]
recipe = "recipe.toml"

[[score]]
use = "leave-one-out"

[[score]]
use = "fisher"

[[select]]
use = "greedy"

[heal]
use = "fine-tune"
epochs = 1

[measure]
test = 50
healed = [0.5]
controls = 4
"""

TIMED = re.compile(r'"(cpu_seconds|table_cpu_seconds|measured)": ?("[^"]*"|[0-9.e+-]+)')
"""What differs from one time to the next in files that hold results."""

TIMED_KINDS = ("performance", "bench-table", "bench-entry")
"""Kinds of results whose bytes hold times."""


def make_texts(folder: Path) -> None:
    """A tiny language model with random weights, and texts for it."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    words = {word: number for number, word in enumerate(["[PAD]", "[UNK]", *(f"w{i}" for i in range(40))])}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    torch.manual_seed(0)
    sizes = {"vocab_size": len(words), "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 4}
    heads = {"num_attention_heads": 2, "num_key_value_heads": 1, "max_position_embeddings": 64}
    LlamaForCausalLM(LlamaConfig(**sizes, **heads)).save_pretrained(folder / "model")
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]")
    fast.save_pretrained(folder / "model")
    rng = np.random.default_rng(0)
    texts = [" ".join(f"w{i}" for i in rng.integers(40, size=12)) for _ in range(64)]
    (folder / "texts.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts), "utf-8")


def command_line(name: str, inputs: Path, store: Path) -> list[str]:
    asked = {
        "run": ["run", str(inputs / "recipe.toml")],
        "bench": ["bench", str(inputs / "bench.toml"), "--jobs", "2", "--results", str(store / "boards"), "--json"],
        "score": [
            *("score", "--model", str(inputs / "model"), "--data", str(inputs / "texts.jsonl"), "--json"),
            *("--scorer", "leave-one-out", "--scorer", "block-influence", "--scorer", "shapley", "--batch", "8"),
        ],
    }[name]
    return [*asked, "--store", str(store)]


def load_libraries() -> None:
    """What commands import, once for all of them: kills are to hit work."""
    for package in (lwa_core, lwa_plugins):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if not module.name.endswith("__main__"):
                import_module(module.name)
    for name in ("transformers.models.llama.modeling_llama", "transformers.trainer", "scipy.stats"):
        import_module(name)


class Command:
    """The command while it runs, forked from this process, in a session of its own."""

    def __init__(self, name: str, inputs: Path, store: Path) -> None:
        store.mkdir(parents=True, exist_ok=True)
        self.out, self.err = store.parent / "stdout", store.parent / "stderr"
        self.seconds = 0.0
        self.pid = os.fork()
        if self.pid == 0:
            self._become(command_line(name, inputs, store))

    def _become(self, arguments: list[str]) -> None:
        code = 1
        try:
            os.setsid()
            for handle, file in ((0, Path(os.devnull)), (1, self.out), (2, self.err)):
                os.dup2(os.open(file, os.O_RDWR | os.O_CREAT | (os.O_TRUNC if handle else 0)), handle)
            sys.argv = ["lwa", *arguments]
            main(arguments)
        except SystemExit as ended:
            code = int(ended.code or 0)
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)

    def is_done_within(self, seconds: float) -> bool:
        began = time.monotonic()
        while True:
            ended, status = os.waitpid(self.pid, os.WNOHANG)
            if ended:
                break
            used = self.cpu_seconds()
            self.seconds = time.monotonic() - began if used is None else used
            if self.seconds >= seconds:
                return False
            time.sleep(0.02)
        if status != 0:
            raise SystemExit(f"ended with {os.waitstatus_to_exitcode(status)}: {self.err.read_text()}")
        return True

    def cpu_seconds(self) -> float | None:
        """What the processes of this command have used so far; None where the system does not tell."""
        if sys.platform != "linux":
            return None
        ticks = 0
        for file in Path("/proc").glob("[0-9]*/stat"):
            try:
                fields = file.read_text("ascii", "replace").rpartition(")")[2].split()
            except OSError:  # it has ended
                continue
            if int(fields[2]) == self.pid:  # its process group
                ticks += sum(map(int, fields[11:15]))  # its own, and that of its children that have ended
        return ticks / os.sysconf("SC_CLK_TCK")

    def kill(self, all_of_it: bool) -> None:
        (os.killpg if all_of_it else os.kill)(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)

    def last_words(self) -> str:
        """What it was at, as far as it told: for the table."""
        lines = self.err.read_text("utf-8", "replace").splitlines()
        return re.sub(r":? ?(done in|stored already|\().*", "", lines[-1])[:40] if lines else "starting"


def left_in(name: str, store: Path, stdout: Path) -> dict[str, str]:
    """What a command left, by name: sha256 of the bytes without what is timed."""
    files = [path for path in (store / "results").rglob("*") if path.is_file()]
    files = [path for path in files if path.relative_to(store).parts[1] != "answers"]
    files += [
        path for path in (store / "runs").glob("*/*") if path.name in ("metrics.json", "recipe.toml", "UNFINISHED")
    ]
    files += [path for path in (store / "runs").glob("*/models/**/*") if path.is_file()]
    files += [path for path in (store / "work").rglob("*") if path.is_file()]
    found = {str(path.relative_to(store)): digest_of(path, store) for path in files}
    found["answers"] = digest_of_answers(store)
    if name != "run":
        found["stdout"] = sha256(TIMED.sub("", stdout.read_text("utf-8")).encode())
    return found


def digest_of(path: Path, store: Path) -> str:
    place, kind = path.relative_to(store).parts[:2]
    if place == "results" and kind in TIMED_KINDS and (path.name == "manifest.json" or kind == "performance"):
        return "timed"
    return sha256(TIMED.sub("", path.read_text("utf-8")).encode() if path.suffix == ".json" else path.read_bytes())


def digest_of_answers(store: Path) -> str:
    """All that is known of subsets: which of them were asked for at once is not the same after a kill."""
    known = {}
    for file in sorted((store / "results" / "answers").glob("*/answers.safetensors")):
        arrays = load_file(file)
        about = file.parent.name[:32]
        for name in sorted(arrays.keys() - {"kept"}):
            for kept, row in zip(arrays["kept"], arrays[name], strict=True):
                known[f"{about} {int(kept)} {name}"] = sha256(np.ascontiguousarray(row).tobytes())
    return sha256(json.dumps(known, sort_keys=True).encode())


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def kill_one(name: str, inputs: Path, folder: Path, kills: int, rng: random.Random) -> dict[str, object]:
    """Kill one command so often, in as many stores as that takes; says what differed."""
    undisturbed = Command(name, inputs, folder / "undisturbed" / "store")
    undisturbed.is_done_within(math.inf)
    took = undisturbed.seconds
    expected = left_in(name, folder / "undisturbed" / "store", undisturbed.out)
    print(f"{name}: undisturbed in {took:.1f} s, {len(expected)} files", flush=True)
    at: Counter[str] = Counter()
    done, stores, different = 0, 0, []
    while done < kills:
        here = folder / f"store-{stores}"
        stores += 1
        while True:
            running = Command(name, inputs, here / "store")
            # Only the last one of a store is let go on to its end whatever it takes.
            if running.is_done_within(rng.uniform(0, took) if done < kills else math.inf):
                break
            running.kill(all_of_it=done % 2 == 1)
            at[running.last_words()] += 1
            done += 1
            print(f"{name}: kill {done} after {running.seconds:.1f} s, at: {running.last_words()}", flush=True)
        found = left_in(name, here / "store", running.out)
        odd = sorted(file for file in found.keys() | expected.keys() if found.get(file) != expected.get(file))
        different += [f"store {stores}: {file}" for file in odd]
        print(f"{name}: {done} kills, {stores} stores, {len(different)} files differ {odd[:5]}", flush=True)
        if not odd:
            shutil.rmtree(here)
    return {"kills": done, "stores": stores, "seconds": round(took, 1), "different": different, "at": dict(at)}


def kill_all() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--kills", type=int, default=200, help="of each command, a third where none is named")
    parser.add_argument("--command", choices=["run", "bench", "score"], help="all three where left out")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--save", action="store_true", help="write the counts beside this file")
    asked = parser.parse_args()
    names = [asked.command] if asked.command else ["run", "bench", "score"]
    rng = random.Random(asked.seed)
    told = {}
    os.environ["OMP_NUM_THREADS"] = "1"
    load_libraries()
    with tempfile.TemporaryDirectory(prefix="lwa-kills-") as scratch:
        inputs = Path(scratch) / "inputs"
        inputs.mkdir()
        (inputs / "recipe.toml").write_text(RECIPE)
        (inputs / "bench.toml").write_text(BENCH)
        make_texts(inputs)
        for name in names:
            told[name] = kill_one(name, inputs, Path(scratch) / name, -(-asked.kills // len(names)), rng)
    print(json.dumps(told, indent=2))
    if asked.save:
        RESULTS.mkdir(exist_ok=True)
        file = RESULTS / f"{time.strftime('%Y-%m-%d')}-kills-{asked.seed}.json"
        file.write_text(json.dumps({"seed": asked.seed, "commands": told}, indent=2) + "\n", "utf-8")
    sys.exit(any(each["different"] for each in told.values()))


if __name__ == "__main__":
    kill_all()
