from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from lwa_core.cli import main

SITES = Path(__file__).parents[2] / "plugins"


@pytest.fixture(autouse=True)
def sites(monkeypatch):
    for site in ("good", "broken", "unusable", "other_api"):
        monkeypatch.syspath_prepend(SITES / site)


def lwa(*arguments: str):
    return CliRunner().invoke(main, arguments)


def test_list_shows_components_and_the_health_of_every_plugin():
    lines = [line.split() for line in lwa("plugins", "list").stdout.splitlines()]
    assert ["scorer", "pick", "lwa-orchard"] in lines
    assert ["lwa-orchard", "lwa-orchard", "1.2.0", "ok"] in lines
    assert ["lwa-exits", "lwa-broken", "0.1", "broken:", "SystemExit:", "3"] in lines
    assert ["lwa-tomorrow", "lwa-tomorrow", "9.0", "other-api:", "made", "for", "lwa.v2;"] in [x[:7] for x in lines]


def test_list_as_json():
    told = json.loads(lwa("plugins", "list", "--json", "--block", "lwa-orchard").stdout)
    by_name = {info["name"]: info for info in told["plugins"]}
    assert ("blocked", "lwa.v1") == (by_name["lwa-orchard"]["status"], by_name["lwa-orchard"]["group"])
    assert {"kind": "dataset", "name": "synthetic", "plugin": "lwa-builtins"} in told["components"]
    assert "pick" not in [component["name"] for component in told["components"]]


def test_show():
    expected = """\
recommender tower
  A tower of layers.
  provider   lwa-orchard of lwa-orchard 1.2.0
  version    3
  reference  Babel 600 BC
  health     ok

setting  type               default     help
layers   an integer         2           how many layers; minimum 1; maximum 64
rates    a list of numbers  [0.1, 0.2]  dropout of each layer; minimum 0.0; maximum 0.9
form     'wide' or 'narrow' "wide"      how it looks
"""
    shown = lwa("plugins", "show", "tower").stdout
    assert [line.split() for line in expected.splitlines()] == [line.split() for line in shown.splitlines()]


def test_show_as_json():
    (told,) = json.loads(lwa("plugins", "show", "press-onnx", "--json").stdout)
    assert ("compressor", "ok", 1) == (told["kind"], told["health"], told["component_version"])
    assert ["abacus", "extra:onnx", "extra:unheard"] == told["needs"] == told["lacking"]
    expected = {
        "name": "bits",
        "type": "an integer",
        "required": False,
        "default": 4,
        "help": "bits of a weight",
        "unit": None,
        "bounds": {},
        "choices": [4, 8],
    }
    assert [expected] == told["settings"]


def test_one_name_of_two_kinds():
    shown = json.loads(lwa("plugins", "show", "random", "--json").stdout)
    assert ["scorer", "selector"] == [told["kind"] for told in shown]
    (told,) = json.loads(lwa("plugins", "show", "random", "--kind", "selector", "--json").stdout)
    assert "selector" == told["kind"]


def test_a_component_that_cannot_be_used_says_why():
    (told,) = json.loads(lwa("plugins", "show", "no-attrs", "--json").stdout)
    assert "cannot be used: TypeError: Plain is no attrs class" in told["health"]


def test_an_unknown_name():
    done = lwa("plugins", "show", "towr")
    assert 4 == done.exit_code
    assert done.stderr.startswith(
        "error[plugin]: no component is called 'towr'\n  = did you mean 'tower'?; plugin lwa-"
    )
