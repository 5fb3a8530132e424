"""What a key says of a component: its version, its settings, and the content of what it reads and of its own code."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lwa_core.errors import LwaError, PluginError, error_text
from lwa_core.plugins.code import OURS, digest_of_modules, digest_of_ours, helpers_of
from lwa_core.plugins.loading import loading
from lwa_core.plugins.registry import Offer
from lwa_core.recipe.recipe import Use
from lwa_core.settings import fields
from lwa_core.store.files import digest, file_digest


def component_facts(use: Use) -> dict[str, Any]:
    """What the result of a component depends on, JSON-ready."""
    changed = changed_digest(use.offer)
    return {
        "component": use.component,
        "version": use.offer.component.version,
        "provider": [use.offer.provider.distribution, code_digest(use.offer)],
        "settings": _contents(use),
        **({} if changed is None else {"changed": changed}),
    }


def code_digest(offer: Offer) -> str | None:
    """sha256 of a component's code: of the local file and its helpers, or of the files of its package.

    A package whose files changed while its version did not (an editable install) never gets results of before. Our own
    components are known by their versions.
    """
    provider = offer.provider
    if provider.distribution == OURS:
        return provider.digest
    if provider.digest is None:
        return digest_of_modules([module_of(offer).partition(".")[0]], provider.distribution)
    helpers = [] if provider.file is None else helpers_of(provider.file)
    beside = digest_of_modules(helpers) if helpers else None
    return provider.digest if beside is None else digest([provider.digest, beside])


def changed_digest(offer: Offer) -> str | None:
    """sha256 of the code of a component of our own, where it is not what was installed; else None."""
    return digest_of_ours(module_of(offer)) if offer.provider.distribution == OURS else None


def module_of(offer: Offer) -> str:
    """The module that a component is imported from."""
    target = offer.component.target
    return target.partition(":")[0] if isinstance(target, str) else target.__module__


def digests_of(use: Use) -> list[str]:
    """The content of the files that a component says by `files` that it reads.

    Raises:
        DataError: One lacks.
        PluginError: It fails, or names something else than files.
    """
    try:
        with loading(f"`files` of {use.who}"):
            files = [Path(path) for path in use.instance.files()]
    except (KeyboardInterrupt, LwaError):
        raise
    except BaseException as error:
        raise PluginError(f"{use.who}: `files` failed: {error_text(error)}") from error
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
