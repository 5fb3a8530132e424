"""Reads one recipe and gathers everything that is wrong with it."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import attrs

from lwa_core.errors import PluginError, Problem, RecipeError, error_text
from lwa_core.plugins.loading import loading
from lwa_core.plugins.protocols import Exportable, Keeps
from lwa_core.plugins.registry import NOT_ALLOWED, OK, Offer, Registry
from lwa_core.plugins.trust import Allowing
from lwa_core.recipe.document import NAME, BadDocumentError, entry_name, parse, read_text
from lwa_core.recipe.overrides import Override, apply
from lwa_core.recipe.profiles import Profile, read_profiles
from lwa_core.recipe.recipe import DEVICE, Head, Recipe, Use, combined_by, named_by
from lwa_core.recipe.tables import TASKS, Table
from lwa_core.settings import default_of, did_you_mean, fields, structure, unstructure
from lwa_core.settings.paths import resolved_path
from lwa_core.settings.types import TomlPath, called, shown

ALLOW = "read it, then run lwa on a terminal, or with --allow-local (LWA_ALLOW_LOCAL=1 in continuous integration)"


class Reader:
    """Reads one recipe and gathers what is wrong with it.

    The class attributes say what a document of this kind holds; a benchmark's reader has its own.
    """

    told = "a recipe"
    selects = True
    """Whether the scorers and the selector are to be used."""
    head: type = Head
    tables: Sequence[Table] = ()

    def __init__(self, file: Path, document: dict[str, Any], block: Collection[str], allow_local: Allowing) -> None:
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
        task = self.document.get("task")
        self.tables = TASKS[task if isinstance(task, str) and task in TASKS else next(iter(TASKS))]
        head = self._head()
        self.registry = self._registry()
        parts = {table.name: self._table(table) for table in self.tables}
        self._check_rests()
        recipe = None
        if not self.problems:
            recipe = Recipe(
                **{field.name: getattr(head, field.name) for field in fields(Head)},
                file=self.file,
                text=text,
                parts=parts,
                registry=self.registry,
                overrides=tuple(overrides),
            )
            self.problems += _too_many_layers(recipe) if self.selects else []
            self.problems += _not_exportable(recipe)
        problems = [_at_override(problem, applied) for problem in self.problems]
        return (None if problems else recipe), problems

    def _check_rests(self) -> None:
        """A table that says nothing without another one."""
        for table in self.tables:
            if table.rests_on and self.document.get(table.name) and table.rests_on not in self.document:
                if table.rests_on in self.meant:
                    continue
                other = next(other for other in self.tables if other.name == table.rests_on)
                said = f"{table.header} needs {other.header}, which says which layers stay"
                self.problems.append(
                    Problem("missing-table", said, (table.name,), self._offers_for(other), at_key=True)
                )

    def _head(self) -> Any:
        """Top-level keys: the core's own, and tables that nobody knows."""
        known = [field.name for field in fields(self.head)]
        own = {key: value for key, value in self.document.items() if key in known}
        for key in self.document:
            names = [*known, *(table.name for table in self.tables)]
            if key not in names:
                elsewhere = [task for task, tables in TASKS.items() if key in {table.name for table in tables}]
                near = did_you_mean(key, [name for name in names if name not in self.document])
                self.meant.add(near)
                what = "table" if isinstance(self.document[key], (dict, list)) else "key"
                hint = f"did you mean '{near}'?" if near else f"{self.told} has: {', '.join(names)}"
                if elsewhere and self.head is Head:
                    hint = f'[{key}] belongs to recipes with task = "{elsewhere[0]}"'
                self.problems.append(Problem("unknown-setting", f"unknown {what} '{key}'", (key,), hint, at_key=True))
        head, problems = structure(self.head, own, (), owner=self.told)
        self.problems += [p for p in problems if p.code != "missing-setting" or "name" not in self.meant]
        if isinstance(own.get("name"), str):
            self._check_name(own["name"], ("name",))
        device = own.get("device")
        if isinstance(device, str) and not DEVICE.fullmatch(device):
            said = f"'device' must be auto, cpu, cuda or cuda:N, not {device!r}"
            self.problems.append(Problem("not-allowed", said, ("device",)))
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
        paths: dict[str, Path] = {}
        for place, name in enumerate(files):
            try:
                paths[name] = resolved_path(name, self.folder)
            except ValueError as error:
                self.problems.append(Problem("bad-path", f"plugin {shown(name)} {error}", ("plugins", place)))
        registry = Registry.discover(list(dict.fromkeys(paths.values())), self.block, self.allow_local)
        named_twice = _repeated(files, paths)
        for place, name in enumerate(files):
            if name not in paths:
                continue
            path: TomlPath = ("plugins", place)
            info = next(info for info in registry.plugins if info.file == paths[name])
            if place in named_twice:
                self.problems.append(Problem("duplicate", f"plugin {shown(name)} is named twice", path))
            elif info.error == NOT_ALLOWED:
                self.problems.append(Problem("local-plugin", f"plugin {shown(name)}: {NOT_ALLOWED}", path, ALLOW))
            elif self.allow_local is False:
                hint = "run without --no-local-plugins if you trust the file: its code is run"
                self.problems.append(Problem("local-plugin", "local plugins are forbidden", path, hint))
            elif info.status != OK:
                said = f"plugin {shown(name)} is {info.status}: {info.error}"
                self.problems.append(Problem("broken-plugin", said, path))
        return registry

    def _table(self, table: Table) -> Any:
        if table.holds is Profile:
            found, problems = read_profiles(self.document.get(table.name, []), table.name, self.folder)
            self.problems += problems
            return found
        if table.kind is None:
            return self._section(table)
        return self._several(table) if table.several else self._single(table)

    def _section(self, table: Table) -> Any:
        if self._is_list(table.name):
            return None
        if table.required and table.name not in self.document:
            self._missing(table)
            return None
        written = self.document.get(table.name, {})
        cls = cast(type, table.holds)
        instance, problems = structure(cls, written, (table.name,), self.folder, owner=table.header)
        self.problems += problems
        return instance

    def _single(self, table: Table) -> Use | None:
        if table.name not in self.document:
            self._missing(table)
            return None
        kind = cast(str, table.kind)
        return None if self._is_list(table.name) else self._use(kind, self.document[table.name], (table.name,))

    def _is_list(self, name: str) -> bool:
        """Whether a table was written as a list of tables, which is a problem."""
        listed = isinstance(self.document.get(name), list)
        if listed:
            self._wrong(f"'{name}' must be one table, not a list", (name,), f"write [{name}]")
        return listed

    def _several(self, table: Table) -> tuple[Use, ...]:
        name, kind = table.name, cast(str, table.kind)
        tables = self.document.get(name)
        if tables is None or tables == []:
            self._missing(table)
            return ()
        if not isinstance(tables, list):
            self._wrong(f"'{name}' must be a list of tables, not {called(tables)}", (name,), f"write [[{name}]]")
            return ()
        uses = [self._use(kind, entry, (name, place), named=True) for place, entry in enumerate(tables)]
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
            named = named_by(use.instance)
            wrong = [name for name in named if name in combining]
            if wrong:
                said = f"'{wrong[0]}' combines the scores of others and cannot be combined by '{use.name}'"
                path = (*use.path, "of", named.index(wrong[0]))
                self.problems.append(Problem("not-allowed", said, path, "name scorers that look at the model"))
            elif not named and not combined_by(use, scorers):
                said = f"'{use.name}' has nothing to combine: the recipe has no other scorer that looks at the model"
                hint = 'add a [[score]] such as use = "leave-one-out"'
                self.problems.append(Problem("nothing-to-combine", said, (*use.path, "use"), hint))

    def _missing(self, table: Table) -> None:
        """A table that has to be there is not."""
        if table.required and table.name not in self.meant:
            said = f"{self.told} needs {table.header}"
            self.problems.append(Problem("missing-table", said, (), self._offers_for(table)))

    def _offers_for(self, table: Table) -> str:
        """What to add."""
        if table.kind is None:
            required = [field for field in fields(cast(type, table.holds)) if field.required]
            return f"add {table.header} with {', '.join(f'{field.name} = ...' for field in required)}"
        return f'add {table.header} with use = "...", one of: {", ".join(self._offered(table.kind))}'

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
        instance, problems = self._made(offer, cls, settings, path)
        self.problems += [*problems, *self._bad_references(cls, settings, path)]
        if instance is None:
            return None
        written = unstructure(instance)
        for field in fields(cls):
            if field.about and field.about.path and field.name in settings:
                written[field.name] = settings[field.name]
        return Use(kind, str(name), offer.name, offer, written, instance, path)

    def _made(self, offer: Offer, cls: type, settings: Mapping[str, Any], path: TomlPath) -> tuple[Any, list[Problem]]:
        """A component with its settings; whatever its class does when it is made is a problem, not the end."""
        try:
            with loading(f"{offer.kind} '{offer.name}' of {offer.provider} to be made"):
                return structure(cls, settings, path, self.folder, owner=f"{offer.kind} '{offer.name}'")
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            said = f"{offer.kind} '{offer.name}' of {offer.provider} cannot be made: {error_text(error)}"
            return None, [Problem("broken-component", said, (*path, "use"), "mend or block that plugin")]

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
            first = settings.get(field.name, default_of(field)) == ""
            if first and not entries:
                said = f"'{field.name}' is the first [[{field.about.names}]], and there is none"
                yield Problem("unknown-name", said, path, f"add a [[{field.about.names}]]", at_key=True)
            if len(known) < len(entries):  # an entry without a name may be the one that is meant
                continue
            value = settings.get(field.name, default_of(field))
            for place, name in enumerate(value if isinstance(value, list) else [value]):
                if isinstance(name, str) and name not in ("", *known):
                    near = did_you_mean(name, known)
                    hint = f"did you mean '{near}'?" if near else f"there are: {', '.join(dict.fromkeys(known))}"
                    hint = hint if known else f"add a [[{field.about.names}]]"
                    said = f"'{field.name}' names no [[{field.about.names}]]: {name!r}"
                    inner = (place,) if isinstance(value, list) else ()
                    yield Problem("unknown-name", said, (*path, field.name, *inner), hint)

    def _entries(self, section: str) -> list[Any]:
        tables = self.document.get(section, [])
        return tables if isinstance(tables, list) else []


