"""Device profiles: what a device allows a model to take, from a TOML file or built in."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs

from lwa_core.errors import Problem, RecipeError
from lwa_core.recipe.document import NAME, BadDocumentError, parse, read_text
from lwa_core.settings import did_you_mean, setting, structure, unstructure
from lwa_core.settings.types import TomlPath, called, shown


@attrs.frozen
class Limits:
    """What a device allows; a limit that is left out allows anything."""

    memory_mb: float | None = setting(
        None, help="highest resident memory of a fresh process that answered 1,000 requests", unit="10^6 bytes", above=0
    )
    p95_ms: float | None = setting(
        None, help="95th percentile of the time of a request, one at a time", unit="ms", above=0
    )
    cold_start_s: float | None = setting(
        None, help="from the start of the process to the end of its first answer", unit="s", above=0
    )
    disk_mb: float | None = setting(None, help="all files of the model", unit="10^6 bytes", above=0)
    threads: int = setting(1, help="that the process may use", minimum=1, maximum=1024)
    keep: float | None = setting(
        None,
        help="share of the teacher's NDCG@k that the lower end of the interval must reach",
        above=0,
        maximum=1,
    )


BUILT_IN: Mapping[str, Limits] = {
    "mobile": Limits(memory_mb=100.0, p95_ms=20.0, cold_start_s=1.0, disk_mb=50.0, threads=1, keep=0.95),
    "edge": Limits(memory_mb=500.0, p95_ms=50.0, cold_start_s=5.0, threads=1, keep=0.95),
    "cloud": Limits(memory_mb=2000.0, p95_ms=100.0, cold_start_s=30.0, threads=2, keep=0.95),
}

ENDING = ".toml"


@attrs.frozen
class Profile:
    """A device.

    Args:
        name: What tables call it: as the recipe says, or that of a built-in one, or of its file without the ending.
        use: As it was asked for.
        limits: What it allows.
    """

    name: str
    use: str
    limits: Limits


def find_profile(use: str, folder: Path = Path()) -> Profile:
    """A built-in profile by its name, or that of a TOML file; a relative path counts from `folder`.

    Raises:
        RecipeError: There is none, or its file is wrong.
    """
    if use in BUILT_IN:
        return Profile(use, use, BUILT_IN[use])
    if not use.endswith(ENDING):
        near = did_you_mean(use, BUILT_IN)
        there_are = f"there are {', '.join(BUILT_IN)}, or name a TOML file of limits"
        raise RecipeError(f"no profile is called {use!r}", hint=f"did you mean '{near}'?" if near else there_are)
    file = folder / use
    try:
        text = read_text(file)
        limits, problems = structure(Limits, parse(text), (), file.parent, owner="a profile")
    except BadDocumentError as error:
        said = f"the profile {use} cannot be read: {error.problem.message}"
        raise RecipeError(said, hint=None if error.problem.code == "no-file" else error.problem.hint) from error
    if limits is None or problems:
        said = "; ".join(problem.message for problem in problems)
        raise RecipeError(f"the profile {use} is wrong: {said}", hint=problems[0].hint)
    return Profile(file.stem, use, limits)


def read_profiles(tables: Any, name: str, folder: Path) -> tuple[tuple[Profile, ...], list[Problem]]:
    """The profiles of a recipe's list of tables, and what is wrong with them."""
    if not isinstance(tables, list):
        said = f"'{name}' must be a list of tables, not {called(tables)}"
        return (), [Problem("wrong-type", said, (name,), f"write [[{name}]]", at_key=True)]
    found: list[Profile] = []
    problems: list[Problem] = []
    for place, table in enumerate(tables):
        path: TomlPath = (name, place)
        profile, wrong = _read_profile(table, path, folder)
        problems += wrong
        if profile is not None and profile.name in [other.name for other in found]:
            said = f"two [[{name}]] are called '{profile.name}'"
            hint = f'give this one a name of its own: name = "{profile.name}-2"'
            problems.append(Problem("duplicate-name", said, (*path, "name" if "name" in table else "use"), hint))
        elif profile is not None:
            found.append(profile)
    return tuple(found), problems


def _read_profile(table: Any, path: TomlPath, folder: Path) -> tuple[Profile | None, list[Problem]]:
    example = 'write use = "mobile", or the path of a TOML file of limits'
    if not isinstance(table, dict):
        return None, [Problem("wrong-type", f"'{path[0]}' must be a table, not {called(table)}", path, example)]
    use, own = table.get("use"), {key: value for key, value in table.items() if key not in ("use", "name")}
    if use is None:
        return None, [Problem("missing-setting", "this table does not say what to use", path, example, at_key=True)]
    if not isinstance(use, str):
        return None, [Problem("wrong-type", f"'use' must be a string, not {called(use)}", (*path, "use"), example)]
    name = table.get("name", "")
    if not isinstance(name, str) or ("name" in table and not NAME.fullmatch(name)):
        hint = "letters, digits, '.', '_' and '-'"
        return None, [Problem("bad-name", f"{shown(name)} is no name", (*path, "name"), hint)]
    try:
        base = find_profile(use, folder)
    except RecipeError as error:
        return None, [Problem("unknown-profile", error.message, (*path, "use"), error.hint)]
    stated = {key: value for key, value in unstructure(base.limits).items() if value is not None}
    limits, problems = structure(Limits, {**stated, **own}, path, folder, owner="a profile")
    return (None if limits is None else Profile(name or base.name, use, limits)), problems
