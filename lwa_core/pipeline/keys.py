"""What a key says of a component: its version, its settings, and the content of what it reads and of its own code."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from lwa_core.plugins.registry import Offer
from lwa_core.recipe.recipe import Use
from lwa_core.settings import fields
from lwa_core.store.files import file_digest

OURS = "lwa"
"""The distribution whose components carry versions that its own tests hold against their code."""


def component_facts(use: Use) -> dict[str, Any]:
    """What the result of a component depends on, JSON-ready."""
    return {
        "component": use.component,
        "version": use.offer.component.version,
        "provider": [use.offer.provider.distribution, code_digest(use.offer)],
        "settings": _contents(use),
    }


def code_digest(offer: Offer) -> str | None:
    """sha256 of a component's code: of the local file, or of the Python files of its package.

    A package whose files changed while its version did not (an editable install) never gets results of before.
    """
    provider = offer.provider
    if provider.digest is not None or provider.distribution == OURS:
        return provider.digest
    target = offer.component.target
    module = target.partition(":")[0] if isinstance(target, str) else target.__module__
    return _package_digest(module.partition(".")[0])


@cache
def _package_digest(package: str) -> str | None:
    spec = find_spec(package)
    if spec is None:
        return None
    roots = [Path(place) for place in spec.submodule_search_locations or ()]
    files = [(path.relative_to(root), path) for root in roots for path in root.rglob("*.py")]
    if not roots and spec.origin is not None:
        files = [(Path(Path(spec.origin).name), Path(spec.origin))]
    sha = hashlib.sha256()
    for name, path in sorted(files):
        sha.update(f"{name.as_posix()} {file_digest(path)}\n".encode())
    return sha.hexdigest()


def digests_of(files: Iterable[Path]) -> list[str]:
    """The content of the files that a component says that it reads."""
    return [file_digest(path) for path in files]


def _contents(use: Use) -> Mapping[str, Any]:
    """Settings, with the digest of its contents in the place of each path, so that moved data keeps its results.

    A dataset's files are digested through `files()` instead.
    """
    named = {field.name for field in fields(type(use.instance)) if field.about is not None and field.about.path}
    settings = {name: value for name, value in use.settings.items() if name not in named}
    if use.kind != "dataset":
        for name in named & {name for name, value in use.settings.items() if value}:
            settings[name] = path_digests(getattr(use.instance, name))
    return settings


def path_digests(value: Any) -> Any:
    """The digest of a path, or of each path of a list."""
    return [path_digests(each) for each in value] if isinstance(value, (list, tuple)) else _path_digest(Path(value))


def _path_digest(path: Path) -> str | dict[str, str]:
    if path.is_dir():
        files = sorted(p for p in path.rglob("*") if p.is_file())
        return {p.relative_to(path).as_posix(): file_digest(p) for p in files}
    return file_digest(path) if path.is_file() else "missing"
