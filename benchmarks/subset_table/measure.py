"""What families of layer subsets cost in forward passes: counted, and in CPU-seconds beside a plain one in this run."""

import argparse
import json
import time
from itertools import permutations
from pathlib import Path
from statistics import median

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from lwa_core import Catalogue, LayeredModel
from lwa_core.modeling.layers.layered import block_input
from lwa_core.modeling.probing.probe import Probe
from lwa_core.pipeline.stages.selection import TeacherSelection
from lwa_core.plugins.registry import Registry
from lwa_core.testing import tiny_recommender
from lwa_core.types import Quiet, ScoreBoard

HERE = Path(__file__).parent


def make_probe(asked, examples):
    """Random weights, moved off their start so every layer changes the answer; the cost does not depend on them."""
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    recommender = tiny_recommender(layers=asked.depth, width=asked.width, heads=2, max_length=asked.length)
    model = recommender.build(Catalogue(ids=tuple(map(str, range(asked.items)))), Quiet())
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    histories = [rng.integers(0, asked.items, asked.length).astype(np.int32) for _ in range(examples)]
    targets = rng.integers(0, asked.items, examples)
    return Probe(LayeredModel(model), recommender, histories, targets, batch=64)


def judged(probe, model):
    """Loss and rank of every example by a model as it stands: what an entry of the table holds (2, examples)."""
    rows = []
    for batch in probe.batches():
        with torch.no_grad():
            logits = probe.subject.head(model, probe.subject.encode(model, batch)[0])
            own = logits.gather(1, batch["targets"][:, None])
            loss = F.cross_entropy(logits, batch["targets"], reduction="none")
            rows.append(torch.stack([loss, 1.0 + (logits > own).sum(dim=1)]))
    return torch.cat(rows, dim=1)[:, np.argsort(probe.order)].double().numpy()


def seconds(call):
    begin = time.process_time()
    value = call()
    return time.process_time() - begin, value


def unit(probe, rounds=5):
    """CPU-seconds of one plain forward pass."""
    return [seconds(lambda: judged(probe, probe.model.model))[0] for _ in range(rounds)]


def component(kind, name, **settings):
    return Registry.discover().find(kind, name).load()(**settings)


def ask(asked, family):
    """A fresh probe asked for a family: a round's figures, F timed just before and after it, and the answer."""
    probe = make_probe(asked, asked.examples)
    before = unit(probe)
    took, answer = seconds(lambda: family(probe))
    passes = [*before, *unit(probe)]
    said = {"cpu_seconds": took, "seconds_of_F": median(passes), "F": round(took / median(passes), 1)}
    return said, round(probe.cost, 2), probe, answer


def greedy(keep):
    def run(probe):
        selection = TeacherSelection(probe.depth, 0, ScoreBoard({}), lambda: probe)
        return component("selector", "greedy", keep=keep).select(selection)

    return run


def greedy_counts(depth, keep):
    """Counted F of greedy for every order in which layers could go: each distinct prefix of what is asked runs once."""
    full = {tuple(range(n)) for n in range(1, depth + 1)}
    counts = []
    for order in permutations(range(depth), depth - keep):
        ran = set(full)
        for number in range(len(order)):
            left = [layer for layer in range(depth) if layer not in order[:number]]
            for out in left:
                kept = tuple(layer for layer in left if layer != out)
                ran |= {kept[:n] for n in range(1, len(kept) + 1)}
        counts.append(len(ran) / depth)
    return {"orders": len(counts), "lowest": min(counts), "mean": float(np.mean(counts)), "highest": max(counts)}


def naive(probe, subsets):
    """The answers of models that really lack the other layers: CPU-seconds a subset, and (subsets, 2, examples)."""
    times, answers = [], []
    for kept in subsets:
        student = probe.model.keep(kept).model.eval()
        took, answer = seconds(lambda student=student: judged(probe, student))
        times.append(took)
        answers.append(answer)
    return times, np.stack(answers)


class FromInputs(nn.Module):
    """First block's inputs (rows, time, width) -> log-probability of the target (rows,), for captum."""

    def __init__(self, probe):
        super().__init__()
        self.model = probe.model.model
        self.__dict__["probe"] = probe
        self.batch = next(probe.batches())
        self.rows = 0

    def forward(self, inputs):
        probe, times = self.__dict__["probe"], len(inputs) // len(self.batch["targets"])
        batch = {name: value.repeat(times, *[1] * (value.dim() - 1)) for name, value in self.batch.items()}
        self.rows += len(inputs)

        def enter(_, args, kwargs):
            return ((inputs, *args[1:]), kwargs) if args else (args, {**kwargs, "hidden_states": inputs})

        handle = probe.model.layers[0].register_forward_pre_hook(enter, with_kwargs=True)
        try:
            return -F.cross_entropy(probe.logits(batch), batch["targets"], reduction="none")
        finally:
            handle.remove()


