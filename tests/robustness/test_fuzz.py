"""A second or two of what `benchmarks/robustness` does for hours: nothing but the product's own words comes back."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "benchmarks" / "robustness"


@pytest.fixture
def fuzz(monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(FOLDER)
    harness = import_module("harness")

    def run(module: str, count: int, seed: int):
        return harness.worker(module, 0, count, seed, 1, str(tmp_path / "failures"), harness.Limits())

    return run


HAS_TORCH = find_spec("torch") is not None
FRAMES = pytest.param("frames", 500, marks=pytest.mark.skipif(not HAS_TORCH, reason="columns are tensors, too"))


@pytest.mark.parametrize(("module", "count"), [("recipes", 250), ("data_lines", 1500), FRAMES])
def test_strange_input_is_answered_in_words(fuzz, monkeypatch, module, count):
    from lwa_core.plugins.registry import Registry

    monkeypatch.setattr(Registry, "discover", Registry.discover)  # put back what the benchmark caches
    outcomes, reasons, units, *_ = fuzz(module, count, 20261130)

    assert {} == dict(reasons)
    assert units >= count
    assert len(outcomes) > 8  # of many kinds, not one


def test_an_input_is_made_from_its_seed_and_number_alone(monkeypatch):
    import random

    monkeypatch.syspath_prepend(FOLDER)
    for name in ("recipes", "data_lines", *(["frames"] if HAS_TORCH else [])):
        module = import_module(name)
        made = [[module.make(random.Random(f"1:{number}")) for number in range(40)] for _ in range(2)]
        assert made[0] == made[1]
        assert len({data for data, _ in made[0]}) > 30


class Broken:
    """A program with faults of every kind."""

    @staticmethod
    def make(rng):
        return b"xyz" * rng.randint(1, 5), 1

    @staticmethod
    def attempt(made, folder):
        from lwa_core.errors import LwaError

        if b"y" in made:
            raise ZeroDivisionError("a bug")
        raise LwaError("in words")


def test_a_failure_is_found_and_made_small(monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(FOLDER)
    harness = import_module("harness")
    fuzz = harness.Fuzz(Broken.make, Broken.attempt, "inputs")
    name, why = harness.outcome(fuzz, b"xyzxyz", tmp_path, harness.Limits())

    assert ("failure", True) == (name, why.startswith("ZeroDivisionError at test_fuzz.py:"))
    assert b"y" == harness.smaller(fuzz, b"xyzxyz" * 20, tmp_path, harness.Limits())
    assert ("error", None) == harness.outcome(fuzz, b"xz", tmp_path, harness.Limits())


@pytest.mark.parametrize("seconds", [0.2])
def test_an_input_without_end_is_a_failure(monkeypatch, tmp_path, seconds):
    monkeypatch.syspath_prepend(FOLDER)
    harness = import_module("harness")

    def endless(made, folder):
        while True:
            try:
                sum(range(1000))
            except Exception:
                continue

    fuzz = harness.Fuzz(Broken.make, endless, "inputs")
    assert "TooLongError" in harness.outcome(fuzz, b"x", tmp_path, harness.Limits(seconds=seconds))[1]
