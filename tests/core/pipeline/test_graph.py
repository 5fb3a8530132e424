"""Stages: what their keys hold, the order in which they are walked, what is made again, how they fail."""

import os
import threading

import attrs
import pytest
from tiny_recipe import write_recipe

from lwa_core import ModelError, RunContext, StageError, StoreError
from lwa_core.pipeline.events import Bus
from lwa_core.pipeline.graph import Run, Stage, core_part
from lwa_core.recipe.reader import load_recipe
from lwa_core.store.files import read_json, write_json
from lwa_core.store.locks import locked
from lwa_core.store.results import Store


@pytest.fixture
def recipe(tmp_path):
    return load_recipe(write_recipe(tmp_path))


class World:
    """A store, and what was made, in order."""

    def __init__(self, recipe, folder):
        self.recipe, self.store, self.made, self.events = recipe, Store(folder / "store"), [], []

    def run(self):
        """As another process starts one: it knows nothing but what the store holds."""
        return Run(self.recipe, self.store, Bus(self.recipe.registry, RunContext("t", self.store.root), [self.hear]))

    def hear(self, event, run):
        self.events.append(event)
        self.listen(event)

    def listen(self, event):
        """What a test wants done when something happens."""

    def stage(self, name, inputs=None, value=1, version=1, fail=None, warn=None, use=None, **more):
        """A stage whose result is its value and what its inputs' results are."""

        def make(job):
            self.made.append(name)
            if warn is not None:
                job.report.warn("odd", warn)
            if fail is not None:
                raise fail
            write_json(job.folder / "value.json", [value, *(job[role] for role in job.stage.inputs)])

        def read(folder):
            return read_json(folder / "value.json")

        return Stage(name, "number", version, make, read, inputs or {}, {"value": value}, use=use, **more)

    def walk(self, *stages):
        self.made.clear()
        run = self.run()
        run.walk(stages)
        return run


@pytest.fixture
def world(recipe, tmp_path):
    return World(recipe, tmp_path)


# Keys


def of_version(use, version):
    component = attrs.evolve(use.offer.component, version=version)
    return attrs.evolve(use, offer=attrs.evolve(use.offer, component=component))


def test_a_key_holds_everything_that_the_result_depends_on(world, recipe):
    fisher, influence, _ = recipe.scorers
    leaf = world.stage("leaf")
    stage = world.stage("top", {"one": leaf, "many": (leaf,)}, use=fisher)
    others = {
        "version": attrs.evolve(stage, version=2),
        "kind": attrs.evolve(stage, kind="text"),
        "asked value": attrs.evolve(stage, asked={"value": 2}),
        "asked key": attrs.evolve(stage, asked={"worth": 1}),
        "no component": attrs.evolve(stage, use=None),
        "component": attrs.evolve(stage, use=influence),
        "component's version": attrs.evolve(stage, use=of_version(fisher, fisher.offer.component.version + 1)),
        "component's settings": attrs.evolve(stage, use=attrs.evolve(fisher, settings={**fisher.settings, "more": 1})),
        "an input's value": attrs.evolve(stage, inputs={"one": world.stage("leaf", value=2), "many": (leaf,)}),
        "an input's version": attrs.evolve(stage, inputs={"one": world.stage("leaf", version=2), "many": (leaf,)}),
        "one of several": attrs.evolve(stage, inputs={"one": leaf, "many": (world.stage("leaf", value=2),)}),
        "how many": attrs.evolve(stage, inputs={"one": leaf, "many": (leaf, leaf)}),
        "what an input is to it": attrs.evolve(stage, inputs={"two": leaf, "many": (leaf,)}),
        "far below": attrs.evolve(
            stage, inputs={"one": world.stage("leaf", {"of": world.stage("root", value=2)}), "many": (leaf,)}
        ),
        "further below": attrs.evolve(
            stage, inputs={"one": world.stage("leaf", {"of": world.stage("root", value=3)}), "many": (leaf,)}
        ),
    }

    keys = {"as it is": stage.key, **{what: other.key for what, other in others.items()}}

    assert len(keys) == len(set(keys.values())), keys


