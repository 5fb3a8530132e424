"""`lwa schema`: the JSON Schema of recipes, with the settings of every installed plugin."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from lwa_core.cli._options import block_option, example, print_json

if TYPE_CHECKING:
    from lwa_core.plugins import Registry

DIALECT = "https://json-schema.org/draft/2020-12/schema"


@click.command(
    epilog=example("  lwa schema > lwa.schema.json\n  # then, first in a recipe: #:schema ./lwa.schema.json")
)
@block_option
def command(block: tuple[str, ...]) -> None:
    """Print the JSON Schema of recipes, for editors that complete and check TOML.

    It knows the settings of every installed plugin. A component that cannot be loaded is left out, with a word on
    stderr.
    """
    from lwa_core.plugins import Registry

    print_json(recipe_schema(Registry.discover(block=block)))


def recipe_schema(registry: Registry) -> dict[str, Any]:
    """The JSON Schema of a recipe that may use every component of the registry."""
    from lwa_core.recipe import SECTIONS, SEVERAL, SINGLE, TABLES, Head
    from lwa_core.settings import json_schema

    schema = {"$schema": DIALECT, "title": "lwa recipe", **json_schema(Head)}
    tables = {name: json_schema(cls) for name, cls in SECTIONS.items()}
    tables |= {name: _one_of(registry, kind, named=False) for name, kind in SINGLE.items()}
    for name, kind in SEVERAL.items():
        tables[name] = {"type": "array", "minItems": 1, "items": _one_of(registry, kind, named=True)}
    schema["properties"] |= {name: tables[name] for name in TABLES}
    schema["required"] += [*SINGLE, *SEVERAL]
    return schema


def _one_of(registry: Registry, kind: str, named: bool) -> dict[str, Any]:
    """A table that uses one of the components of a kind: `use` says which settings it may have."""
    from lwa_core.errors import PluginError
    from lwa_core.settings import json_schema

    tables = []
    for offer in registry.components(kind):
        try:
            table = json_schema(offer.load())
        except PluginError as error:
            click.echo(f"warning: {error.message}", err=True)
            continue
        use = {"enum": [offer.name, f"{offer.provider.name}:{offer.name}"]}
        if offer.component.reference:
            use["description"] = offer.component.reference  # type: ignore[assignment]
        name = {"name": {"type": "string", "description": "what the recipe calls it; by default, what it uses"}}
        table["properties"] = {"use": use, **(name if named else {}), **table["properties"]}
        table["required"] = ["use", *table["required"]]
        tables.append(table)
    return {"anyOf": tables} if tables else {"type": "object"}
