"""What the guard of plugins costs: its share of the CPU time of scoring, taken inside one run."""

import argparse
import functools
import json
import time
from pathlib import Path

import attrs
import numpy as np
import torch

from lwa_core import Catalogue, LayeredModel
from lwa_core.modeling.devices import device
from lwa_core.modeling.probing.probe import Probe
from lwa_core.pipeline.scoring import is_observing, observed_scores, queried_scores
from lwa_core.plugins.lending import guard, process
from lwa_core.plugins.registry import Registry
from lwa_core.recipe.recipe import Use
from lwa_core.testing import tiny_recommender
from lwa_core.types import Quiet

HERE = Path(__file__).parent
MODELS = {
    "small": {"layers": 6, "width": 64, "items": 1682, "examples": 1024, "length": 50},
    "medium": {"layers": 12, "width": 256, "items": 20000, "examples": 512, "length": 50},
    "large": {"layers": 24, "width": 1024, "items": 20000, "examples": 256, "length": 100},
}
QUERYING = ("leave-one-out", "greedy-order", "shapley")
PARTS = {
    guard.Loan: ("__init__", "check", "check_answers", "check_process", "counted"),
    guard.Shown: ("__init__", "check"),
    process.ProcessState: ("now", "changes", "restore"),
}


@attrs.define
class Spent:
    """Seconds inside the guard, of CPU time and of wall time; what is nested counts once."""

    cpu: float = 0.0
    wall: float = 0.0
    depth: int = 0

    def watch(self, call):
        @functools.wraps(call)
        def inside(*args, **kwargs):
            self.depth += 1
            cpu, wall = time.process_time(), time.perf_counter()
            try:
                return call(*args, **kwargs)
            finally:
                self.depth -= 1
                if not self.depth:
                    self.cpu += time.process_time() - cpu
                    self.wall += time.perf_counter() - wall

        return inside


def watched():
    """Every entry to the guard, with a clock around it."""
    spent = Spent()
    for kind, names in PARTS.items():
        for name in names:
            plain = kind.__dict__[name]
            if isinstance(plain, classmethod):
                setattr(kind, name, classmethod(spent.watch(plain.__func__)))
            else:
                setattr(kind, name, spent.watch(plain))
    guard.seed_all = process.seed_all = spent.watch(process.seed_all)
    return spent


def probe_of(layers, width, items, examples, length):
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    recommender = tiny_recommender(layers=layers, width=width, heads=width // 32, max_length=length)
    model = recommender.build(Catalogue(ids=tuple(map(str, range(items)))), Quiet()).to(device())
    histories = [
        rng.integers(0, items, rng.integers(length // 2, length + 1)).astype(np.int32) for _ in range(examples)
    ]
    targets = rng.integers(0, items, examples)
    return lambda: Probe(LayeredModel(model), recommender, histories, targets, batch=64, training_targets=50 * examples)


def uses():
    offers = [offer for offer in Registry.discover().components("scorer") if offer.provider.distribution == "lwa"]
    made = [Use("scorer", offer.name, offer.name, offer, {}, offer.load()(), ()) for offer in offers]
    return [use for use in made if is_observing(use)], [use for use in made if use.name in QUERYING]


def foreign(use):
    """A scorer as if it were somebody else's, who is looked at after each call."""
    provider = attrs.evolve(use.offer.provider, distribution="another")
    return attrs.evolve(use, offer=attrs.evolve(use.offer, provider=provider))


def observed(uses, fresh):
    observed_scores(uses, fresh(), Quiet())


def queried(use, fresh):
    queried_scores(use, fresh())


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", nargs="*", default=["small", "medium"], choices=[*MODELS])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--save", action="store_true", help="add the figures to results/")
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    spent, rows = watched(), []
    observing, querying = uses()
    for name in asked.models:
        fresh = probe_of(**MODELS[name])
        alone = [foreign(use) for use in observing if use.name == "block-influence"]
        work = {
            "all observing scorers, one pass": functools.partial(observed, observing, fresh),
            "the same, if none were our own": functools.partial(observed, [foreign(use) for use in observing], fresh),
            "block-influence alone": functools.partial(observed, alone, fresh),
            **{use.name: functools.partial(queried, use, fresh) for use in querying},
        }
        for what, call in work.items():
            call() if name == "small" else None  # what is loaded once is not to be counted
            spent.cpu = spent.wall = 0.0
            cpu, wall = time.process_time(), time.perf_counter()
            call()
            cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
            rows.append({"model": name, "work": what, "cpu": cpu, "guard_cpu": spent.cpu, "wall": wall})
            rows[-1] |= {"guard_wall": spent.wall, "share": spent.cpu / cpu, "share_wall": spent.wall / wall}
            print(
                f"{name:7} {what:32} {cpu:8.2f} s, guard {1000 * spent.cpu:8.1f} ms: {spent.cpu / cpu:.2%}", flush=True
            )
    if asked.save:
        file = HERE / "results" / f"{time.strftime('%Y-%m-%d-%H%M%S')}.json"
        said = {"torch": torch.__version__, "device": str(device()), "threads": asked.threads, "models": MODELS}
        file.parent.mkdir(exist_ok=True)
        file.write_text(json.dumps({**said, "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
