"""No component sees a test target: what each kind is lent is walked, object by object, and none is found."""

from __future__ import annotations

import functools
import gc
import types
from pathlib import Path

import attrs
import numpy as np
import pytest
import torch
from tiny_recipe import TEXT, write_recipe

from lwa_core.data.saving import load_prepared
from lwa_core.pipeline.run import run_recipe
from lwa_core.recipe.reader import load_recipe
from lwa_core.store.results import Store

SPIES = """
import attrs
from lwa_core import Component, DepthPlan, hookimpl
from lwa_plugins.recommenders.sequential import Sequential
SEEN = {}


def look(kind, *things):
    SEEN.setdefault(kind, []).extend(things)


@attrs.frozen
class Asks:
    def score(self, probe):
        import torch
        look("querying scorer", probe)
        return torch.from_numpy(probe.evaluate([tuple(range(probe.depth))] * probe.depth)).T


@attrs.frozen
class Observes:
    observes = frozenset({"states"})

    def observe(self, seen):
        look("observing scorer", seen)
        return seen.losses[:, None].repeat(1, len(seen.states) - 1)

    def finish(self, rows, probe):
        look("observing scorer", probe)
        return rows


@attrs.frozen
class Combines:
    def combine(self, board):
        import torch
        look("combining scorer", board)
        return torch.from_numpy(board.means(board.names))


@attrs.frozen
class Chooses:
    keep = 2

    def select(self, selection):
        look("selector", selection, selection.probe, selection.costs("parameters"))
        return DepthPlan(selection.depth, [range(2)])


@attrs.frozen
class Trains:
    def compress(self, job):
        student = job.cut().model
        look("compressor", job, job.windows)

        def loss(model, batch):
            look("compressor", batch)
            return job.subject.loss(model, batch).overall

        from lwa_core import TrainingSettings
        return job.train(student, loss, TrainingSettings(epochs=1, batch=64, learning_rate=1e-3))


@attrs.frozen
class Recommends(Sequential):
    def build(self, catalogue, report):
        look("recommender", catalogue, report)
        return super().build(catalogue, report)

    def training_windows(self, sequences):
        look("recommender", sequences)
        return super().training_windows(sequences)

    def training_batch(self, windows):
        look("recommender", windows)
        return super().training_batch(windows)

    def example_batch(self, histories, targets=None):
        if targets is None:  # else they are calibration examples
            look("recommender", histories)
        return super().example_batch(histories, targets)


@hookimpl
def lwa_scorers():
    return [Component("asks", Asks), Component("observes", Observes), Component("combines", Combines)]


@hookimpl
def lwa_selectors():
    return [Component("chooses", Chooses)]


@hookimpl
def lwa_compressors():
    return [Component("trains", Trains)]


@hookimpl
def lwa_recommenders():
    return [Component("recommends", Recommends)]
"""

KINDS = ["querying scorer", "observing scorer", "combining scorer", "selector", "compressor", "recommender"]

RECIPE = 'plugins = ["./spies.py"]\n' + TEXT.replace('use = "sequential"', 'use = "recommends"').replace(
    "epochs = 3", "epochs = 1"
).replace('use = "fisher"', 'use = "observes"').replace('use = "block-influence"', 'use = "combines"').replace(
    'use = "leave-one-out"', 'use = "asks"'
).replace('use = "greedy"\nkeep = [2, 1]', 'use = "chooses"').replace(
    'use = "distill"\nepochs = 2\nbatch = 32', 'use = "trains"'
)

OURS = ("lwa_core.", "lwa_plugins.", "lwa_local_")
LONG = 8
"""Events of a user that are found elsewhere by no chance."""

LEAVES = (str, bytes, int, float, bool, type(None), type, types.ModuleType, Path, torch.Tensor, torch.nn.Module)


