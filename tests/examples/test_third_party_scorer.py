"""The example package is installed as a user would, and then is a scorer like any other."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "third_party_scorer"


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, **environment}
    return subprocess.run([sys.executable, *arguments], capture_output=True, text=True, check=False, env=env)


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    """A folder that the example is installed into."""
    folder = tmp_path_factory.mktemp("site")
    source = tmp_path_factory.mktemp("source")
    for file in EXAMPLE.iterdir():
        if file.is_file():  # pip builds in the source folder: build in a copy
            (source / file.name).write_bytes(file.read_bytes())
    done = run(
        "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--no-index",
        "--disable-pip-version-check", "--target", str(folder), str(source),
    )  # fmt: skip
    assert 0 == done.returncode, done.stderr
    return folder


def lwa(site: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return run("-c", "from lwa_core.cli import main; main()", *arguments, PYTHONPATH=str(site))


def test_the_module_is_short():
    lines = [line for line in (EXAMPLE / "lwa_gini.py").read_text("utf-8").splitlines() if line.strip()]
    assert len(lines) <= 25


def test_it_is_shown(site):
    (told,) = json.loads(lwa(site, "plugins", "show", "gini", "--json").stdout)
    provider = told["provider"]
    assert ("scorer", "ok", "lwa-gini", "0.1.0") == (
        told["kind"],
        told["health"],
        provider["name"],
        provider["version"],
    )
    assert [("power", 1.0, {"minimum": 0.1})] == [(s["name"], s["default"], s["bounds"]) for s in told["settings"]]
    assert "Hurley & Rickard 2009, Comparing measures of sparsity" == told["reference"]


def test_a_recipe_can_use_it(site, tmp_path):
    recipe = tmp_path / "recipe.toml"
    text = (ROOT / "recipes" / "quickstart.toml").read_text("utf-8")
    recipe.write_text(text.replace('use = "fisher"', 'use = "gini"\npower = 2'), encoding="utf-8")
    done = lwa(site, "check", str(recipe))
    assert (0, f"{recipe}: no problems\n") == (done.returncode, done.stderr)
    recipe.write_text(text.replace('use = "fisher"', 'use = "gini"\npower = 0'), encoding="utf-8")
    assert "'power' must be at least 0.1, not 0" in lwa(site, "check", str(recipe)).stdout


def test_it_scores_by_the_gini_coefficient(monkeypatch):
    torch = pytest.importorskip("torch")
    monkeypatch.syspath_prepend(EXAMPLE)
    from types import SimpleNamespace

    from lwa_gini import Gini

    layers = [torch.nn.Linear(6, 5), torch.nn.Linear(3, 4)]
    scores = Gini().score(SimpleNamespace(model=SimpleNamespace(layers=layers)))
    for score, layer in zip(scores[0].tolist(), layers, strict=True):
        weights = torch.cat([p.detach().flatten() for p in layer.parameters()]).double().abs()
        differences = (weights[:, None] - weights[None, :]).abs().sum()
        assert (differences / (2 * len(weights) ** 2 * weights.mean())).item() == pytest.approx(score)
