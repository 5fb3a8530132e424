"""Reads one recipe and gathers everything that is wrong with it."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs

from lwa_core.document import entry_name
from lwa_core.errors import PluginError, Problem
from lwa_core.kinds import TomlPath, called
from lwa_core.overrides import Override, apply
from lwa_core.plugins import OK, Offer, Registry
from lwa_core.recipe import NAME, SECTIONS, SEVERAL, SINGLE, TABLES, Head, Recipe, Use, combined_by
from lwa_core.settings import default_of, did_you_mean, fields, structure, unstructure


class Reader:
    """Reads one recipe and gathers what is wrong with it.

    The class attributes say what a document of this kind holds; a benchmark's reader has its own.
    """

    told = "a recipe"
    head: type = Head
    tables: tuple[str, ...] = TABLES
    sections: Mapping[str, type] = SECTIONS
    single: Mapping[str, str] = SINGLE
    several: Mapping[str, str] = SEVERAL

    def __init__(self, file: Path, document: dict[str, Any], block: Collection[str], allow_local: bool) -> None:
        self.file = file
        self.folder = file.parent
        self.document = document
        self.block = block
        self.allow_local = allow_local
        self.problems: list[Problem] = []
        self.meant: set[str | None] = set()
        self.registry: Registry

    def read(self, text: str, overrides: Sequence[str]) -> tuple[Recipe | None, list[Problem]]:
        """The recipe, or None and the problems."""
        applied, self.problems = apply(overrides, self.document)
        head = self._head()
        self.registry = self._registry()
        parts = {table: self._table(table) for table in self.tables}
        problems = [_at_override(problem, applied) for problem in self.problems]
        if problems:
            return None, problems
        scorers = parts.pop("score")
        recipe = Recipe(
            name=head.name,
            seed=head.seed,
            plugins=head.plugins,
            file=self.file,
            text=text,
            scorers=scorers,
            registry=self.registry,
            overrides=tuple(overrides),
            **parts,
        )
        return recipe, []

    def _head(self) -> Any:
        """Top-level keys: the core's own, and tables that nobody knows."""
        known = [field.name for field in fields(self.head)]
        own = {key: value for key, value in self.document.items() if key in known}
        for key in self.document:
            if key not in known and key not in self.tables:
                near = did_you_mean(key, [name for name in (*known, *self.tables) if name not in self.document])
                self.meant.add(near)
                what = "table" if isinstance(self.document[key], (dict, list)) else "key"
                hint = f"did you mean '{near}'?" if near else f"{self.told} has: {', '.join((*known, *self.tables))}"
                self.problems.append(Problem("unknown-setting", f"unknown {what} '{key}'", (key,), hint, at_key=True))
        head, problems = structure(self.head, own, (), owner=self.told)
        self.problems += [p for p in problems if p.code != "missing-setting" or "name" not in self.meant]
        if isinstance(own.get("name"), str):
            self._check_name(own["name"], ("name",))
        return head

    def _check_name(self, name: str, path: TomlPath) -> None:
        if not NAME.fullmatch(name):
            said = f"{name[:40]!r} cannot be a name"
            hint = "letters, digits, '.', '_' and '-', at most 100, the first a letter or digit"
            self.problems.append(Problem("bad-name", said, path, hint))

    def _registry(self) -> Registry:
        """All plugins: the installed ones, and the local files that the recipe names."""
        named = self.document.get("plugins", [])
        files = [name for name in named if isinstance(name, str)] if isinstance(named, list) else []
        paths = [self.folder / Path(name).expanduser() for name in dict.fromkeys(files)]
        registry = Registry.discover(paths, self.block, self.allow_local)
        for place, name in enumerate(files):
            path: TomlPath = ("plugins", place)
            info = next(info for info in registry.plugins if info.file == self.folder / Path(name).expanduser())
            if name in files[:place]:
                self.problems.append(Problem("duplicate", f"plugin {name!r} is named twice", path))
            elif not self.allow_local:
                hint = "run without --no-local-plugins if you trust the file: its code is run"
                self.problems.append(Problem("local-plugin", "local plugins are forbidden", path, hint))
            elif info.status != OK:
                self.problems.append(Problem("broken-plugin", f"plugin {name!r} is {info.status}: {info.error}", path))
        return registry

    def _table(self, name: str) -> Any:
        if name in self.sections:
            return self._section(name, self.sections[name])
        if name in self.single:
            return self._single(name, self.single[name])
        return self._several(name, self.several[name])

    def _section(self, name: str, cls: type) -> Any:
        if self._is_list(name):
            return None
        instance, problems = structure(cls, self.document.get(name, {}), (name,), owner=f"[{name}]")
        self.problems += problems
        return instance

    def _single(self, name: str, kind: str) -> Use | None:
        if name not in self.document:
            self._missing(name, kind, f"[{name}]")
            return None
        return None if self._is_list(name) else self._use(kind, self.document[name], (name,))

    def _is_list(self, name: str) -> bool:
        """Whether a table was written as a list of tables, which is a problem."""
        listed = isinstance(self.document.get(name), list)
        if listed:
            self._wrong(f"'{name}' must be one table, not a list", (name,), f"write [{name}]")
        return listed

    def _several(self, name: str, kind: str) -> tuple[Use, ...]:
        tables = self.document.get(name)
        if tables is None or tables == []:
            self._missing(name, kind, f"[[{name}]]")
            return ()
        if not isinstance(tables, list):
            self._wrong(f"'{name}' must be a list of tables, not {called(tables)}", (name,), f"write [[{name}]]")
            return ()
        uses = [self._use(kind, table, (name, place), named=True) for place, table in enumerate(tables)]
        self._check_unique(name, tables)
        found = tuple(use for use in uses if use is not None)
        if kind == "scorer" and len(found) == len(uses):
            self._check_combining(found)
        return found

    def _check_combining(self, scorers: Sequence[Use]) -> None:
        """A scorer that combines needs others that do not."""
        combining = [use.name for use in scorers if use.combines]
        for use in scorers:
            if not use.combines:
                continue
            named = getattr(use.instance, "of", ())
            wrong = [name for name in named if name in combining]
            if wrong:
                said = f"'{wrong[0]}' combines the scores of others and cannot be combined by '{use.name}'"
                path = (*use.path, "of", named.index(wrong[0]))
                self.problems.append(Problem("not-allowed", said, path, "name scorers that look at the model"))
            elif not named and not combined_by(use, scorers):
                said = f"'{use.name}' has nothing to combine: the recipe has no other scorer that looks at the model"
                hint = 'add a [[score]] such as use = "leave-one-out"'
                self.problems.append(Problem("nothing-to-combine", said, (*use.path, "use"), hint))

    def _missing(self, name: str, kind: str, header: str) -> None:
        if name not in self.meant:
            offered = ", ".join(self._offered(kind))
            hint = f'add {header} with use = "...", one of: {offered}'
            self.problems.append(Problem("missing-table", f"a recipe needs {header}", (), hint))

    def _offered(self, kind: str) -> list[str]:
        return list(dict.fromkeys(offer.name for offer in self.registry.components(kind)))

    def _wrong(self, said: str, path: TomlPath, hint: str | None = None) -> None:
        self.problems.append(Problem("wrong-type", said, path, hint, at_key=True))

    def _use(self, kind: str, table: Any, path: TomlPath, named: bool = False) -> Use | None:
        """One component with its settings, or None and problems."""
        if not isinstance(table, dict):
            self._wrong(f"'{path[0]}' must be a table with use = \"...\", not {called(table)}", path)
            return None
        offer = self._offer(kind, table, path)
        name = table.get("name") if named and "name" in table else offer.name if offer else None
        if named and "name" in table:
            if isinstance(name, str):
                self._check_name(name, (*path, "name"))
            else:
                self.problems.append(
                    Problem("wrong-type", f"'name' must be a string, not {called(name)}", (*path, "name"))
                )
        if offer is None:
            return None
        try:
            cls = offer.load()
        except PluginError as error:
            self.problems.append(Problem(error.code, error.message, (*path, "use"), error.hint))
            return None
        own = {"use", "name"} if named else {"use"}
        settings = {key: value for key, value in table.items() if key not in own}
        instance, problems = structure(cls, settings, path, self.folder, owner=f"{kind} '{offer.name}'")
        self.problems += [*problems, *self._bad_references(cls, settings, path)]
        if instance is None:
            return None
        written = unstructure(instance)
        for field in fields(cls):
            if field.about and field.about.path and field.name in settings:
                written[field.name] = settings[field.name]
        return Use(kind, str(name), offer.name, offer, written, instance, path)

    def _offer(self, kind: str, table: Mapping[str, Any], path: TomlPath) -> Offer | None:
        use = table.get("use")
        if isinstance(use, str):
            try:
                return self.registry.find(kind, use)
            except PluginError as error:
                self.problems.append(Problem(error.code, error.message, (*path, "use"), error.hint))
        elif use is not None:
            self.problems.append(Problem("wrong-type", f"'use' must be a string, not {called(use)}", (*path, "use")))
        else:
            self._without_use(kind, table, path)
        return None

    def _without_use(self, kind: str, table: Mapping[str, Any], path: TomlPath) -> None:
        for key in table:
            if did_you_mean(key, ["use"]):
                said, hint = f"unknown setting '{key}'", "did you mean 'use'?"
                self.problems.append(Problem("unknown-setting", said, (*path, key), hint, at_key=True))
                return
        offered = ", ".join(self._offered(kind))
        said, hint = "this table does not say what to use", f'add use = "...", one of: {offered}'
        self.problems.append(Problem("missing-setting", said, path, hint, at_key=True))

    def _check_unique(self, section: str, tables: Sequence[Any]) -> None:
        """No two entries of a list may go by one name."""
        taken: dict[str, int] = {}
        for place, table in enumerate(tables):
            key = "name" if isinstance(table, dict) and "name" in table else "use"
            name = entry_name(table)
            if name is None:
                continue
            if name in taken:
                said = f"two [[{section}]] are called '{name}'"
                hint = f'give this one a name of its own: name = "{name}-2"'
                self.problems.append(Problem("duplicate-name", said, (section, place, key), hint))
            taken.setdefault(name, place)

    def _bad_references(self, cls: type, settings: Mapping[str, Any], path: TomlPath) -> Iterator[Problem]:
        """Settings that name an entry of another section must name one that is there; "" means the first."""
        for field in fields(cls):
            if field.about is None or field.about.names is None:
                continue
            entries = [entry_name(table) for table in self._entries(field.about.names)]
            known = [name for name in entries if name]
            if len(known) < len(entries):  # an entry without a name may be the one that is meant
                continue
            value = settings.get(field.name, default_of(field))
            for place, name in enumerate(value if isinstance(value, list) else [value]):
                if isinstance(name, str) and name not in ("", *known):
                    near = did_you_mean(name, known)
                    hint = f"did you mean '{near}'?" if near else f"there are: {', '.join(dict.fromkeys(known))}"
                    said = f"'{field.name}' names no [[{field.about.names}]]: {name!r}"
                    inner = (place,) if isinstance(value, list) else ()
                    yield Problem("unknown-name", said, (*path, field.name, *inner), hint)

    def _entries(self, section: str) -> list[Any]:
        tables = self.document.get(section, [])
        return tables if isinstance(tables, list) else []


def _at_override(problem: Problem, applied: Sequence[Override]) -> Problem:
    """Blame the override that wrote what is wrong, the last one first."""
    for override in reversed(applied):
        if problem.file is None and problem.path[: len(override.path)] == override.path:
            return attrs.evolve(problem, file=override.origin)
    return problem
