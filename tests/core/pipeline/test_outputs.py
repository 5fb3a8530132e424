"""What the stages of a run ask for and leave: names of inputs, of what their keys hold, of files, arrays and JSON keys.

A stage that reads or writes something else without another version would misread what older versions stored. After a
change that is meant: raise the stage's VERSION, then LWA_UPDATE_SNAPSHOTS=1 and read the difference.
"""

import json
import os
from pathlib import Path

import pytest
import tiny_recipe
from safetensors import safe_open
from test_versions import VERSIONS, version_of

from lwa_core.pipeline.plan import make_plan
from lwa_core.recipe.reader import load_recipe
from lwa_core.store.results import Store

KNOWN = Path(__file__).with_name("outputs.json")

TEXT = tiny_recipe.TEXT.replace('use = "greedy"\nkeep = [2, 1]', 'use = "exact"\nkeep = 2')

VERSION_OF = {"model": "students"}


def shape_of(file: Path):
    """What a result's file is made of, without its values."""
    if file.suffix == ".safetensors":
        with safe_open(file, "np") as opened:
            return sorted(f"{name} {opened.get_slice(name).get_dtype()}" for name in opened.keys())  # noqa: SIM118
    value = json.loads(file.read_text("utf-8"))
    return sorted(value) if isinstance(value, dict) else type(value).__name__


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    folder = tmp_path_factory.mktemp("outputs")
    tiny_recipe.run(folder, folder / "store", text=TEXT)
    store = Store(folder / "store")
    plan = make_plan(load_recipe(tiny_recipe.write_recipe(folder, TEXT)))
    stages = []
    for stage in plan.stages:
        stages.append(stage)
        if stage.expand is not None:
            stages += stage.expand(stage.stored(store), lambda before: before.stored(store))
    return {stage.name: facts_of(stage, store) for stage in stages}


def facts_of(stage, store):
    folder = store.path(stage.kind, stage.key)
    files = [path for path in sorted(folder.rglob("*")) if path.suffix in (".json", ".safetensors")]
    # A model's own files belong to its recommender.
    ours = [path for path in files if path.parent.name != "model" or path.name in ("ranker.json", "items.json")]
    return {
        "kind": stage.kind,
        "version": stage.version,
        "inputs": sorted(stage.inputs),
        "asked": sorted(stage.asked),
        "files": {path.relative_to(folder).as_posix(): shape_of(path) for path in ours},
    }


def test_stages_ask_for_and_leave_what_their_versions_say(told):
    if os.environ.get("LWA_UPDATE_SNAPSHOTS"):
        KNOWN.write_text(json.dumps(told, indent=1, sort_keys=True) + "\n", "utf-8")
    assert json.loads(KNOWN.read_text("utf-8")) == told


def test_every_kind_of_stage_of_a_run_is_held_to_its_version(told):
    kinds = {facts["kind"] for facts in told.values()}
    expected = {"data", "model", "scores", "selection", "ranking", "baselines", "transitions", "optimality"}
    assert expected | {"performance"} == kinds
    for name, facts in told.items():
        kind = "teacher" if name == "teacher" else VERSION_OF.get(facts["kind"], facts["kind"])
        assert kind in VERSIONS
        assert version_of(kind) == facts["version"]