def test_a_key_holds_nothing_else(world, recipe):
    fisher = recipe.scorers[0]
    stage = world.stage("top", {"one": world.stage("leaf")}, use=fisher)
    again = world.stage("top", {"one": world.stage("leaf")}, use=fisher)
    moved = attrs.evolve(fisher, name="called otherwise", path=("score", 7))

    assert stage.key == again.key
    assert stage.key == attrs.evolve(stage, name="other", make=print, read=print, promises=[("x", None)]).key
    assert stage.key == attrs.evolve(stage, use=moved).key
    assert stage.key == attrs.evolve(stage, inputs={"one": world.stage("leaf by another name")}).key


def test_the_order_in_which_several_are_given_matters_and_that_of_settings_does_not(world):
    one, two = world.stage("one"), world.stage("two", value=2)
    asked = {"a": 1, "b": 2}

    assert world.stage("top", {"of": (one, two)}).key != world.stage("top", {"of": (two, one)}).key
    top = world.stage("top")
    assert attrs.evolve(top, asked=asked).key == attrs.evolve(top, asked=dict(reversed(asked.items()))).key


# The walk


def test_inputs_come_first_and_each_stage_is_made_once(world):
    root = world.stage("root")
    left, right = world.stage("left", {"of": root}, value=2), world.stage("right", {"of": (root,)}, value=3)
    top = world.stage("top", {"left": left, "both": (right, left)}, value=4)

    run = world.walk(top, root, right)

    assert ["root", "left", "right", "top"] == world.made
    assert [4, [2, [1]], [[3, [[1]]], [2, [1]]]] == run.value(top)
    run.walk([top, root])
    assert ["root", "left", "right", "top"] == world.made
    assert ["root", "left", "right", "top"] == [event.stage for event in world.events if event.kind == "stage-finished"]
    assert [("top", False)] == [(each["stage"], each["reused"]) for each in run.timings][-1:]


def test_what_a_stage_expands_into_comes_right_after_it_and_may_need_results_of_others(world):
    aside, before = world.stage("aside", value=7), world.stage("before", value=5)

    def expand(value, value_of):
        (told,) = value_of(before)
        inner = world.stage("inner", value=9, expand=lambda value, value_of: [world.stage("innermost", value=10)])
        return [world.stage(f"follows {value[0]} and {told}", {"of": aside}, value=8), inner]

    run = world.walk(before, world.stage("first", value=6, expand=expand), world.stage("last", value=11))

    assert ["before", "first", "aside", "follows 6 and 5", "inner", "innermost", "last"] == world.made
    assert [each["stage"] for each in run.timings] == world.made


def test_what_the_store_has_is_not_made_again_by_another_run(world):
    def stages(value):
        root = world.stage("root")
        middle = world.stage("middle", {"of": root}, value=value)
        return [root, middle, world.stage("top", {"of": middle})]

    first = world.walk(*stages(2))
    again = world.walk(*stages(2))

    assert [] == world.made
    assert [True] * 3 == [each["reused"] for each in again.timings]
    assert first.value(stages(2)[2]) == again.value(stages(2)[2]) == stages(2)[2].stored(world.store)
    world.walk(*stages(3))
    assert ["middle", "top"] == world.made


def test_a_stage_that_is_not_stored_has_no_result_yet(world):
    stage = world.stage("root")

    assert stage.stored(world.store) is None
    assert not world.run().is_stored(stage)
    run = world.walk(stage)
    assert [1] == stage.stored(world.store)
    assert run.is_stored(stage)


def test_a_warning_is_told_whenever_the_result_is_used(world):
    stage = world.stage("root", warn="three legs")

    for _ in range(2):
        assert [{"code": "odd", "message": "three legs", "stage": "root"}] == world.walk(stage).warnings


# Failures