def _repeated(names: Sequence[str], paths: Mapping[str, Path]) -> set[int]:
    """The places of names that mean a file which an earlier one means, however it is spelt."""
    met: set[Path] = set()
    again = set()
    for place, name in enumerate(names):
        if (path := paths.get(name)) is None:
            continue
        again |= {place} if path in met else set()
        met.add(path)
    return again


def _too_many_layers(recipe: Recipe) -> Iterator[Problem]:
    """Scorers and selectors that are to keep more layers than the full model is known to have; it may have none."""
    depth = recipe.depth
    if depth is None:
        return
    layered = [use for use in recipe.uses if use.kind in ("scorer", "selector", "compressor")]
    if not depth and layered:
        said = f"the full model, '{recipe.recommender.component}', has no layers"
        hint = "leave out what scores, selects and compresses layers, or take another recommender"
        yield Problem("no-layers", said, layered[0].path, hint)
        return
    for use in layered:
        if use.kind not in ("scorer", "selector") or not isinstance(use.instance, Keeps):
            continue
        keep, path = use.instance.keep, (*use.path, "keep")
        counts = [(keep, path)] if isinstance(keep, int) else [(n, (*path, at)) for at, n in enumerate(keep or ())]
        for count, place in counts:
            if count > depth:
                hint = f"keep at most {depth}, or give the full model more layers"
                yield Problem("too-many-layers", f"cannot keep {count} of {depth} layers", place, hint)


