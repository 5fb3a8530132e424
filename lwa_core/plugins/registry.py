"""Find the installed plugins, ask each what it offers, and keep a broken one from hiding the others."""

from __future__ import annotations

import hashlib
import os
import re
import sys
from collections.abc import Callable, Collection, Iterator, Sequence
from functools import cached_property
from importlib import import_module
from importlib.metadata import Distribution, EntryPoint, entry_points
from pathlib import Path
from types import ModuleType
from typing import Any

import attrs
import pluggy

from lwa_core.errors import PluginError, error_text
from lwa_core.plugins import hooks
from lwa_core.plugins.hooks import ENTRY_POINT_GROUP, KINDS, PROJECT, Component
from lwa_core.plugins.loading import loading
from lwa_core.plugins.methods import check_methods
from lwa_core.plugins.requirements import lacking_of
from lwa_core.plugins.trust import Allowing
from lwa_core.settings import did_you_mean, fields

OK, BROKEN, BLOCKED, OTHER_API = "ok", "broken", "blocked", "other-api"

LARGEST = 1 << 20
"""Bytes of a local file."""

NOT_ALLOWED = "its code was not allowed to run"

COMPONENT_NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")


class UnknownComponentError(PluginError):
    """No plugin that could be asked offers that name."""

    code = "unknown-component"


class AmbiguousComponentError(PluginError):
    """Two plugins offer one name, and the recipe does not say whose is meant."""

    code = "ambiguous-component"


class BrokenComponentError(PluginError):
    """A component was found, but its class cannot be used."""

    code = "broken-component"


@attrs.frozen
class PluginInfo:
    """One plugin and its health.

    `status` is `ok`, `broken`, `blocked` or `other-api`; `error` says why it is not ok. A plugin that is a local file
    has a `digest` (sha256 of its content, part of every cache key); any other is told apart by its version.
    """

    name: str
    distribution: str | None
    version: str | None
    status: str = OK
    error: str | None = None
    digest: str | None = None
    file: Path | None = None
    group: str = ENTRY_POINT_GROUP

    def __str__(self) -> str:
        if self.file is not None:
            return f"local file {self.file}"
        return f"plugin {self.name} of {self.distribution or 'an unknown distribution'} {self.version or ''}".rstrip()

    def goes_by(self, name: str) -> bool:
        """Whether `name` means this plugin: its own name or its distribution's, however it is spelt."""
        return _normal(name) in {_normal(known) for known in (self.name, self.distribution) if known}


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


@attrs.frozen
class Offer:
    """A component and who provides it."""

    kind: str
    component: Component[Any]
    provider: PluginInfo

    @property
    def name(self) -> str:
        return self.component.name

    def usable(self) -> type:
        """The class, if it has the methods of its kind. Raises BrokenComponentError where it has not."""
        target = self.load()
        try:
            check_methods(self.kind, target)
        except TypeError as error:
            said = f"{self.kind} '{self.name}' of {self.provider} cannot be used: {error}"
            raise BrokenComponentError(said, "docs/plugins.md says what each kind has to have") from error
        return target

    def load(self) -> type:
        """The class behind the component, imported if it was not yet.

        Raises:
            BrokenComponentError: It cannot be imported, is no attrs class, or a setting has a type TOML cannot fill.
        """
        target: Any = self.component.target
        try:
            with loading(f"{self.kind} '{self.name}' of {self.provider} to be imported ({target})"):
                if isinstance(target, str):
                    module, _, name = target.partition(":")
                    target = getattr(import_module(module), name)
                if not isinstance(target, type):
                    raise TypeError(f"its target is a {type(target).__name__}, no class")
                fields(target)
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            said = f"{self.kind} '{self.name}' of {self.provider} cannot be used: {error_text(error)}"
            raise BrokenComponentError(
                said, "mend or block that plugin; `lwa doctor` lists the health of all"
            ) from error
        return target


