"""Is it better to remove attention and feed-forward parts than whole layers, at equal measured time?

    OMP_NUM_THREADS=1 python benchmarks/parts/measure.py RECIPE.toml --seeds 0 1 2 --keep 4 [--save NAME]

The teacher of the recipe is trained, or taken from the store, once for each seed, and taken apart into attention and
feed-forward parts, which is the same function. Greedy removal by the recipe's utility takes whole layers from one form
until `--keep` are left, and parts from the other until what is left takes no more time than those: milliseconds of each
unit at batch 1, measured on the same histories. Both are measured on all test users as cut, as `patch` leaves them, and
after `--epochs` of distillation.
"""

import copy
import json
import sys
from functools import partial
from pathlib import Path

import attrs
import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "choices"))
from measure import arguments, save, teacher_of

from lwa_core.measuring.layer_costs import layer_milliseconds
from lwa_core.pipeline.recommendation_task import RankerModel
from lwa_core.pipeline.stages.students import Compression
from lwa_core.pipeline.task import make_probe
from lwa_core.types import Quiet
from lwa_plugins.recommenders.sequential.parts import in_parts

HERE = Path(__file__).parent
STEPS = {"cut": None, "patched": ("patch", {}), "distilled": ("distill", {"patience": 99})}


def greedy(probe, stop):
    """Layers left over when the one that costs least was removed again and again, until `stop` says so."""
    kept = tuple(range(probe.model.depth))
    with probe.holding():
        while not stop(kept):
            sets = [tuple(other for other in kept if other != gone) for gone in kept]
            kept = sets[int(probe.evaluate(sets).mean(axis=1).argmax())]
    return kept


def measured(teacher, ranker, kept, epochs, work):
    """Test NDCG of the model with these units: as cut, patched, distilled."""
    figure = partial(teacher.task.quality_of, teacher.data, report=Quiet())
    told = {}
    for step, use in STEPS.items():
        model = RankerModel.of(attrs.evolve(ranker, model=copy.deepcopy(ranker.model)))
        job = Compression(
            task=teacher.task,
            data=teacher.data,
            teacher=RankerModel.of(ranker).layered,
            model=model,
            kept=kept,
            seed=0,
            workspace=work,
            report=Quiet(),
        )
        if use is None:
            network = job.cut().model
        else:
            name, settings = use
            settings = {**settings, "epochs": epochs, "batch": 32} if name == "distill" else settings
            network = teacher.task.recipe.registry.find("compressor", name).load()(**settings).compress(job)
        told[step] = figure(model=teacher.task.with_network(teacher.live, network.eval(), None))
    return told


def compared(teacher, keep, epochs, work):
    ranker = teacher.live.ranker
    forms = {"layers": ranker, "parts": attrs.evolve(ranker, model=in_parts(ranker.model))}
    probes = {
        name: make_probe(teacher.task, teacher.data, RankerModel.of(form), Quiet()) for name, form in forms.items()
    }
    costs = {name: np.array(layer_milliseconds(probe, 200).layers) for name, probe in probes.items()}
    chosen = {"layers": greedy(probes["layers"], lambda kept: len(kept) <= keep)}
    budget = costs["layers"][list(chosen["layers"])].sum() / costs["layers"].sum()
    share = costs["parts"] / costs["parts"].sum()
    chosen["parts"] = greedy(probes["parts"], lambda kept: share[list(kept)].sum() <= budget)
    full = teacher.task.quality_of(teacher.data, teacher.live, Quiet())
    told = {"teacher": full, "milliseconds": {name: own.tolist() for name, own in costs.items()}}
    for name, kept in chosen.items():
        time = (costs[name] / costs[name].sum())[list(kept)].sum()
        figures = measured(teacher, forms[name], kept, epochs, work / name)
        told[name] = {"kept": list(map(int, kept)), "share_of_time": float(time), **figures}
    return told


def main():
    parser = arguments(__doc__)
    parser.add_argument("--keep", type=int, default=4)
    parser.add_argument("--epochs", type=int, default=2)
    asked = parser.parse_args()
    found = []
    for seed in asked.seeds:
        teacher = teacher_of(asked.recipe, [*asked.overrides, f"seed={seed}"], asked.store)
        found.append(
            {"seed": seed, **compared(teacher, asked.keep, asked.epochs, Path(asked.store) / "parts" / str(seed))}
        )
        print(json.dumps(found[-1]), flush=True)
        save(HERE, asked, found)


if __name__ == "__main__":
    main()
