"""`--set select.keep=4`: change a value of a recipe from the command line."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import attrs

from lwa_core.errors import Problem
from lwa_core.recipe.document import DEEPEST, entry_name, excess
from lwa_core.settings.types import TomlPath, shown

LONGEST_ORIGIN = 200
"""Characters of an override that are quoted."""


@attrs.frozen
class Override:
    """One value set from the command line: what the user typed, and the outermost place that it wrote or made."""

    path: TomlPath
    origin: str


class _CannotError(Exception):
    """Why an override cannot be applied."""


def apply(texts: Sequence[str], document: dict[str, Any]) -> tuple[list[Override], list[Problem]]:
    """Change the document in place, in order. Gives what was changed, and a problem for each that cannot be."""
    applied, problems = [], []
    for text in texts:
        origin = f"--set {text if len(text) <= LONGEST_ORIGIN else text[:LONGEST_ORIGIN] + ' …'}"
        try:
            key, sign, value = text.partition("=")
            if not sign:
                raise _CannotError("'=' and a value are missing")
            names, given = _names(key), _value(value)
            if too_much := excess(given, tuple(names[:DEEPEST])):
                raise _CannotError(too_much.message)
            if len(names) > DEEPEST:
                raise _CannotError(f"more than {DEEPEST} names")
            applied.append(Override(_assign(document, names, given), origin))
        except _CannotError as error:
            hint = "write --set table.key=value, for example --set select.keep=4 or --set score.0.seed=1"
            problems.append(Problem("bad-override", str(error), hint=hint, file=origin))
    return applied, problems


def _names(key: str) -> list[str]:
    """`score."my.name".seed` -> its parts, by the rules of TOML keys."""
    import tomli

    try:
        inner: Any = tomli.loads(f"{key} = 0" if key.isprintable() else "")
    except (ValueError, RecursionError):
        raise _CannotError(f"{shown(key)} is no key") from None
    names = []
    while isinstance(inner, dict):
        if len(inner) != 1:  # no key, or one that brings more with it
            raise _CannotError(f"{shown(key)} is no key")
        name, inner = next(iter(inner.items()))
        names.append(name)
    return names


def _value(text: str) -> Any:
    """A TOML value; what is none is taken as a string, so that paths and words need no quotes."""
    import tomli

    try:
        parsed = tomli.loads(f"value = {text}")
    except (ValueError, RecursionError):
        return text
    return parsed["value"] if len(parsed) == 1 else text


def value_text(value: Any) -> str:
    """A TOML value as an override writes it, on one line."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(key)} = {value_text(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(value_text, value)) + "]"
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, bool):
        return str(value).lower()
    return repr(value) if isinstance(value, (int, float)) else str(value)


def _assign(document: dict[str, Any], names: Sequence[str], value: Any) -> TomlPath:
    """Put the value where the names lead, making tables on the way; list entries go by number or name.

    Gives the path of the outermost table that was made, else of the value.
    """
    here: Any = document
    path: TomlPath = ()
    made: TomlPath | None = None
    for place, name in enumerate(names):
        step: str | int = name
        if isinstance(here, list):
            step = _entry(here, name, ".".join(names[:place]))
        elif not isinstance(here, dict):
            raise _CannotError(f"'{'.'.join(names[:place])}' is no table")
        path = (*path, step)
        if place == len(names) - 1:
            here[step] = value
        else:
            made = path if made is None and isinstance(here, dict) and step not in here else made
            here = here[step] if isinstance(step, int) else here.setdefault(step, {})
    return path if made is None else made


def _entry(entries: Sequence[Any], name: str, section: str) -> int:
    names = [entry_name(entry) for entry in entries]
    if name in names:
        return names.index(name)
    if name.isdecimal() and int(name) < len(entries):
        return int(name)
    known = ", ".join(f"{place} ({each})" if each else str(place) for place, each in enumerate(names))
    raise _CannotError(f"no entry of '{section}' is called '{name}'; there are: {known}")