@attrs.frozen(slots=False)
class Registry:
    """All plugins that were found, and what the healthy ones offer."""

    plugins: tuple[PluginInfo, ...]
    offers: tuple[Offer, ...]
    manager: pluggy.PluginManager = attrs.field(repr=False)

    @classmethod
    def discover(
        cls, local: Sequence[Path] = (), block: Collection[str] = (), allow_local: Allowing = True
    ) -> Registry:
        """Register every installed plugin and the given local files.

        Args:
            local: Python files to load as plugins.
            block: Names of plugins or distributions to leave out, on top of `LWA_BLOCK` (comma-separated).
            allow_local: Local files that are not allowed are listed as blocked and never loaded.
        """
        blocked = {*block, *filter(None, (name.strip() for name in os.environ.get("LWA_BLOCK", "").split(",")))}
        manager = new_manager()
        plugins, offers = [], []
        for info, load in [*_installed(), *(_local(file, allow_local) for file in local)]:
            if info.status == OK and any(info.goes_by(name) for name in blocked):
                info = attrs.evolve(info, status=BLOCKED, error="blocked by --block or LWA_BLOCK")  # noqa: PLW2901
            if info.status == OK:
                info, offered = _register(manager, info, load)  # noqa: PLW2901
                offers += offered
            plugins.append(info)
        return cls(tuple(plugins), tuple(offers), manager)

    def components(self, kind: str) -> list[Offer]:
        """What is offered of one kind, by name. Two plugins may offer the same name."""
        return sorted((offer for offer in self.offers if offer.kind == kind), key=lambda offer: offer.name)

    def find(self, kind: str, name: str) -> Offer:
        """The component that `use = "name"` or `use = "provider:name"` means.

        Raises:
            UnknownComponentError: None is called so.
            AmbiguousComponentError: Two are.
        """
        provider, _, bare = name.rpartition(":")
        found = [offer for offer in self.offers if offer.kind == kind and offer.name == bare]
        chosen = [offer for offer in found if not provider or offer.provider.goes_by(provider)]
        if not chosen:
            raise UnknownComponentError(*self._unknown(kind, bare, provider, found))
        if len(chosen) > 1:
            both = " and ".join(f"{offer.provider}" for offer in chosen)
            ways = " or ".join(f'use = "{offer.provider.name}:{bare}"' for offer in chosen)
            raise AmbiguousComponentError(f"{len(chosen)} {kind}s are called '{bare}': {both}", f"write {ways}")
        return chosen[0]

    def _unknown(self, kind: str, name: str, provider: str, found: Sequence[Offer]) -> tuple[str, str]:
        """Message and hint for a name that nobody offers."""
        if found:
            others = ", ".join(str(offer.provider) for offer in found)
            return f"no {kind} is called '{provider}:{name}'", f"'{name}' is offered by {others}"
        names = sorted({offer.name for offer in self.components(kind)})
        near = did_you_mean(name, names)
        elsewhere = next((offer.kind for offer in self.offers if offer.name == name), None)
        if near:
            hint = f"did you mean '{near}'?"
        elif elsewhere:
            hint = f"'{name}' is a {elsewhere}"
        else:
            hint = f"there are: {', '.join(names)}" if names else f"no plugin offers a {kind}"
        silent = [f"{info} is {info.status} ({info.error})" for info in self.plugins if info.status != OK]
        if silent:
            hint += f"; could not be asked: {'; '.join(silent)}"
        return f"no {kind} is called '{provider + ':' if provider else ''}{name}'", hint

    def lacking(self, component: Component[Any]) -> list[str]:
        """What the component needs and this machine does not have: `"cuda"`, `"extra:NAME"`. Imports no torch."""
        provider = next((offer.provider for offer in self.offers if offer.component is component), None)
        return lacking_of(component.needs, provider.distribution if provider else None)

    @cached_property
    def local_files(self) -> tuple[PluginInfo, ...]:
        """The plugins that are local files and were loaded."""
        return tuple(info for info in self.plugins if info.file is not None and info.status == OK)


def new_manager() -> pluggy.PluginManager:
    """A pluggy manager that knows the hooks and no plugin."""
    manager = pluggy.PluginManager(PROJECT)
    manager.add_hookspecs(hooks.specifications())
    return manager


def _installed() -> Iterator[tuple[PluginInfo, Callable[[], Any]]]:
    """Every entry point of this API's group, and those of other versions of it, which are never imported."""
    found = entry_points()
    for group in sorted(group for group in found.groups if re.fullmatch(r"lwa\.v\d+", group)):
        for entry in sorted(found.select(group=group), key=_identity):
            distribution, version = _distribution(entry.dist)
            info = PluginInfo(entry.name, distribution, version, group=group)
            if group != ENTRY_POINT_GROUP:
                said = f"made for {group}; this version of lwa asks {ENTRY_POINT_GROUP}"
                info = attrs.evolve(info, status=OTHER_API, error=said)
            yield info, entry.load


