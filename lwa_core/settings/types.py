"""The types that a setting can have: how a TOML value is read as one, and what messages and schemas call it.

Reading is strict: `"20"` and `true` are no integers, `[1]` is no `1`. One thing is let through, because nothing is lost
by it: an integer where a number is wanted.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, Protocol, TypeAlias, Union, get_args, get_origin

import attrs

TomlPath: TypeAlias = tuple[str | int, ...]

LONGEST_SHOWN = 40
"""Characters of a string that messages show."""


@attrs.frozen
class Objection:
    """Why a value does not do; `path` leads from the setting to the part that is wrong."""

    code: str
    message: str
    path: TomlPath = ()
    hint: str | None = None


Reading: TypeAlias = tuple[Any, list[Objection]]


class SettingType(Protocol):
    """A type that a setting can have."""

    @property
    def shape(self) -> type | None:
        """The Python type of the TOML value, where only one will do."""

    def read(self, value: Any) -> Reading:
        """A TOML value as this type, or everything that is wrong with it."""

    def name(self, several: bool = False) -> str:
        """What one is called ("an integer"), or several are ("integers")."""

    def schema(self, limits: Mapping[str, Any]) -> dict[str, Any]:
        """Its JSON Schema; `limits` (minimum, enum ...) go to the leaves."""


@attrs.frozen
class Leaf:
    """A value without members: `type(value)` must be `shape`."""

    shape: type
    one: str
    many: str
    json: str

    def read(self, value: Any) -> Reading:
        return (value, []) if type(value) is self.shape else (None, [mismatch(self, value)])

    def name(self, several: bool = False) -> str:
        return self.many if several else self.one

    def schema(self, limits: Mapping[str, Any]) -> dict[str, Any]:
        numeric = self.json in ("integer", "number")
        return {"type": self.json, **{name: limit for name, limit in limits.items() if numeric or name == "enum"}}


class IntegerLeaf(Leaf):
    """An integer of 64 bits, as TOML has them."""

    def read(self, value: Any) -> Reading:
        if type(value) is int and not -(2**63) <= value < 2**63:
            return None, [Objection("out-of-range", "is an integer of more than 64 bits")]
        return super().read(value)


class NumberLeaf(Leaf):
    """A finite float; an integer that a float can hold exactly becomes one."""

    def read(self, value: Any) -> Reading:
        if type(value) is int:
            if abs(value) > 2**53:
                return None, [Objection("out-of-range", "is too large an integer to become a number without loss")]
            return float(value), []
        if type(value) is float and not math.isfinite(value):
            return None, [Objection("out-of-range", f"must be a finite number, not {value}")]
        return super().read(value)


class PathLeaf(Leaf):
    """A path, written as a string."""

    def read(self, value: Any) -> Reading:
        text, wrong = super().read(value)
        return (None, wrong) if wrong else (Path(text), [])


@attrs.frozen
class Anything:
    """Whatever TOML can say."""

    shape: None = None

    def read(self, value: Any) -> Reading:
        return value, []

    def name(self, several: bool = False) -> str:
        return "values" if several else "a value"

    def schema(self, limits: Mapping[str, Any]) -> dict[str, Any]:
        return dict(limits)


@attrs.frozen
class OneOf:
    """One of a few values: `Literal`."""

    values: tuple[Any, ...]
    shape: None = None

    def read(self, value: Any) -> Reading:
        if any(value == choice and type(value) is type(choice) for choice in self.values):
            return value, []
        return None, [Objection("not-allowed", f"must be {self.name()}, not {called(value)}")]

    def name(self, several: bool = False) -> str:
        return " or ".join(map(shown, self.values))

    def schema(self, limits: Mapping[str, Any]) -> dict[str, Any]:
        return {"enum": list(self.values)}


@attrs.frozen
class AnyOf:
    """A union. None is no member: TOML has no null, so a setting that may be None is left out instead."""

    arms: tuple[SettingType, ...]
    shape: None = None

    def read(self, value: Any) -> Reading:
        readings = [arm.read(value) for arm in self.arms]
        for found, wrong in readings:
            if not wrong:
                return found, []
        # One arm was meant where it has the value's own shape: what it says is nearer than "none of these".
        meant = [
            r for arm, r in zip(self.arms, readings, strict=True) if len(readings) == 1 or arm.shape is type(value)
        ]
        return meant[0] if meant else (None, [mismatch(self, value)])

    def name(self, several: bool = False) -> str:
        return " or ".join(arm.name(several) for arm in self.arms)

    def schema(self, limits: Mapping[str, Any]) -> dict[str, Any]:
        each = [arm.schema(limits) for arm in self.arms]
        return each[0] if len(each) == 1 else {"anyOf": each}


@attrs.frozen
class ListOf:
    """A list, read as the tuple or list that the type names."""

    member: SettingType
    into: type = tuple
    shape: type = list

    def read(self, value: Any) -> Reading:
        if type(value) is not list:
            return None, [mismatch(self, value)]
        members, wrong = _read_each(self.member, enumerate(value))
        return (None, wrong) if wrong else (self.into(members.values()), [])

    def name(self, several: bool = False) -> str:
        return f"{'lists' if several else 'a list'} of {self.member.name(several=True)}"

    def schema(self, limits: Mapping[str, Any]) -> dict[str, Any]:
        return {"type": "array", "items": self.member.schema(limits)}


@attrs.frozen
class TableOf:
    """A table with keys of the user's own."""

    member: SettingType
    shape: type = dict

    def read(self, value: Any) -> Reading:
        if type(value) is not dict:
            return None, [mismatch(self, value)]
        members, wrong = _read_each(self.member, value.items())
        return (None, wrong) if wrong else (members, [])

    def name(self, several: bool = False) -> str:
        return f"{'tables' if several else 'a table'} of {self.member.name(several=True)}"

    def schema(self, limits: Mapping[str, Any]) -> dict[str, Any]:
        return {"type": "object", "additionalProperties": self.member.schema(limits)}


