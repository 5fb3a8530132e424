"""The code that a component is made of, as a digest: what runs is what a key says.

A component's code is its module's package with all files in it, and what that imports besides, as far as nobody
installed it as a distribution of its own: helper modules beside a local file, the rest of an editable install, other
top-level modules of the same distribution.
"""

from __future__ import annotations

import hashlib
import re
import sys
from collections.abc import Iterator
from functools import cache, lru_cache
from importlib.machinery import ModuleSpec
from importlib.metadata import PackageNotFoundError, distribution
from importlib.util import find_spec
from pathlib import Path
from typing import TypeAlias

from lwa_core.store.files import file_digest

OURS = "lwa"
"""The distribution whose components carry versions that its own tests hold against their code."""

OUR_PACKAGES = ("lwa_core", "lwa_plugins")
LIBRARIES = ("site-packages", "dist-packages")
NO_CODE = (".pyc", ".md", ".rst")
"""What lies in packages and changes nothing."""

IMPORT = re.compile(rb"^[ \t]*(?:from[ \t]+([\w.]+)[ \t]+import[ \t]+(.+)|import[ \t]+(.+))", re.MULTILINE)

Signature: TypeAlias = "tuple[tuple[str, str, int, int], ...]"
"""Name, path, time of change and size of every file."""

_first: dict[str, str] = {}
"""Digest of each top-level module when it was first looked at, for those that this process had imported by then."""


def digest_of_modules(names: list[str], belonging: str | None = None) -> str | None:
    """sha256 of modules, of their packages, and of what they import that nobody installed.

    Args:
        names: Top-level modules to begin with.
        belonging: The distribution that they are of: its other modules count, too.

    Returns:
        None where none of them has a file.
    """
    found: dict[str, str] = {}
    left = list(names)
    while left:
        name = left.pop()
        spec = _spec(name)
        if name in found or spec is None or (name not in names and not _counts(name, spec, belonging)):
            continue
        files = list(_files(spec))
        found[name] = _as_imported(name, _package_digest(_signature(files)))
        left += sorted({each for _, path in files if path.suffix == ".py" for each in imported(path)})
    if not found:
        return None
    lines = [f"{name} {found[name]}\n" for name in sorted(found)]
    return found[names[0]] if list(found) == names[:1] else hashlib.sha256("".join(lines).encode()).hexdigest()


def helpers_of(file: Path) -> list[str]:
    """The top-level modules that a local file imports and nobody installed."""
    found = []
    for name in sorted(imported(file)):
        spec = _spec(name)
        if spec is not None and _counts(name, spec, None):
            found.append(name)
    return found


def digest_of_ours(module: str) -> str | None:
    """sha256 of a module of our own and what it imports of its package, where these are not the files that were
    installed: an editable install, or files that were changed afterwards. None where they are.
    """
    files = _ours(module)
    recorded = _recorded(OURS)
    if all(recorded.get(str(path)) == file_digest(path) for path in files):
        return None
    return _package_digest(_signature([(Path(path.name), path) for path in files]))


def imported(file: Path) -> set[str]:
    """The top-level modules that a Python file imports anywhere; relative imports are its own package's."""
    try:
        text = file.read_bytes()
    except OSError:
        return set()
    names: set[str] = set()
    for source, _, several in IMPORT.findall(text):
        listed = source.decode("utf-8", "replace") if source else several.decode("utf-8", "replace").partition("#")[0]
        names |= {part.split(" as ")[0].strip().partition(".")[0] for part in listed.split(",")}
    return {name for name in names if name.isidentifier()}


def _ours(module: str) -> list[Path]:
    """The files of a module and of what it imports of its top-level package."""
    package = module.partition(".")[0]
    spec = _spec(package)
    if spec is None or not spec.submodule_search_locations:
        return []
    root = Path(next(iter(spec.submodule_search_locations))).parent
    found: set[Path] = set()
    left = [module]
    while left:
        base = root.joinpath(*left.pop().split("."))
        file = base.with_suffix(".py") if base.with_suffix(".py").is_file() else base / "__init__.py"
        if file in found or not file.is_file():
            continue
        found.add(file)
        for source, names, _ in IMPORT.findall(file.read_bytes()):
            said = source.decode("utf-8", "replace")
            if said.partition(".")[0] == package:
                left += [said, *(f"{said}.{name.strip()}" for name in names.decode("utf-8", "replace").split(","))]
    return sorted(found)


@cache
def _recorded(name: str) -> dict[str, str]:
    """sha256 of every file of a distribution as it was installed, by its path."""
    import base64

    try:
        listed = distribution(name).files or []
    except PackageNotFoundError:
        return {}
    return {
        str(path.locate()): base64.urlsafe_b64decode(path.hash.value + "=").hex()
        for path in listed
        if path.hash is not None and path.hash.mode == "sha256"
    }


def _spec(name: str) -> ModuleSpec | None:
    if name in sys.stdlib_module_names:
        return None
    try:
        return find_spec(name)
    except (ImportError, ValueError, AttributeError):  # a module without a spec, or one that is half loaded
        return None


def _counts(name: str, spec: ModuleSpec, belonging: str | None) -> bool:
    """Whether an imported module is code of the component: nobody installed it, or with the same distribution."""
    if name in OUR_PACKAGES:
        return False
    places = [*(spec.submodule_search_locations or ()), *([spec.origin] if spec.origin else [])]
    paths = [Path(place) for place in places if Path(place).exists()]
    if not paths:
        return False
    installed = any(part in LIBRARIES for path in paths for part in path.parts)
    return not installed or name in _modules_of(belonging)


@cache
def _modules_of(name: str | None) -> frozenset[str]:
    """The top-level modules of a distribution."""
    if name is None:
        return frozenset()
    try:
        files = distribution(name).files or []
    except PackageNotFoundError:
        return frozenset()
    return frozenset(path.parts[0].removesuffix(".py") for path in files if path.suffix == ".py")


def _files(spec: ModuleSpec) -> Iterator[tuple[Path, Path]]:
    """The files of a module or package: name in it, and path."""
    roots = [Path(place) for place in spec.submodule_search_locations or ()]
    for root in roots:
        for path in root.rglob("*"):
            name = path.relative_to(root)
            hidden = any(part.startswith(".") or part == "__pycache__" for part in name.parts)
            if not hidden and path.suffix not in NO_CODE and path.is_file():
                yield name, path
    if not roots and spec.origin is not None and Path(spec.origin).is_file():
        yield Path(Path(spec.origin).name), Path(spec.origin)


def _signature(files: list[tuple[Path, Path]]) -> Signature:
    """What tells whether files changed within this process, without reading them."""
    facts = [(name.as_posix(), path, path.stat()) for name, path in files]
    return tuple(sorted((name, str(path), stat.st_mtime_ns, stat.st_size) for name, path, stat in facts))


@lru_cache(maxsize=256)
def _package_digest(signature: Signature) -> str:
    sha = hashlib.sha256()
    for name, path, _, _ in signature:
        sha.update(f"{name} {file_digest(Path(path))}\n".encode())
    return sha.hexdigest()


def _as_imported(name: str, digest: str) -> str:
    """The digest; where this process imported the module before its files changed, one that no other process has."""
    if name not in sys.modules:
        return digest
    place = f"{name} {getattr(sys.modules[name], '__file__', None)}"
    first = _first.setdefault(place, digest)
    return digest if first == digest else hashlib.sha256(f"{first} then {digest}".encode()).hexdigest()