def _identity(entry: EntryPoint) -> tuple[str, str, str]:
    return entry.name, _distribution(entry.dist)[0] or "", entry.value


def _distribution(found: Distribution | None) -> tuple[str | None, str | None]:
    try:
        return (found.metadata["Name"], found.version) if found is not None else (None, None)
    except Exception:  # damaged metadata of one distribution is no reason to fail for all
        return None, None


def _local(file: Path, allowed: Allowing) -> tuple[PluginInfo, Callable[[], Any]]:
    info = PluginInfo(file.stem, None, None, file=file)
    if allowed is False:
        return attrs.evolve(info, status=BLOCKED, error="local plugins are forbidden"), _nothing
    try:
        content = _source(file)
    except (OSError, ValueError) as error:
        said = getattr(error, "strerror", None) or error
        return attrs.evolve(info, status=BROKEN, error=f"cannot be read: {said}"), _nothing
    digest = hashlib.sha256(content).hexdigest()
    info = attrs.evolve(info, digest=digest)
    if allowed is not True and not allowed(file, digest):
        return attrs.evolve(info, status=BLOCKED, error=NOT_ALLOWED), _nothing
    return info, lambda: _execute(file, content, digest)


def _source(file: Path) -> bytes:
    """The bytes of a Python file. Raises OSError or ValueError, also for what would never end."""
    if file.exists() and not file.is_file() and not file.is_dir():
        raise ValueError("a pipe or a device")
    with file.open("rb") as opened:
        content = opened.read(LARGEST + 1)
    if len(content) > LARGEST:
        raise ValueError("larger than 1 MiB, which no plugin is")
    return content


def _nothing() -> None:
    """What stands for the loader of a plugin that is never loaded."""


def _execute(file: Path, content: bytes, digest: str) -> ModuleType:
    """Run the bytes that the digest was made of, so that the cache key says what really ran."""
    name = f"lwa_local_{re.sub(r'[^0-9a-zA-Z]', '_', file.stem)}_{digest[:12]}"
    if name in sys.modules:
        return sys.modules[name]
    module = ModuleType(name)
    module.__file__ = str(file)
    sys.modules[name] = module  # attrs and type hints look their module up there
    try:
        exec(compile(content, str(file), "exec"), module.__dict__)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _register(
    manager: pluggy.PluginManager, info: PluginInfo, load: Callable[[], Any]
) -> tuple[PluginInfo, list[Offer]]:
    """Load a plugin, try it alone, ask what it offers, and register it where all that went well."""
    try:
        with loading(f"{info} to be imported"):
            plugin = load()
            trial = new_manager()
            trial.register(plugin, name=info.name)
            _check_hooks(trial)
            offers = list(_offered(trial, info))
        manager.register(plugin, name=f"{info.distribution or info.file}:{info.name}")
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        return attrs.evolve(info, status=BROKEN, error=error_text(error)), []
    return info, offers


def _check_hooks(trial: pluggy.PluginManager) -> None:
    """Raise TypeError where a plugin implements a hook that does not exist."""
    hooks_seen = {name: caller for name, caller in vars(trial.hook).items() if isinstance(caller, pluggy.HookCaller)}
    known = [name for name, caller in hooks_seen.items() if caller.has_spec()]
    for name in hooks_seen.keys() - known:
        near = did_you_mean(name, known)
        raise TypeError(f"it implements '{name}', which is no hook" + (f"; did you mean '{near}'?" if near else ""))


def _offered(trial: pluggy.PluginManager, info: PluginInfo) -> Iterator[Offer]:
    for kind, hook in KINDS.items():
        names = set()
        for implementation in getattr(trial.hook, hook).get_hookimpls():
            for component in implementation.function():
                if not isinstance(component, Component):
                    raise TypeError(f"{hook} gave {component!r}, which is no Component")
                if not COMPONENT_NAME.fullmatch(component.name):
                    raise ValueError(f"{component.name!r} is no name: lower-case words joined by '-'")
                if component.name in names:
                    raise ValueError(f"{hook} offers '{component.name}' twice")
                names.add(component.name)
                yield Offer(kind, component, info)