def reached_from(thing: object) -> list[object]:
    """What an object holds: attributes of ours, closures, arguments of partials, bases of arrays, containers."""
    if isinstance(thing, np.ndarray):
        return [thing.base, *vars(thing).values()] if hasattr(thing, "__dict__") else [thing.base]
    if isinstance(thing, (dict, list, tuple, set, frozenset)):
        return gc.get_referents(thing)
    if isinstance(thing, functools.partial):
        return [thing.func, thing.args, thing.keywords]
    if isinstance(thing, types.MethodType):
        return [thing.__self__, thing.__func__]
    if isinstance(thing, types.FunctionType):
        return [cell.cell_contents for cell in thing.__closure__ or ()] + [thing.__defaults__, thing.__kwdefaults__]
    if type(thing).__module__.startswith(OURS):
        names = [field.name for field in attrs.fields(type(thing))] if attrs.has(type(thing)) else []
        return [*vars(thing).values()] if hasattr(thing, "__dict__") else [getattr(thing, n, None) for n in names]
    return []


def walked(*things: object) -> list[object]:
    """Every object that these lead to."""
    found: dict[int, object] = {}
    left = list(things)
    while left:
        thing = left.pop()
        if id(thing) in found:
            continue
        found[id(thing)] = thing
        if not isinstance(thing, LEAVES) or isinstance(thing, types.FunctionType):
            left += reached_from(thing)
    return list(found.values())


def leads_to_tests(arrays: list[np.ndarray], data) -> list[np.ndarray]:
    """Arrays that hold what only the final evaluation may see: the last event of some user after what came before."""
    bounds = [(data.offsets[u], p + 1) for u, p in zip(data.test.users, data.test.positions, strict=True)]
    ends = [f" {' '.join(map(str, data.items[a:b].tolist()))} " for a, b in bounds if b - a >= LONG]
    targets = data.targets(data.test)
    wrong = []
    for array in arrays:
        values = np.asarray(array).reshape(-1)
        if len(values) >= len(targets) and any(
            np.array_equal(values[at : at + len(targets)], targets) for at in range(len(values) - len(targets) + 1)
        ):
            wrong.append(array)
        flat = f" {' '.join(map(str, values.tolist()))} "
        # In an array of many users a cut sequence may go on with its target by chance: with the next user's first item.
        if sum(end in flat for end in ends) > len(values) / 200:
            wrong.append(array)
    return wrong


@pytest.fixture(scope="module")
def seen(tmp_path_factory):
    """What every spy was lent in one run, and the prepared data."""
    base = tmp_path_factory.mktemp("lent")
    (base / "spies.py").write_text(SPIES, encoding="utf-8")
    recipe = load_recipe(write_recipe(base, RECIPE))
    run_recipe(recipe, Store(base / "store"))
    (data,) = (base / "store" / "results" / "data").iterdir()
    return recipe.scorers[0].offer.component.target.observe.__globals__["SEEN"], load_prepared(data)


@pytest.mark.parametrize("kind", KINDS)
def test_what_a_component_is_lent_leads_to_no_test_target(seen, kind):
    lent, data = seen
    objects = walked(*lent[kind])
    arrays = [each for each in objects if isinstance(each, np.ndarray) and each.dtype.kind in "iu"]

    assert len(objects) > 3
    assert [] == leads_to_tests(arrays, data)
    assert not any(type(each).__name__ == "PreparedData" and len(each.test) for each in objects)


def test_the_walk_finds_them_where_they_are(seen):
    _, data = seen
    view = data.histories(data.test)[0]

    def closed():
        return data

    for leading in (view, [{"a": functools.partial(print, view)}], closed, data, data.targets(data.test)):
        arrays = [each for each in walked(leading) if isinstance(each, np.ndarray) and each.dtype.kind in "iu"]
        assert leads_to_tests(arrays, data)


def test_parts_of_the_data_hold_what_their_use_may_look_at(seen):
    _, data = seen
    fit, scored, all_of_it = data.only("validation"), data.only("calibration"), data.only(*("validation", "test"))

    assert [0, 0] == [len(fit.test), len(fit.calibration)]
    assert [0, 0] == [len(scored.test), len(scored.validation)]
    for part in (fit, scored, all_of_it, data.only()):
        for own, whole in zip(part.training_sequences(), data.training_sequences(), strict=True):
            assert own.tolist() == whole.tolist()
    for part, use in ((fit, "validation"), (scored, "calibration"), (all_of_it, "test")):
        own, whole = getattr(part, use), getattr(data, use)
        assert part.targets(own).tolist() == data.targets(whole).tolist()
        assert [h.tolist() for h in part.histories(own)] == [h.tolist() for h in data.histories(whole)]
    assert sum(map(len, data.training_sequences())) == len(data.only().items)
