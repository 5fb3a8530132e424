"""Which utility on calibration examples predicts what a set of layers is worth to test users, cut and repaired.

    OMP_NUM_THREADS=1 python benchmarks/choices/measure.py RECIPE.toml --seeds 0 1 2 [--repair 4] [--save NAME]

The teacher of the recipe is trained, or taken from the store, once for each seed. Every set of its layers is measured
without removing any: the utilities on the recipe's calibration examples, NDCG as its report has it on all test users.
`--repair` cuts the teacher to random sets of that size, and to those that each utility takes for the best, and measures
each on all test users as cut and as `patch` leaves it. Test users choose nothing here: they say what was chosen.
"""

import argparse
import json
from functools import partial
from itertools import combinations
from pathlib import Path

import attrs
import numpy as np
from scipy.stats import spearmanr

from lwa_core.modeling.probing.probe import Probe
from lwa_core.pipeline.events import Bus
from lwa_core.pipeline.graph import Run
from lwa_core.pipeline.plan import make_plan
from lwa_core.pipeline.stages.other_sets import random_sets, spaced
from lwa_core.pipeline.stages.students import Compression
from lwa_core.pipeline.task import make_probe
from lwa_core.recipe.reader import load_recipe
from lwa_core.store.results import Store
from lwa_core.types import Quiet, RunContext

HERE = Path(__file__).parent
UTILITIES = ("loss", "kl", "scaled-loss", "ndcg")


@attrs.frozen
class Teacher:
    """A trained model, its data and its task."""

    task: object
    data: object
    stored: object

    @property
    def live(self):
        return self.stored.live

    @property
    def depth(self):
        return self.live.layered.depth


def teacher_of(file, overrides, store):
    recipe = load_recipe(file, overrides)
    plan = make_plan(recipe, refit=False)
    folder = Path(store) / "choices" / recipe.name
    folder.mkdir(parents=True, exist_ok=True)
    run = Run(recipe, Store(Path(store)), Bus(recipe.registry, RunContext(recipe.name, folder), silent=True))
    return Teacher(plan.task, run.value(plan.data), run.value(plan.teacher))


def tables(teacher):
    """Mean utility of every set on calibration examples, by utility, and its NDCG on all test users (sets,)."""
    probe = make_probe(teacher.task, teacher.data, teacher.live, Quiet())
    sets = [kept for size in range(1, teacher.depth + 1) for kept in combinations(range(teacher.depth), size)]
    chosen_by = {utility: probe.evaluate(sets, utility).mean(axis=1) for utility in UTILITIES}
    probe = make_probe(teacher.task, teacher.data, teacher.live, Quiet())
    probe.repair = "least-squares"
    chosen_by |= {f"{utility}, repaired": probe.evaluate(sets, utility).mean(axis=1) for utility in ("loss", "kl")}
    histories, targets = teacher.task.held_out(teacher.data, teacher.live, 10**9)
    test = Probe(
        teacher.live.layered, teacher.live.subject, histories, targets, **teacher.task.ranked, batch=probe.batch
    )
    return sets, chosen_by, test.evaluate(sets, "ndcg").mean(axis=1), probe.examples, test.examples


def by_size(teacher, sets, chosen_by, tested, calibration, test):
    """For every size: rank correlations with the test figure, and the share that each utility's best set keeps."""
    sizes, full = np.array([len(kept) for kept in sets]), tested[-1]
    told = []
    for size in range(1, teacher.depth):
        rows = np.flatnonzero(sizes == size)
        own = tested[rows] / full
        even = sets.index(spaced(teacher.depth, size))
        told.append(
            {
                "size": size,
                "sets": len(rows),
                "best": float(own.max()),
                "random": float(own.mean()),
                "evenly_spaced": float(tested[even] / full),
                "utilities": {
                    name: {
                        "spearman": float(spearmanr(values[rows], tested[rows])[0]),
                        "kept": float(own[values[rows].argmax()]),
                        "chosen": list(sets[rows[values[rows].argmax()]]),
                        "rank": int(1 + (own > own[values[rows].argmax()]).sum()),
                    }
                    for name, values in chosen_by.items()
                },
            }
        )
    return {"examples": {"calibration": calibration, "test": test}, "teacher": float(full), "sizes": told}


def repaired(teacher, size, chosen, count, work, forms):
    """Test NDCG of sets over the teacher's, as cut and as each form of `patch` leaves them."""
    patch = teacher.task.recipe.registry.find("compressor", "patch").load()
    figure = partial(teacher.task.quality_of, teacher.data, report=Quiet())
    full = figure(model=teacher.live)
    told = []
    drawn = {f"random {number}": kept for number, kept in enumerate(random_sets(teacher.depth, size, count, 1))}
    for how, kept in {**chosen, **drawn}.items():
        row = {"how": how, "layers": list(kept)}
        for name, settings in {"cut": None, **forms}.items():
            job = Compression(
                task=teacher.task,
                data=teacher.data,
                teacher=teacher.live.layered,
                model=teacher.stored.load(),
                kept=tuple(kept),
                seed=0,
                workspace=work,
                report=Quiet(),
            )
            network = job.cut().model if settings is None else patch(**settings).compress(job)
            row[name] = figure(model=teacher.task.with_network(teacher.live, network.eval(), None)) / full
        told.append(row)
        print(json.dumps(row), flush=True)
    return told


FORMS = {
    "scalar": {"form": "scalar"},
    "branch": {"on": "branch"},
    "least-squares": {},
}


def arguments(described):
    """What every measurement of some teachers of a recipe is asked with."""
    parser = argparse.ArgumentParser(description=described.splitlines()[0])
    parser.add_argument("recipe", type=Path)
    parser.add_argument("--set", dest="overrides", action="append", default=[])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--store", default="lwa-runs")
    parser.add_argument("--save")
    return parser


def save(here, asked, found):
    """Write what was found of the teachers so far, where it is to be saved."""
    if asked.save:
        file = here / "results" / f"{asked.save}.json"
        file.parent.mkdir(exist_ok=True)
        file.write_text(json.dumps({"recipe": asked.recipe.name, "teachers": found}, indent=1) + "\n", "utf-8")


def main():
    parser = arguments(__doc__)
    parser.add_argument("--repair", type=int, nargs="*", default=[])
    parser.add_argument("--sets", type=int, default=20)
    asked = parser.parse_args()
    found = []
    for seed in asked.seeds:
        teacher = teacher_of(asked.recipe, [*asked.overrides, f"seed={seed}"], asked.store)
        sets, chosen_by, *measured = tables(teacher)
        told = {"seed": seed, **by_size(teacher, sets, chosen_by, *measured), "repaired": {}}
        for row in told["sizes"]:
            print(json.dumps(row), flush=True)
        for size in asked.repair:
            chosen = {name: each["chosen"] for name, each in told["sizes"][size - 1]["utilities"].items()}
            chosen |= {"evenly spaced": spaced(teacher.depth, size), "first": range(size)}
            chosen |= {"last": range(teacher.depth - size, teacher.depth)}
            rows = repaired(teacher, size, chosen, asked.sets, Path(asked.store), FORMS)
            for row in rows:
                place = sets.index(tuple(row["layers"]))
                row["utilities"] = {name: float(values[place]) for name, values in chosen_by.items()}
            told["repaired"][size] = rows
        found.append(told)
        save(HERE, asked, found)


if __name__ == "__main__":
    main()
