"""docs/reference.md says what the code says, and leaves nothing out.

After a change of the code: LWA_UPDATE_SNAPSHOTS=1 pytest tests/docs/test_reference.py, then read the diff.
"""

from __future__ import annotations

import inspect
import os
import re
import sys

import pytest
from documents import ROOT

from lwa_core.cli import COMMANDS
from lwa_core.plugins import hooks
from lwa_core.plugins.registry import Registry

PAGE = ROOT / "docs" / "reference.md"


@pytest.fixture(scope="module")
def made():
    sys.path.insert(0, str(ROOT / "docs"))
    try:
        import make_reference

        return make_reference.render()
    finally:
        sys.path.remove(str(ROOT / "docs"))


def test_the_page_is_what_the_code_says(made):
    if os.environ.get("LWA_UPDATE_SNAPSHOTS"):
        PAGE.write_text(made, encoding="utf-8")
    assert PAGE.read_text("utf-8") == made


def test_every_component_and_command_is_in_it(made):
    offers = [offer for offer in Registry.discover().offers if offer.provider.name == "lwa-builtins"]
    assert len(offers) >= 20
    for offer in offers:
        assert f"#### {offer.name} ({offer.kind})\n" in made
    for name in COMMANDS:
        assert f"### lwa {name}" in made


def test_every_hook_is_documented_with_its_arguments(made):
    specifications = [name for name in vars(hooks) if name.startswith("lwa_")]
    assert len(specifications) == len(hooks.KINDS) + 1
    guide = (ROOT / "docs" / "plugins.md").read_text("utf-8")
    for name in specifications:
        arguments = list(inspect.signature(getattr(hooks, name)).parameters)
        assert f"`{name}({', '.join(arguments)})`" in guide
        (told,) = re.findall(rf"^def {name}\((.*)\) ->", made, re.MULTILINE)
        assert arguments == re.findall(r"(\w+):", told)