def conductance_of_captum(probe, steps):
    """Layer conductance of every block's output: mean over the examples (layers,), and forward passes that it made."""
    from captum.attr import LayerConductance

    tail, inputs = FromInputs(probe), []

    def note(_, args, kwargs):
        inputs.append(block_input(args, kwargs).detach())

    handle = probe.model.layers[0].register_forward_pre_hook(note, with_kwargs=True)
    with torch.no_grad():
        probe.logits(tail.batch)
    handle.remove()
    start = inputs[0].mean(dim=(0, 1)).expand_as(inputs[0]).clone()
    told = []
    for layer in probe.model.layers:
        parts = LayerConductance(tail, layer).attribute(inputs[0], baselines=start, n_steps=steps)
        told.append(float(parts.detach().sum()) / probe.examples)
    with torch.no_grad():
        change = float((tail(inputs[0]) - tail(start)).mean())
    return told, change, (tail.rows - 2 * probe.examples) / probe.examples


def families(asked, results):
    """Families of subsets, then all of them beside really removed layers."""
    named = {
        "leave-one-out": component("scorer", "leave-one-out").score,
        f"greedy to {asked.keep} of {asked.depth}": greedy(asked.keep),
        "shapley, 100 pairs": component("scorer", "shapley", pairs=100).score,
        f"all {2**asked.depth:,} subsets": lambda probe: (
            probe.evaluate(probe.subsets()),
            probe.ranks(probe.subsets()),
        ),
    }
    rounds = {name: [] for name in named}
    for _ in range(asked.rounds):
        for name, family in named.items():
            said, counted, probe, answer = ask(asked, family)
            rounds[name].append(said)
            results["families"][name] = {"counted": counted}
    for name, row in results["families"].items():
        row.update(F=median(said["F"] for said in rounds[name]), rounds=rounds[name])
    return probe, answer


def beside_removed(asked, probe, table, row):
    """A sample of the table's entries, from models that really lack the other layers."""
    losses, ranks = table
    subsets = probe.subsets()
    chosen = np.sort(np.random.default_rng(1).choice(np.arange(1, len(subsets)), asked.sample, replace=False))
    before = unit(probe)
    times, answers = naive(probe, [subsets[n] for n in chosen])
    own = median([*before, *unit(probe)])
    apart = np.abs(answers[:, 0] + losses[chosen])
    each = float(np.mean(times) / own)
    return {
        "subsets": asked.sample,
        "F_each": round(each, 3),
        "F_standard_error": round(float(np.std(times, ddof=1) / np.sqrt(len(times)) / own), 3),
        "F_all_extrapolated": round(each * len(subsets)),
        "times_the_table": round(each * len(subsets) / row["F"], 1),
        "largest_difference_of_losses": float(apart.max()),
        "ranks_that_differ": int((answers[:, 1] != ranks[chosen]).sum()),
        "ranks": int(answers[:, 1].size),
    }


def paths(asked):
    """Gate path and captum's layer conductance, on fewer examples and in their own F."""
    probe = make_probe(asked, asked.path_examples)
    before = unit(probe, 9)
    took, _ = seconds(lambda: component("scorer", "gate-path").score(probe))
    gate = {"cpu_seconds": took, "counted": round(probe.cost, 2)}
    took, (told, change, passes) = seconds(lambda: conductance_of_captum(probe, asked.steps))
    own = median([*before, *unit(probe, 9)])
    captum = {"cpu_seconds": took, "counted_forward": passes, "layers": told, "answer_less_baseline": change}
    for row in (gate, captum):
        row["F"] = round(row["cpu_seconds"] / own, 1)
    return {"examples": asked.path_examples, "seconds_of_F": own, "gate-path": gate, "captum": captum}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--depth", type=int, default=12)
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--length", type=int, default=32)
    parser.add_argument("--items", type=int, default=3417)
    parser.add_argument("--examples", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=3, help="times that every family is timed, in turn")
    parser.add_argument("--keep", type=int, default=8, help="where greedy ends")
    parser.add_argument("--sample", type=int, default=48, help="subsets that are asked naively too")
    parser.add_argument("--path-examples", type=int, default=8, help="examples for gate path and captum")
    parser.add_argument("--steps", type=int, default=50, help="of captum's layer conductance")
    parser.add_argument("--save", action="store_true", help="add the figures to results/")
    parser.add_argument("--greedy-counts", action="store_true", help="only count greedy, for every order of removal")
    asked = parser.parse_args()
    if asked.greedy_counts:
        print(greedy_counts(asked.depth, asked.keep))
        raise SystemExit
    torch.set_num_threads(1)
    results = {"asked": vars(asked), "torch": torch.__version__, "families": {}}
    probe, table = families(asked, results)
    *_, last = results["families"].values()
    results["removed"] = beside_removed(asked, probe, table, last)
    results["paths"] = paths(asked)
    for name, row in results["families"].items():
        low, high = (pick(said["F"] for said in row["rounds"]) for pick in (min, max))
        print(f"{name:<22} counted {row['counted']:8.2f} F   CPU {row['F']:8.1f} F ({low:.1f} to {high:.1f})")
    print("really removed layers:", results["removed"])
    print("paths:", {name: results["paths"][name] for name in ("gate-path", "captum")})
    if asked.save:
        file = HERE / "results" / f"{time.strftime('%Y-%m-%d-%H%M%S')}.json"
        file.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
