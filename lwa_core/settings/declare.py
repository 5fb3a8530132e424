"""Settings are attrs fields: declare one with `setting()`, read a TOML table into the class with `structure()`."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, get_type_hints
from weakref import WeakKeyDictionary

import attrs

from lwa_core.errors import Problem
from lwa_core.settings.paths import resolved_path
from lwa_core.settings.types import SettingType, TomlPath, called, plain, setting_type, shown

NOTHING: Any = attrs.NOTHING

LONGEST_WORD = 100
"""Characters. What is longer is no misspelt name, and would take long to compare."""

SCHEMA_BOUNDS = {"minimum": "minimum", "maximum": "maximum", "above": "exclusiveMinimum"}


@attrs.frozen
class About:
    """What a field says of itself besides its type and default."""

    help: str
    unit: str | None = None
    minimum: float | None = None
    maximum: float | None = None
    above: float | None = None
    choices: tuple[Any, ...] | None = None
    names: str | None = None
    path: bool = False

    def bounds(self) -> dict[str, float]:
        """The bounds that are set, by name."""
        named = {"minimum": self.minimum, "maximum": self.maximum, "above": self.above}
        return {name: bound for name, bound in named.items() if bound is not None}

    def objection(self, value: Any) -> str | None:
        """Why `value` is not allowed, or None. Of a list, every member must be."""
        if isinstance(value, (list, tuple)):
            return next((said for member in value if (said := self.objection(member))), None)
        if self.choices is not None and value not in self.choices:
            return f"must be one of {', '.join(map(repr, self.choices))}, not {shown(value)}"
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            return None
        wanted = self._wanted(value)
        return f"must be {wanted}, not {shown(value)}" if wanted else None

    def _wanted(self, value: float) -> str | None:
        if isinstance(value, float) and not math.isfinite(value):
            return "a finite number"
        if self.minimum is not None and value < self.minimum:
            return f"at least {self.minimum}"
        if self.maximum is not None and value > self.maximum:
            return f"at most {self.maximum}"
        if self.above is not None and value <= self.above:
            return f"above {self.above}"
        return None


def setting(
    default: Any = NOTHING,
    *,
    help: str,
    unit: str | None = None,
    minimum: float | None = None,
    maximum: float | None = None,
    above: float | None = None,
    choices: Sequence[Any] | None = None,
    names: str | None = None,
    path: bool = False,
) -> Any:
    """Declare one setting of a component: an attrs field that documents and checks itself.

    Args:
        default: Its value where a recipe says nothing; without one the setting is required.
        help: One line for `lwa plugins show` and the JSON Schema.
        unit: What a number counts, for example "ms".
        minimum: Inclusive lower bound of a number (or of every number of a list).
        maximum: Inclusive upper bound.
        above: Exclusive lower bound.
        choices: The allowed values.
        names: The value must be the name of an entry of that section of the recipe, for example `"score"`.
        path: The value is a path; a relative one counts from the folder of the recipe.
    """
    about = About(help, unit, minimum, maximum, above, tuple(choices) if choices is not None else None, names, path)

    def check(_: Any, attribute: Any, value: Any) -> None:
        if value is not None and (objection := about.objection(value)):
            raise ValueError(f"{attribute.name} {objection}")

    return attrs.field(default=default, validator=check, kw_only=True, metadata={"about": about})


def redefined(cls: type, name: str, default: Any, **changes: Any) -> Any:
    """Declare a setting of a base class anew, with another default: all else stays as the base class has it.

    Args:
        cls: The base class.
        name: Of the setting.
        default: Its value where a recipe says nothing.
        changes: Any other argument of `setting`, where that differs too.
    """
    about: About = attrs.fields_dict(cls)[name].metadata["about"]
    return setting(default, **{**attrs.asdict(about, recurse=False), **changes})


@attrs.frozen
class Field:
    """One setting of a class, as recipes see it."""

    name: str
    kind: SettingType
    default: Any
    about: About | None

    @property
    def required(self) -> bool:
        return self.default is NOTHING

    @property
    def type_name(self) -> str:
        """What its values are called: "an integer", "a path"."""
        name = self.kind.name()
        return name.replace("string", "path") if self.about and self.about.path else name

    @property
    def may_be_empty(self) -> bool:
        """Whether an empty list says something: where nothing, or an empty list, is the default."""
        return not self.required and not default_of(self)


_known: WeakKeyDictionary[type, tuple[Field, ...]] = WeakKeyDictionary()


def fields(cls: type) -> tuple[Field, ...]:
    """The settings of an attrs class, in their order: its own, then those that it inherits.

    Raises:
        TypeError: `cls` is no attrs class, or a field has no usable type.
    """
    if cls not in _known:
        _known[cls] = _fields(cls)
    return _known[cls]


def _fields(cls: type) -> tuple[Field, ...]:
    if not attrs.has(cls):
        raise TypeError(f"{cls.__name__} is no attrs class")
    try:
        hints = get_type_hints(cls)
    except Exception as error:
        raise TypeError(f"the types of {cls.__name__} cannot be resolved: {error}") from error
    found = []
    for field in sorted(attrs.fields(cls), key=lambda field: field.inherited):
        if not field.init:
            continue
        if field.name not in hints:
            raise TypeError(f"{cls.__name__}.{field.name} has no type")
        kind = setting_type(hints[field.name])
        found.append(Field(field.alias, kind, field.default, field.metadata.get("about")))
    return tuple(found)


def structure(
    cls: type, table: Any, path: TomlPath, base_folder: Path | None = None, *, owner: str = ""
) -> tuple[Any, list[Problem]]:
    """Read a TOML table into an attrs class, strictly, and say everything that is wrong with it.

    Args:
        cls: The class; its fields are the settings.
        table: The table, without keys that are not the class's own (`use`, `name`).
        path: Where the table is in the TOML document.
        base_folder: What a relative path of a `setting(path=True)` counts from.
        owner: Whose settings these are, for messages: `"scorer 'fisher'"`, `"[filter]"`.

    Returns:
        The instance, or None where there are problems; and the problems.
    """
    if not isinstance(table, Mapping):
        said = f"{owner or '.'.join(map(str, path)) or 'this'} must be a table, not {called(table)}"
        return None, [Problem("wrong-type", said, path)]
    known = {field.name: field for field in fields(cls)}
    problems, meant = _unknown(known, table, path, owner)
    values: dict[str, Any] = {}
    for name, field in known.items():
        if name in table:
            value, wrong = _read(field, table[name], (*path, name), base_folder)
            problems += wrong
            if not wrong:
                values[name] = value
        elif field.required and name not in meant:
            problems.append(_missing(field, path, owner))
    if problems:
        return None, problems
    try:
        return cls(**values), []
    except (ValueError, TypeError) as error:  # a rule between settings, checked by the class itself
        return None, [Problem("not-allowed", f"{owner}: {error}" if owner else str(error), path, at_key=True)]


def _unknown(
    known: Mapping[str, Field], table: Mapping[str, Any], path: TomlPath, owner: str
) -> tuple[list[Problem], set[str]]:
    """A problem for every key that is no setting, and the settings that these keys were meant to be."""
    problems, meant = [], set()
    for key in table:
        if key in known:
            continue
        near = did_you_mean(key, [name for name in known if name not in table]) or did_you_mean(key, known)
        if near:
            meant.add(near)
            hint = f"did you mean '{near}'?"
        else:
            hint = f"it has: {', '.join(known)}" if known else "it has no settings"
        said = f"unknown setting '{key}'" + (f" {'in' if owner.startswith('[') else 'for'} {owner}" if owner else "")
        problems.append(Problem("unknown-setting", said, (*path, key), hint, at_key=True))
    return problems, meant


def _missing(field: Field, path: TomlPath, owner: str) -> Problem:
    hint = f"add {field.name} = ... ({field.type_name}" + (f": {field.about.help})" if field.about else ")")
    said = f"{owner or 'this table'} needs the setting '{field.name}'"
    return Problem("missing-setting", said, path, hint, at_key=True)


def _read(field: Field, raw: Any, path: TomlPath, base_folder: Path | None) -> tuple[Any, list[Problem]]:
    value, objections = field.kind.read(raw)
    problems = [
        Problem(wrong.code, f"'{_dotted(field.name, wrong.path)}' {wrong.message}", (*path, *wrong.path), wrong.hint)
        for wrong in objections
    ]
    if raw == [] and not problems and not field.may_be_empty:
        problems.append(Problem("out-of-range", f"'{field.name}' must not be empty", path))
    if field.about is None:
        return value, problems
    wrong_places = [wrong.path for wrong in objections]
    for inner, member in _members(raw):
        if not any(inner[: len(place)] == place for place in wrong_places):
            problems += _bounded(_dotted(field.name, inner), field.about, member, (*path, *inner))
    if field.about.path and base_folder is not None and not problems:
        try:
            value = _resolved(value, base_folder)
        except ValueError as error:
            problems.append(Problem("bad-path", f"'{field.name}' {error}", path))
    return value, problems


def _bounded(name: str, about: About, value: Any, path: TomlPath) -> list[Problem]:
    objection = about.objection(value)
    if objection is None:
        return []
    if about.choices is None:
        return [Problem("out-of-range", f"'{name}' {objection}", path)]
    near = did_you_mean(value, [choice for choice in about.choices if isinstance(choice, str)])
    return [Problem("not-allowed", f"'{name}' {objection}", path, near and f"did you mean '{near}'?")]


def _dotted(name: str, path: TomlPath) -> str:
    return name + "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)


def _members(value: Any, path: TomlPath = ()) -> Iterator[tuple[TomlPath, Any]]:
    """The value itself or, of a list, every member with its place."""
    if isinstance(value, list):
        for place, member in enumerate(value):
            yield from _members(member, (*path, place))
    else:
        yield path, value


def _resolved(value: Any, base_folder: Path) -> Any:
    if isinstance(value, (list, tuple)):
        return type(value)(_resolved(member, base_folder) for member in value)
    if isinstance(value, str) and value:  # "" stands for no path
        return str(resolved_path(value, base_folder))
    return resolved_path(value, base_folder) if isinstance(value, Path) else value


def did_you_mean(word: object, known: Iterable[str]) -> str | None:
    """The known word nearest to a misspelt one, or None where none is near."""
    if not isinstance(word, str) or len(word) > LONGEST_WORD:
        return None
    from difflib import get_close_matches

    lower = {name.lower(): name for name in known}
    near = get_close_matches(word.lower(), lower, n=1)
    return lower[near[0]] if near else None


def unstructure(instance: Any) -> dict[str, Any]:
    """The settings of an instance as JSON-ready values: every default filled in, paths as text."""
    return {field.alias: plain(getattr(instance, field.name)) for field in attrs.fields(type(instance)) if field.init}


def default_of(field: Field) -> Any:
    """A field's default as a JSON-ready value; None where it is required or made from the other settings."""
    if isinstance(field.default, attrs.Factory):  # type: ignore[arg-type]
        return None if field.default.takes_self else plain(field.default.factory())
    return None if field.required else plain(field.default)


def describe(cls: type) -> list[dict[str, Any]]:
    """What each setting is: name, type, required, default, help, unit, bounds and choices, all JSON-ready."""
    told = []
    for field in fields(cls):
        about = field.about or About("")
        told.append(
            {
                "name": field.name,
                "type": field.type_name,
                "required": field.required,
                "default": default_of(field),
                "help": about.help,
                "unit": about.unit,
                "bounds": about.bounds(),
                "choices": list(about.choices) if about.choices is not None else None,
            }
        )
    return told


def json_schema(cls: type) -> dict[str, Any]:
    """The JSON Schema of the table that `structure` reads into this class."""
    properties = {}
    for field in fields(cls):
        about = field.about or About("")
        limits: dict[str, Any] = {SCHEMA_BOUNDS[name]: bound for name, bound in about.bounds().items()}
        if about.choices is not None:
            limits["enum"] = list(about.choices)
        schema = field.kind.schema(limits)
        if about.help:
            schema["description"] = about.help + (f" [{about.unit}]" if about.unit else "")
        default = default_of(field)
        if default is not None:
            schema["default"] = default
        properties[field.name] = schema
    required = [field.name for field in fields(cls) if field.required]
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}
