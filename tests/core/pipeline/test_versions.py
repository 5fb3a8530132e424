"""A stage whose code, inputs or outputs changed without its version would serve stale results: this fails then.

After a change that gives other results, raise the stage's VERSION (or the component's); after any change of the code,
write the digests anew and read the difference:

    LWA_UPDATE_SNAPSHOTS=1 python -m pytest tests/core/pipeline/test_versions.py
"""

from __future__ import annotations

import importlib
import json
import os
from pathlib import Path

import pytest
import stage_code
from stage_code import CODE, FACES, ROOT, bare, code_digest, component_digest, files_of

from lwa_core.plugins.hooks import KINDS
from lwa_core.plugins.registry import Registry

KNOWN = Path(__file__).with_name("versions.json")

VERSIONS = {
    "data": "lwa_core.pipeline.recommendation_task:DATA_VERSION",
    "teacher": "lwa_core.pipeline.recommendation_task:TEACHER_VERSION",
    "students": "lwa_core.pipeline.stages.students:VERSION",
    "control": "lwa_core.pipeline.stages.control:VERSION",
    "scores": "lwa_core.pipeline.stages.scores:VERSION",
    "selection": "lwa_core.pipeline.stages.selection:VERSION",
    "answers": "lwa_core.pipeline.answers:VERSION",
    "bundle": "lwa_core.pipeline.stages.exports:VERSION",
    "ranking": "lwa_core.pipeline.recommendation_task:RANKING_VERSION",
    "baselines": "lwa_core.pipeline.recommendation_task:BASELINES_VERSION",
    "transitions": "lwa_core.pipeline.recommendation_task:TRANSITIONS_VERSION",
    "optimality": "lwa_core.pipeline.stages.optimality:VERSION",
    "performance": "lwa_core.pipeline.stages.performance:VERSION",
    "configurations": "lwa_core.pipeline.stages.performance:CONFIGURATIONS_VERSION",
    "texts": "lwa_core.pipeline.text_task:DATA_VERSION",
    "text-teacher": "lwa_core.pipeline.text_task:TEACHER_VERSION",
    "text-quality": "lwa_core.pipeline.text_task:QUALITY_VERSION",
    "text-baselines": "lwa_core.pipeline.text_task:BASELINES_VERSION",
    "smoke-test": "lwa_core.pipeline.smoke_test:VERSION",
    "bench": "lwa_core.bench.cell:VERSION",
}
HINT = "raise its version where results change; then write tests/core/pipeline/versions.json anew and read the diff"


def version_of(kind: str) -> int:
    module, _, name = VERSIONS[kind].partition(":")
    path = ROOT / Path(*module.split(".")).with_suffix(".py")
    # Read, not imported: some of these modules need torch.
    line = next(line for line in path.read_text("utf-8").splitlines() if line.startswith(f"{name} = "))
    return int(line.partition("=")[2])


def now() -> dict[str, dict[str, dict[str, object]]]:
    stages = {kind: {"version": version_of(kind), "code": code_digest(kind)} for kind in CODE}
    components = {}
    registry = Registry.discover()
    for kind in KINDS:
        for offer in registry.components(kind):
            if offer.provider.name == "lwa-builtins":
                module = str(offer.component.target).partition(":")[0]
                facts = {"version": offer.component.version, "code": component_digest(module)}
                components[f"{kind} {offer.name}"] = facts
    return {"stages": stages, "components": components}


@pytest.fixture(scope="module")
def known():
    if os.environ.get("LWA_UPDATE_SNAPSHOTS"):
        KNOWN.write_text(json.dumps(now(), indent=1) + "\n", "utf-8")
    return json.loads(KNOWN.read_text("utf-8"))


@pytest.mark.parametrize("kind", CODE)
def test_a_stage_whose_code_changed_has_another_version(known, kind):
    assert {"version": version_of(kind), "code": code_digest(kind)} == known["stages"][kind], f"stage {kind}: {HINT}"


def test_a_component_whose_code_changed_has_another_version(known):
    changed = [name for name, facts in now()["components"].items() if facts != known["components"].get(name)]
    assert [] == changed, HINT


def test_every_module_that_computes_belongs_to_a_stage():
    named = {file for places in CODE.values() for place in places for file in files_of(place)}
    named |= {file for place in FACES for file in files_of(place)}
    empty = {file for file in (ROOT / "lwa_core").rglob("__init__.py") if not bare(file.read_text("utf-8"))}
    assert set() == set((ROOT / "lwa_core").rglob("*.py")) - named - empty - lazy()


def lazy() -> set[Path]:
    """Folders' `__init__` that only say which names are public."""
    return {file for file in (ROOT / "lwa_core").rglob("__init__.py") if "attach_stub" in file.read_text("utf-8")}


def test_words_about_code_are_no_code():
    code = 'X = 1  # why\n"""What X is."""\n\n\ndef f(a):\n    """Doc."""\n    return a + X  # more\n'
    assert "X = 1\ndef f(a):\n    return a + X" == bare(code)


def test_a_changed_constant_is_seen(tmp_path, monkeypatch):
    """What was not seen before: another clipping norm of the core's training under the same keys."""
    file = ROOT / "lwa_core" / "training" / "trainer.py"
    text = file.read_text("utf-8")
    assert "max_grad_norm=1.0" in text
    changed = tmp_path / "lwa_core" / "training"
    changed.mkdir(parents=True)
    (changed / "trainer.py").write_text(text.replace("max_grad_norm=1.0", "max_grad_norm=2.0"), "utf-8")
    (changed / "same.py").write_text(text + "# and a comment\n", "utf-8")

    assert bare((changed / "trainer.py").read_text("utf-8")) != bare(text)
    assert bare((changed / "same.py").read_text("utf-8")) == bare(text)


def test_versions_are_those_that_the_stages_have():
    pytest.importorskip("torch")
    for place in VERSIONS.values():
        module, _, name = place.partition(":")
        assert isinstance(getattr(importlib.import_module(module), name), int)


def test_what_stands_for_a_definition_exists():
    for places in stage_code.CODE.values():
        for place in places:
            assert all(file.is_file() for file in files_of(place)), place
