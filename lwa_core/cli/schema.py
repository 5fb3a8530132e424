"""`lwa schema`: the JSON Schema of recipes, with the settings of every installed plugin, and that of results."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from typing import TYPE_CHECKING, Any

import click

from lwa_core.cli._options import block_option, example
from lwa_core.cli._terminal import print_json, say

if TYPE_CHECKING:
    from lwa_core.plugins.registry import Registry

DIALECT = "https://json-schema.org/draft/2020-12/schema"


@click.command(
    epilog=example("  lwa schema > lwa.schema.json\n  # then, first in a recipe: #:schema ./lwa.schema.json")
)
@click.option(
    "--of",
    "what",
    type=click.Choice(["recipe", "results"]),
    default="recipe",
    show_default=True,
    help="Of recipes, or of the metrics.json of a run.",
)
@block_option
def command(what: str, block: tuple[str, ...]) -> None:
    """Print the JSON Schema of recipes, for editors that complete and check TOML, or of results.

    That of recipes knows the settings of every installed plugin. A component that cannot be loaded is left out, with a
    word on stderr.
    """
    if what == "results":
        from lwa_core.results.as_json import metrics_schema

        print_json(metrics_schema())
        return
    from lwa_core.plugins.registry import Registry

    print_json(recipe_schema(Registry.discover(block=block)))


def recipe_schema(registry: Registry) -> dict[str, Any]:
    """The JSON Schema of a recipe that may use every component of the registry: one form for each task."""
    from lwa_core.recipe.tables import TASKS

    one_of = cache(partial(_one_of, registry))  # tasks share kinds: what cannot be loaded is said once
    forms = [_form(one_of, task) for task in TASKS]
    return {"$schema": DIALECT, "title": "lwa recipe", "anyOf": forms}


def _form(one_of: Callable[[str, bool], dict[str, Any]], task: str) -> dict[str, Any]:
    """Recipes of one task."""
    from lwa_core.recipe.profiles import Profile
    from lwa_core.recipe.recipe import Head
    from lwa_core.recipe.tables import TASKS
    from lwa_core.settings import default_of, fields, json_schema

    form = json_schema(Head)
    shape: dict[str, Any]
    for table in TASKS[task]:
        if table.holds is Profile:
            shape = {"type": "array", "items": _profile()}
        elif isinstance(table.holds, type):
            shape = json_schema(table.holds)
        elif table.several:
            shape = {"type": "array", "minItems": 1, "items": one_of(table.holds, True)}
        else:
            shape = one_of(table.holds, False)
        form["properties"][table.name] = shape
        form["required"] += [table.name] if table.required else []
        if table.rests_on is not None:
            form.setdefault("dependentRequired", {})[table.name] = [table.rests_on]
    form["properties"]["task"]["enum"] = [task]
    default = next(default_of(field) for field in fields(Head) if field.name == "task")
    form["required"] += [] if task == default else ["task"]
    return form


def _profile() -> dict[str, Any]:
    """A table that names a device, and maybe limits other than its own."""
    from lwa_core.recipe.profiles import BUILT_IN, ENDING, Limits
    from lwa_core.settings import json_schema

    own: dict[str, Any] = {"type": "string", "pattern": rf"\{ENDING}$", "description": "path of a TOML file of limits"}
    table = json_schema(Limits)
    name = {"type": "string", "description": "what tables call it; by default, what it uses"}
    table["properties"] = {"use": {"anyOf": [{"enum": list(BUILT_IN)}, own]}, "name": name, **table["properties"]}
    return {**table, "required": ["use"]}


def _one_of(registry: Registry, kind: str, named: bool) -> dict[str, Any]:
    """A table that uses one of the components of a kind: `use` says which settings it may have."""
    from lwa_core.errors import PluginError
    from lwa_core.settings import json_schema

    tables = []
    for offer in registry.components(kind):
        try:
            table = json_schema(offer.load())
        except PluginError as error:
            say(f"warning: {error.message}", err=True)
            continue
        use = {"enum": [offer.name, f"{offer.provider.name}:{offer.name}"]}
        if offer.component.reference:
            use["description"] = offer.component.reference  # type: ignore[assignment]
        name = {"name": {"type": "string", "description": "what the recipe calls it; by default, what it uses"}}
        table["properties"] = {"use": use, **(name if named else {}), **table["properties"]}
        table["required"] = ["use", *table["required"]]
        tables.append(table)
    return {"anyOf": tables} if tables else {"type": "object"}
