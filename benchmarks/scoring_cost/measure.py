"""Cost of each built-in scorer in forward passes, timed side by side with one in this run."""

import argparse
import json
import time
from pathlib import Path
from statistics import median

import attrs
import numpy as np
import torch
import torch.nn.functional as F
from fisher import by_vmap, one_example_at_a_time

from lwa_core import Catalogue, LayeredModel
from lwa_core.modeling.kernels.matmul import fast_linear_maps
from lwa_core.modeling.probing.observation import observe, passes
from lwa_core.modeling.probing.probe import Probe
from lwa_core.pipeline.scoring import finished
from lwa_core.plugins.protocols import CombiningScorer, ObservingScorer
from lwa_core.plugins.registry import Registry
from lwa_core.testing import tiny_recommender
from lwa_core.testing.conformance import score
from lwa_core.types import Quiet

HERE = Path(__file__).parent
ITEMS = 3000


@attrs.frozen
class Bench:
    """A model and histories of full length; every timing gets a probe that remembers nothing."""

    depth: int
    width: int
    examples: int
    length: int
    recommender: object = attrs.field(init=False)
    model: object = attrs.field(init=False)
    histories: list = attrs.field(init=False)
    targets: object = attrs.field(init=False)

    def __attrs_post_init__(self):
        torch.manual_seed(0)
        rng = np.random.default_rng(0)
        recommender = tiny_recommender(layers=self.depth, width=self.width, heads=2, max_length=self.length)
        model = recommender.build(Catalogue(ids=tuple(map(str, range(ITEMS)))), Quiet())
        histories = [rng.integers(0, ITEMS, self.length).astype(np.int32) for _ in range(self.examples)]
        for name, value in {
            "recommender": recommender,
            "model": LayeredModel(model),
            "histories": histories,
            "targets": rng.integers(0, ITEMS, self.examples),
        }.items():
            object.__setattr__(self, name, value)

    def probe(self):
        return Probe(
            self.model, self.recommender, self.histories, self.targets, batch=64, training_targets=50 * self.examples
        )


def forward(probe):
    """F: the loss of every example, by torch alone."""
    with torch.no_grad():
        for batch in probe.batches():
            F.cross_entropy(probe.logits(batch), batch["targets"], reduction="none")


def step(probe):
    """A plain forward and backward pass, weight gradients of the batch included."""
    for batch in probe.batches():
        F.cross_entropy(probe.logits(batch), batch["targets"], reduction="sum").backward()
    probe.model.model.zero_grad()


def by_onednn(call):
    """The same with linear maps as `lwa` makes them on a CPU; the context stays open over the backward passes."""

    def run(probe):
        with fast_linear_maps():
            call(probe)

    return run


def together(scorers):
    """All observing scorers by one pass, as `lwa run` makes it."""
    needs = frozenset().union(*(scorer.observes for scorer in scorers))
    draws = max(getattr(scorer, "draws", 1) for scorer in scorers)

    def run(probe):
        parts = [[] for _ in scorers]
        for seen in observe(probe, needs, draws=draws):
            for part, scorer in zip(parts, scorers, strict=True):
                part.append(scorer.observe(seen))
        for part, scorer in zip(parts, scorers, strict=True):
            finished(scorer, part, probe)

    return run, passes(needs, draws)


def jobs(registry, wanted):
    """By name: (what to time, what is to be timed seldom)."""
    scorers = {offer.name: offer.load()() for offer in registry.components("scorer")}
    scorers = {name: scorer for name, scorer in scorers.items() if not isinstance(scorer, CombiningScorer)}
    observing = {name: scorer for name, scorer in scorers.items() if isinstance(scorer, ObservingScorer)}
    everything, made = together(list(observing.values()))
    few = {name: scorer for name, scorer in observing.items() if "sampled_gradient_norms" not in scorer.observes}
    no_draws, made_without = together(list(few.values()))
    rows = {
        "forward and backward": (step, 2),
        "forward, maps by oneDNN": (by_onednn(forward), 1),
        "forward and backward, maps by oneDNN": (by_onednn(step), 2),
        "Fisher, one example at a time": (one_example_at_a_time, None),
        "Fisher, torch.func.vmap(grad)": (by_vmap, None),
        f"all {len(observing)} observing scorers together": (everything, made),
        "those that draw no labels": (no_draws, made_without),
    }
    for name, scorer in scorers.items():
        made = passes(scorer.observes, getattr(scorer, "draws", 1)) if name in observing else None
        rows[name] = (lambda probe, scorer=scorer: score(scorer, probe), made)
    return {name: row for name, row in rows.items() if not wanted or any(word in name for word in wanted)}


def seconds(call, probe):
    begin = time.process_time()
    call(probe)
    return time.process_time() - begin


def measured(bench, rows, rounds, seldom):
    """Ratios to F, in turn with it, until each has as many rounds as it gets; with spread."""
    forward(bench.probe())
    step(bench.probe())
    for _ in observe(bench.probe(), ["gradient_norms"]):
        pass  # the comparison of hooks with autograd is made once for a model
    found = {name: {"F": []} for name in rows}
    for number in range(rounds):
        for name, (call, made) in rows.items():
            if number and found[name]["F"][0] > seldom:
                continue
            unit = min(seconds(forward, bench.probe()) for _ in range(2))
            probe = bench.probe()
            found[name]["F"].append(seconds(call, probe) / unit)
            found[name]["passes"] = made if made is not None else round(probe.cost, 2) or None
    return {
        name: {
            "F": round(median(row["F"]), 2),
            "least": round(min(row["F"]), 2),
            "most": round(max(row["F"]), 2),
            "rounds": len(row["F"]),
            "passes": row["passes"],
        }
        for name, row in found.items()
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--depth", type=int, default=12)
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--examples", type=int, default=128)
    parser.add_argument("--length", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seldom", type=float, default=20.0, help="what costs more F than this is timed once")
    parser.add_argument("--save", action="store_true")
    parser.add_argument("only", nargs="*", help="words in the names of what to time")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    bench = Bench(asked.depth, asked.width, asked.examples, asked.length)
    rows = measured(bench, jobs(Registry.discover(), asked.only), asked.rounds, asked.seldom)
    for name, row in rows.items():
        print(
            f"{name:<38} {row['F']:8.2f} F  ({row['least']:.2f} to {row['most']:.2f})   {row['passes'] or '-'} passes"
        )
    if asked.save:
        file = HERE / "results" / f"{time.strftime('%Y-%m-%d-%H%M%S')}.json"
        file.write_text(json.dumps({"asked": vars(asked), "torch": torch.__version__, "rows": rows}, indent=1) + "\n")