def _not_exportable(recipe: Recipe) -> Iterator[Problem]:
    """Exports of models that their recommender never takes apart: said before anything is trained."""
    if recipe.export and not isinstance(recipe.recommender.instance, Exportable):
        said = f"the {recipe.recommender.who} offers no parts that could be exported"
        hint = "leave [[export]] out, or take another recommender"
        yield Problem("not-exportable", said, recipe.export[0].path, hint)


def _at_override(problem: Problem, applied: Sequence[Override]) -> Problem:
    """Blame the override that wrote what is wrong, the last one first."""
    for override in reversed(applied):
        if problem.file is None and problem.path[: len(override.path)] == override.path:
            return attrs.evolve(problem, file=override.origin)
    return problem


def load_recipe(
    file: Path,
    overrides: Sequence[str] = (),
    *,
    block: Collection[str] = (),
    allow_local: Allowing = True,
) -> Recipe:
    """Read and check a recipe.

    Args:
        file: The TOML file.
        overrides: `"select.keep=4"` each, applied in order under the same checks.
        block: Plugins to leave out.
        allow_local: Whether the code of `plugins = ["./file.py"]` may be run: all, none, or what is said of a file and
            the sha256 of its content.

    Raises:
        RecipeError: With every problem, each at its place in the file.
    """
    recipe, problems = check_recipe(file, overrides, block=block, allow_local=allow_local)
    if recipe is None:
        from lwa_core.recipe.locate import render

        raise RecipeError(render(problems), problems)
    return recipe


def check_recipe(
    file: Path,
    overrides: Sequence[str] = (),
    *,
    block: Collection[str] = (),
    allow_local: Allowing = True,
    selects: bool = True,
) -> tuple[Recipe | None, list[Problem]]:
    """Like `load_recipe`, but gives the problems back, placed and in file order.

    Without `selects`, how many layers its selector is to keep is nobody's affair.
    """
    try:
        text = read_text(file)
    except BadDocumentError as error:
        return None, [error.problem]
    try:
        reader = Reader(file, parse(text), block, allow_local)
        reader.selects = selects
        recipe, problems = reader.read(text, overrides)
    except BadDocumentError as error:
        recipe, problems = None, [error.problem]
    if problems:
        from lwa_core.recipe.locate import locate

        problems = locate(problems, text, str(file))
    return recipe, problems
