"""Cost of each built-in scorer in forward passes, timed side by side with one in this run."""

import argparse
import json
import time
from pathlib import Path
from statistics import median

import numpy as np
import torch

from lwa_core import Catalogue, LayeredModel
from lwa_core.modeling.observation import observe
from lwa_core.modeling.probe import Probe
from lwa_core.plugins import Registry
from lwa_core.testing import tiny_recommender
from lwa_core.testing.conformance import score

HERE = Path(__file__).parent
SCORERS = {"fisher": {}, "block-influence": {}, "leave-one-out": {}, "shapley": {"pairs": 100}, "weight-magnitude": {}}


def make_probe(depth, width, examples, length):
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    recommender = tiny_recommender(layers=depth, width=width, heads=2, max_length=length)
    model = recommender.build(Catalogue(ids=tuple(map(str, range(3000)))))
    histories = [rng.integers(0, 3000, length).astype(np.int32) for _ in range(examples)]
    return Probe(LayeredModel(model), recommender, histories, rng.integers(0, 3000, examples), batch=64)


def forward(probe):
    for _ in observe(probe, frozenset()):
        pass


def step(probe):
    """A plain forward and backward pass, weight gradients included."""
    for batch in probe.batches():
        probe.recommender.loss(probe.model.model, batch).mean.sum().backward()
    probe.model.model.zero_grad()


def seconds(call):
    begin = time.process_time()
    call()
    return time.process_time() - begin


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--depth", type=int, default=12)
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--examples", type=int, default=128)
    parser.add_argument("--length", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--save", action="store_true")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    shape = (asked.depth, asked.width, asked.examples, asked.length)
    registry = Registry.discover()
    rows = {"forward and backward": {"F": [], "layer evaluations / depth": None}}
    forward(make_probe(*shape))
    for _ in range(asked.rounds):
        unit = seconds(lambda: forward(make_probe(*shape)))
        rows["forward and backward"]["F"].append(seconds(lambda: step(make_probe(*shape))) / unit)
        for name, settings in SCORERS.items():
            probe = make_probe(*shape)
            scorer = registry.find("scorer", name).load()(**settings)
            row = rows.setdefault(name, {"F": []})
            row["F"].append(seconds(lambda s=scorer, p=probe: score(s, p)) / unit)
            row["layer evaluations / depth"] = round(probe.layer_evaluations / asked.depth, 2) or None
    for row in rows.values():
        row["F"] = round(median(row["F"]), 2)
    for name, row in rows.items():
        print(f"{name:<22} {row['F']:8.2f} F   {row['layer evaluations / depth'] or '-'}")
    if asked.save:
        file = HERE / "results" / f"{time.strftime('%Y-%m-%d-%H%M%S')}.json"
        file.write_text(json.dumps({"asked": vars(asked), "torch": torch.__version__, "rows": rows}, indent=1) + "\n")
