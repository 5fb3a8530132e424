"""Other ways to walk the table of all layer subsets, timed in turn: sizes of micro-batches, and variants together."""

import argparse
import json
import time
from pathlib import Path
from statistics import median

import numpy as np
import torch
from measure import make_probe, seconds, unit

from lwa_core.modeling.kernels.matmul import fast_linear_maps
from lwa_core.modeling.probing.example_metrics import ExampleMetrics

HERE = Path(__file__).parent


def one_by_one(probe):
    """As `Probe.evaluate` does: depth first, one subset at a time."""
    return probe.evaluate(probe.subsets(), "loss")


def together(probe, levels):
    """The same subsets; the states of the last `levels` layers are stacked along the batch, twice as many after each.

    Depth first down to these layers, then breadth first: 2^levels subsets share every call of a layer, of the head, and
    of the judge. As many layers run, on larger batches; the last layer at one position only, in both ways.
    """
    depth, layers = probe.depth, list(probe.model.layers)
    recommender, model = probe.subject, probe.model.model
    rows = np.empty((2**depth, probe.examples))
    start = 0
    for batch in probe.batches():
        size = len(batch["targets"])
        half = {name: value.repeat(2 ** (levels - 1), *[1] * (value.dim() - 1)) for name, value in batch.items()}
        judge = ExampleMetrics(half["targets"])

        def visit(index, bits, state, half=half, judge=judge, size=size, start=start):
            if index < depth - levels:
                visit(index + 1, bits, state)
                with fast_linear_maps():
                    after = layers[index](state)
                visit(index + 1, bits | 1 << index, after)
                return
            numbers = [bits]
            for place in range(index, depth - 1):
                with fast_linear_maps():
                    state = torch.cat([state, layers[place](state)])
                numbers += [number | 1 << place for number in numbers]
            last = recommender.last_layer(model, layers[-1], state, half)
            for bit, hidden in ((0, recommender.tail(model, state, half)), (1 << (depth - 1), last)):
                losses, _ = judge(recommender.head(model, hidden))
                for number, loss in zip(numbers, losses.view(-1, size), strict=True):
                    rows[number | bit, probe.order[start : start + size]] = loss

        with torch.no_grad():
            with probe.model.observe() as states:
                probe.logits(batch)
            visit(0, 0, states[0])
        start += size
    return -rows


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--depth", type=int, default=10)
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--length", type=int, default=32)
    parser.add_argument("--items", type=int, default=3417)
    parser.add_argument("--examples", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--save", action="store_true", help="add the figures to results/")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    ways = {f"one by one, micro-batch {size}": (size, one_by_one) for size in (16, 32, 64, 128, 256)}
    for levels in (2, 4):
        for size in (16, 32, 64):
            ways[f"{2**levels} together, micro-batch {size}"] = (size, lambda probe, n=levels: together(probe, n))
    rounds = {name: [] for name in ways}
    table = None
    for _ in range(asked.rounds):
        for name, (size, way) in ways.items():
            probe = make_probe(asked, asked.examples)
            before = unit(probe)
            probe.batch = size
            took, found = seconds(lambda probe=probe, way=way: way(probe))
            probe.batch = 64
            rounds[name].append(took / median([*before, *unit(probe)]))
            table = found if table is None else table
            assert np.abs(found - table).max() < 1e-4, name
    results = {name: {"F": round(median(row), 1), "rounds": [round(f, 1) for f in row]} for name, row in rounds.items()}
    for name, row in results.items():
        print(f"{name:<34} {row['F']:8.1f} F ({min(row['rounds']):.1f} to {max(row['rounds']):.1f})")
    if asked.save:
        told = {"asked": vars(asked), "torch": torch.__version__, "ways": results}
        file = HERE / "results" / f"{time.strftime('%Y-%m-%d-%H%M%S')}-variants.json"
        file.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