def _read_each(kind: SettingType, members: Any) -> tuple[dict[Any, Any], list[Objection]]:
    found, wrong = {}, []
    for place, raw in members:
        found[place], objections = kind.read(raw)
        wrong += [attrs.evolve(objection, path=(place, *objection.path)) for objection in objections]
    return found, wrong


LEAVES: dict[Any, SettingType] = {
    Any: Anything(),
    bool: Leaf(bool, "true or false", "booleans", "boolean"),
    int: IntegerLeaf(int, "an integer", "integers", "integer"),
    float: NumberLeaf(float, "a number", "numbers", "number"),
    str: Leaf(str, "a string", "strings", "string"),
    Path: PathLeaf(str, "a path", "paths", "string"),
}


def setting_type(annotation: Any) -> SettingType:
    """The kind that a type annotation names. Raises TypeError where no setting can have that type."""
    if annotation in LEAVES:
        return LEAVES[annotation]
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin in (Union, UnionType):
        arms = [arm for arm in arguments if arm is not NoneType]
        # An integer stays one where it may: numbers are tried last.
        return AnyOf(tuple(setting_type(arm) for arm in sorted(arms, key=lambda arm: arm is float)))
    if origin is Literal:
        return OneOf(arguments)
    if origin is tuple and len(arguments) == 2 and arguments[1] is Ellipsis:
        return ListOf(setting_type(arguments[0]))
    if isinstance(origin, type) and issubclass(origin, Mapping) and arguments[0] is str:
        return TableOf(setting_type(arguments[1]))
    if isinstance(origin, type) and issubclass(origin, Sequence) and len(arguments) == 1:
        return ListOf(setting_type(arguments[0]), list if origin is list else tuple)
    raise TypeError(
        f"no setting can have the type {annotation if origin else getattr(annotation, '__name__', annotation)}"
    )


def mismatch(kind: SettingType, value: Any) -> Objection:
    """The objection to a value of another type."""
    return Objection("wrong-type", f"must be {kind.name()}, not {called(value)}", hint=_requoted(kind, value))


def _requoted(kind: SettingType, value: Any) -> str | None:
    """What to do where quotes are all that is wrong."""
    if type(value) is str and value.isascii() and len(value) <= LONGEST_SHOWN:
        bare: Any = {"true": True, "false": False}.get(value.lower())
        for number in (int, float):
            try:
                bare = number(value) if bare is None else bare
            except ValueError:
                continue
        if bare is not None and any(type(bare) is shape for shape in _shapes(kind)):
            return f"write {value.lower()} without quotes"
    if type(value) in (int, float) and str in _shapes(kind):
        return f'write it in quotes: "{shown(value)}"' if not _is_huge(value) else None
    return None


def _shapes(kind: SettingType) -> tuple[type | None, ...]:
    return tuple(arm.shape for arm in kind.arms) if isinstance(kind, AnyOf) else (kind.shape,)


def called(value: Any) -> str:
    """What a TOML value is, shortly, for "…, not …"."""
    for kind, name in ((bool, ""), (str, "the string "), (int, "the integer "), (float, "the number ")):
        if isinstance(value, kind):
            return name + shown(value)
    return shown(value) if isinstance(value, (list, dict)) else f"the date or time {value}"


def shown(value: Any) -> str:
    """A leaf as TOML would have it, cut where it is long."""
    if isinstance(value, bool):
        return str(value).lower()
    if _is_huge(value):
        return "with too many digits"
    if isinstance(value, (list, dict)):
        return "a list" if isinstance(value, list) else "a table"
    if isinstance(value, str):
        return repr(value if len(value) <= LONGEST_SHOWN else value[: LONGEST_SHOWN - 3] + "...")
    return str(value)


def _is_huge(value: Any) -> bool:
    """Whether it is an integer that nobody would read; Python refuses to write one of more than 4,300 digits."""
    return isinstance(value, int) and value.bit_length() > 128


def plain(value: Any) -> Any:
    """A setting's value as JSON has it: tuples as lists, paths as text."""
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, Mapping):
        return {str(key): plain(member) for key, member in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(member) for member in value]
    return value
