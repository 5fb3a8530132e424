"""The plugins that documents show load, and offer what the page says. That they work is in test_docs_torch.py."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Generic, Protocol

import pytest
from documents import ROOT, blocks

from lwa_core.plugins.registry import Registry
from lwa_core.types import Event

PAGES = [ROOT / "docs" / "plugins.md", ROOT / "CONTRIBUTING.md"]
_Meta = type(Protocol)
PLUGINS = [block for page in PAGES for block in blocks("python", page) if "@hookimpl" in block.text]


@pytest.mark.parametrize("block", blocks("python"), ids=str)
def test_shown_python_is_python(block):
    ast.parse(block.text)


@pytest.mark.parametrize("block", PLUGINS, ids=str)
def test_a_shown_plugin_loads(block, tmp_path: Path):
    file = tmp_path / "shown.py"
    file.write_text(block.text, encoding="utf-8")
    registry = Registry.discover([file])
    (info,) = [plugin for plugin in registry.plugins if plugin.file == file]
    if "No module named 'torch'" in str(info.error):
        pytest.importorskip("torch")
    assert ("ok", None) == (info.status, info.error)
    offers = [offer for offer in registry.offers if offer.provider == info]
    for offer in offers:
        offer.load()
    (hook,) = re.findall(r"^def (lwa_\w+)", block.text, re.MULTILINE)
    assert [] != offers or hook == "lwa_event"


def test_one_of_every_kind_is_shown():
    text = "\n".join(block.text for block in PLUGINS) + (ROOT / "docs" / "data.md").read_text("utf-8")
    shown = set(re.findall(r"^def (lwa_\w+)", text, re.MULTILINE))
    assert {"lwa_datasets", "lwa_scorers", "lwa_selectors", "lwa_compressors", "lwa_exporters", "lwa_event"} == shown


def test_the_methods_of_a_recommender_are_all_named():
    from lwa_core.plugins.protocols import Recommender

    text = (ROOT / "docs" / "plugins.md").read_text("utf-8")
    named = set(re.findall(r"^(\w+)\(", text, re.MULTILINE))
    protocols = [protocol for protocol in Recommender.__mro__ if protocol not in (Protocol, Generic, object)]
    methods = {name for protocol in protocols for name in vars(protocol) if not name.startswith("_")}
    assert {"build", "encode", "loss", "scores"} <= methods
    assert methods == named


def test_every_optional_protocol_is_described_with_all_that_it_has():
    from lwa_core.data import timed
    from lwa_core.modeling.probing import subject
    from lwa_core.plugins import protocols

    kinds = {"Protocol", "ObservingScorer", "QueryingScorer", "CombiningScorer", "Ranks"}
    found = [value for module in (protocols, subject, timed) for value in vars(module).values() if type(value) is _Meta]
    optional = {value.__name__: value for value in found if "_is_runtime_protocol" in vars(value)}
    optional = {name: value for name, value in optional.items() if name not in kinds}
    assert {"Adapting", "Restoring", "FastTail", "UsesTimes"} <= optional.keys()
    rows = dict(re.findall(r"^\| `(\w+)` \| [\w ]+ \| (.*?) \|", PAGES[0].read_text("utf-8"), re.MULTILINE))
    for name, protocol in optional.items():
        own = {**vars(protocol), **vars(protocol).get("__annotations__", {})}
        assert {each for each in own if not each.startswith("_")} == set(re.findall(r"`(\w+)", rows.pop(name))), name
    assert {} == rows


def test_all_that_a_job_lends_is_described():
    from lwa_core import CompressionJob

    table = PAGES[0].read_text("utf-8").partition("| of the job |")[2].partition("\n\n")[0]
    named = {name for row in re.findall(r"^\| (`.*?) \|", table, re.MULTILINE) for name in re.findall(r"`(\w+)", row)}
    own = {**vars(CompressionJob), **vars(CompressionJob)["__annotations__"]}
    assert {name for name in own if not name.startswith("_")} == named


def test_the_kinds_of_events_are_those_of_the_code():
    said = re.search(r"`kind` is one of: (.*?)\.", " ".join((Event.__doc__ or "").split())).group(1)
    page = (ROOT / "docs" / "plugins.md").read_text("utf-8")
    assert f"`event.kind` is one of {said}." in page
