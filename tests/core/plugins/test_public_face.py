"""Plugins need the public names alone: the built-ins, the examples and what documents show import nothing else."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
CORE = ROOT / "lwa_core"
LAZY = sorted(stub.parent.relative_to(ROOT).as_posix().replace("/", ".") for stub in CORE.glob("**/__init__.pyi"))
PUBLIC = [*LAZY, "lwa_core.testing"]
PYTHON = re.compile(r"^ *```python\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)
HEAVY = "torch", "transformers", "scipy", "polars", "numpy"


def imported(tree: ast.AST) -> Iterator[tuple[str, str | None]]:
    """Every import from the core, as module and name; the name is None where the module itself is imported."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "lwa_core":
            yield from ((node.module, alias.name) for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from ((alias.name, None) for alias in node.names if alias.name.split(".")[0] == "lwa_core")


def public_names(module: str) -> list[str]:
    """What a module offers, without importing what it needs."""
    if module in LAZY:
        return list(import_module(module).__all__)
    tree = ast.parse((ROOT / module.replace(".", "/") / "__init__.py").read_text("utf-8"))
    (listed,) = [
        node.value for node in tree.body if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__"
    ]
    names: list[str] = ast.literal_eval(listed)
    return names


def objections(text: str) -> list[str]:
    """What a file imports that no plugin may."""
    wrong = []
    for module, name in imported(ast.parse(text)):
        if module not in PUBLIC:
            wrong.append(module)
        elif name is not None and name not in public_names(module):
            wrong.append(f"{module}.{name}")
    return wrong


def sources() -> dict[str, str]:
    """Every file of the built-ins and examples, and every block of Python that a document shows."""
    files = [path for folder in ("lwa_plugins", "examples") for path in sorted((ROOT / folder).glob("**/*.py"))]
    found = {path.relative_to(ROOT).as_posix(): path.read_text("utf-8") for path in files}
    for place in ("*.md", "docs/*.md", "examples/*/*.md", "benchmarks/**/*.md"):
        for page in sorted(ROOT.glob(place)):
            for number, block in enumerate(PYTHON.findall(page.read_text("utf-8")), start=1):
                found[f"{page.relative_to(ROOT)}:block {number}"] = textwrap.dedent(block)
    return found


SOURCES = sources()


def test_the_folders_that_are_public():
    inside = ["data", "modeling", "settings", "statistics", "text"]
    assert ["lwa_core", *(f"lwa_core.{name}" for name in inside)] == LAZY


@pytest.mark.parametrize("source", SOURCES)
def test_what_a_plugin_imports_is_public(source):
    assert [] == objections(SOURCES[source])


def test_files_and_documents_are_looked_at():
    assert {"lwa_plugins/scorers/fisher.py", "examples/third_party_scorer/lwa_gini.py"} < SOURCES.keys()
    assert {"README.md:block 1", "CONTRIBUTING.md:block 1", "docs/plugins.md:block 1"} < SOURCES.keys()


def test_what_is_not_public_is_seen():
    assert ["lwa_core.plugins.hooks"] == objections("from lwa_core.plugins.hooks import Component")
    assert ["lwa_core.modeling.Weights"] == objections("def f():\n    from lwa_core.modeling import Weights, observe")
    assert ["lwa_core.store"] == objections("import lwa_core.store")
    assert [] == objections("import lwa_core\nfrom lwa_core import Probe\nfrom lwa_core.testing import check_scorer")


@pytest.mark.parametrize("module", PUBLIC)
def test_the_public_names_are_sorted_and_there(module):
    pytest.importorskip("torch")
    face = import_module(module)
    assert sorted(set(face.__all__)) == list(face.__all__)
    for name in face.__all__:
        assert getattr(face, name) is not None


@pytest.mark.parametrize("module", LAZY)
def test_public_names_are_resolved_when_they_are_used(module):
    asked = f"import sys, {module}; print([name for name in {HEAVY} if name in sys.modules])"
    assert "[]\n" == subprocess.run([sys.executable, "-c", asked], check=True, capture_output=True, text=True).stdout


def test_the_contract_forbids_all_that_is_not_public():
    import tomli

    contracts = tomli.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["importlinter"]["contracts"]
    (forbidden,) = [each["forbidden_modules"] for each in contracts if each.get("source_modules") == ["lwa_plugins"]]
    inside = {path.stem for path in CORE.iterdir() if path.suffix == ".py" or (path / "__init__.py").is_file()}
    private = {f"lwa_core.{name}" for name in inside - {"__init__"}} - set(PUBLIC)
    assert sorted(private | {f"{module}.*" for module in PUBLIC if module != "lwa_core"}) == sorted(forbidden)


def test_the_core_itself_goes_past_the_public_names():
    """Its modules import each name from where it is defined: import-linter sees nothing through a lazy name."""
    faces = {"lwa_core", "lwa_core.modeling", "lwa_core.statistics", "lwa_core.text"}
    for path in CORE.glob("**/*.py"):
        names = [(module, name) for module, name in imported(ast.parse(path.read_text("utf-8"))) if module in faces]
        assert [] == [name for module, name in names if name in import_module(module).__all__], path
