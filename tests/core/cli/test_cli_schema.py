from __future__ import annotations

import json
from pathlib import Path

from click.testing import CliRunner

from lwa_core.cli import main

SITES = Path(__file__).parents[2] / "plugins"


def test_the_schema_knows_third_party_settings_and_leaves_out_what_cannot_be_loaded(monkeypatch):
    for site in ("good", "unusable"):
        monkeypatch.syspath_prepend(SITES / site)
    done = CliRunner().invoke(main, ["schema"])
    schema = json.loads(done.stdout)
    recommendation, text = schema["anyOf"]
    recommenders = {
        table["properties"]["use"]["enum"][0]: table for table in recommendation["properties"]["recommender"]["anyOf"]
    }
    assert {"backbone", "sequential", "text", "tower", "transitions"} == set(recommenders)
    tower = recommenders["tower"]
    assert (["use"], False) == (tower["required"], tower["additionalProperties"])
    assert {"enum": ["tower", "lwa-orchard:tower"], "description": "Babel 600 BC"} == tower["properties"]["use"]
    assert 64 == tower["properties"]["layers"]["maximum"]
    warnings = done.stderr.splitlines()
    assert 5 == len(warnings)
    assert all("plugin lwa-unusable of lwa-unusable 0.2 cannot be used" in line for line in warnings)
    assert ["name", "data", "recommender"] == recommendation["required"]
    assert ["name", "texts", "model", "task"] == text["required"]
    for form, task in ((recommendation, "recommendation"), (text, "text")):
        assert [task] == form["properties"]["task"]["enum"]
        assert {"compress": ["select"]} == form["dependentRequired"]
    shared = ("score", "select", "compress", "calibration")
    assert [recommendation["properties"][name] for name in shared] == [text["properties"][name] for name in shared]