def test_an_input_that_failed_is_what_is_said_and_nothing_after_it_is_made(world):
    fine = world.stage("fine")
    broken = world.stage("broken", {"of": fine}, value=2, fail=ValueError("no legs"))
    top = world.stage("top", {"of": broken})

    with pytest.raises(StageError, match="stage 'broken' failed: ValueError: no legs") as caught:
        world.walk(top)

    assert "'top'" not in caught.value.message
    assert "1 stages before it are stored; the same command goes on from there" in caught.value.hint
    assert ["fine", "broken"] == world.made
    assert [True, False, False] == [world.run().is_stored(stage) for stage in (fine, broken, top)]
    world.walk(world.stage("top", {"of": attrs.evolve(broken, make=world.stage("broken", {"of": fine}, value=2).make)}))
    assert ["broken", "top"] == world.made


def test_a_component_that_failed_is_named_with_its_provider_and_its_line(world, recipe):
    use = recipe.scorers[1]
    line = recipe.text.splitlines().index("[[score]]", 18) + 1

    with pytest.raises(StageError) as caught:
        world.walk(world.stage("score", use=use, fail=RuntimeError("it fell over")))

    assert 'use = "block-influence"' == recipe.text.splitlines()[line]
    said = f"stage 'score' ({recipe.file}:{line}) failed: scorer 'block-influence' of {use.offer.provider}: "
    assert said + "RuntimeError: it fell over" == caught.value.message


def test_what_broke_in_the_core_is_not_blamed_on_the_component(world, recipe):
    def make(job):
        with core_part():
            raise ZeroDivisionError("a bug")

    with pytest.raises(StageError) as caught:
        world.walk(attrs.evolve(world.stage("data", use=recipe.data), make=make))

    assert caught.value.message.endswith(") failed: ZeroDivisionError: a bug")
    assert "dataset" not in caught.value.message


def test_a_mistake_of_the_user_keeps_its_words_and_its_exit_code(world, recipe):
    with pytest.raises(StageError) as caught:
        world.walk(world.stage("data", use=recipe.data, fail=ModelError("no rows", "add some")))

    assert caught.value.message.endswith("failed: no rows")
    assert caught.value.hint.startswith("add some; ")
    assert ModelError.exit_code == caught.value.exit_code != StageError.exit_code


def test_a_stage_that_another_one_asks_for_in_its_middle_fails_once(world):
    inner = world.stage("inner", value=2, fail=ValueError("no legs"))

    def make(job):
        job.run.value(inner)

    with pytest.raises(StageError) as caught:
        world.walk(attrs.evolve(world.stage("outer"), make=make))

    assert "stage 'inner' failed: ValueError: no legs" == caught.value.message
    assert 1 == caught.value.hint.count("the same command goes on from there")


def test_a_result_that_is_whole_and_cannot_be_read_is_the_stores_error(world):
    def read(folder):
        return read_json(folder / "value.json")["no such key"]

    stage = attrs.evolve(world.stage("leaf"), read=read)

    for look in (lambda: world.walk(stage).value(stage), lambda: stage.stored(world.store)):
        with pytest.raises(StoreError, match="result of 'leaf' cannot be read: TypeError") as caught:
            look()
        assert str(world.store.path(stage.kind, stage.key)) in caught.value.hint


def test_a_damaged_result_is_none(world):
    stage = world.stage("leaf")
    world.walk(stage)
    assert [1] == stage.stored(world.store)

    (world.store.path(stage.kind, stage.key) / "more").write_text("")
    assert stage.stored(world.store) is None
    assert not world.store.has(stage.kind, stage.key)


def test_who_waits_says_for_which_process(world):
    stage, held, release = world.stage("leaf"), threading.Event(), threading.Event()

    def hold():
        with locked(world.store.root / "locks", f"{stage.kind}-{stage.key}"):
            held.set()
            release.wait(60)

    holder = threading.Thread(target=hold)
    holder.start()
    held.wait(60)
    world.listen = lambda event: release.set() if event.kind == "message" else None

    world.walk(stage)
    holder.join()

    told = [(event.stage, event.message) for event in world.events if event.kind == "message"]
    assert [("leaf", f"waiting for process {os.getpid()}, which is making the same result")] == told
