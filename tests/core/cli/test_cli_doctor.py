from __future__ import annotations

import json
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from click.testing import CliRunner

from lwa_core.cli import main

SITES = Path(__file__).parents[2] / "plugins"

needs_torch = pytest.mark.skipif(find_spec("torch") is None, reason="torch is not installed")


def doctor(*options: str) -> tuple[int, dict[str, list[dict[str, str]]]]:
    done = CliRunner().invoke(main, ["doctor", "--json", *options])
    told: dict[str, list[dict[str, str]]] = {}
    for finding in json.loads(done.stdout):
        told.setdefault(finding["name"], []).append(finding)
    return done.exit_code, told


@needs_torch
def test_a_machine_where_all_is_well():
    code, told = doctor()
    assert 0 == code
    assert {"python", "torch", "threads", "cuda", "bitsandbytes", "nf4", "lwa-builtins"} <= set(told)
    assert "bad" not in {finding["level"] for findings in told.values() for finding in findings}


@needs_torch
def test_plain_lines():
    lines = CliRunner().invoke(main, ["doctor"]).stdout.splitlines()
    assert ["ok", "python"] == lines[0].split()[:2]


@needs_torch
def test_wrong_decoding_of_odd_widths_is_a_warning_and_of_common_ones_bad(monkeypatch):
    quantisation = pytest.importorskip("lwa_core.modeling.files.quantisation")
    monkeypatch.setattr(quantisation, "nf4_self_check", lambda width: 1.0 if width == 96 else 0.0)
    code, told = doctor()
    assert (0, ["ok", "warn"]) == (code, [finding["level"] for finding in told["nf4"]])
    monkeypatch.setattr(quantisation, "nf4_self_check", lambda width: 1.0)
    code, told = doctor()
    assert (8, ["bad", "warn"]) == (code, [finding["level"] for finding in told["nf4"]])


def test_what_is_missing_is_bad(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    monkeypatch.setitem(sys.modules, "bitsandbytes", None)
    monkeypatch.setitem(sys.modules, "peft", None)
    code, told = doctor()
    assert 8 == code
    assert ["bad", "bad", "bad"] == [told[name][0]["level"] for name in ("torch", "bitsandbytes", "peft")]


def test_broken_plugins_are_warnings(monkeypatch):
    for site in ("broken", "unusable"):
        monkeypatch.syspath_prepend(SITES / site)
    _, told = doctor()
    assert "warn" == told["lwa-raises"][0]["level"]
    assert ["ok", *["warn"] * 5] == [finding["level"] for finding in told["lwa-unusable"]]
    assert "ok" == told["lwa-builtins"][0]["level"]


def test_no_plugin_at_all_is_bad():
    code, told = doctor("--block", "lwa-builtins")
    assert (8, "bad") == (code, told["plugins"][0]["level"])
