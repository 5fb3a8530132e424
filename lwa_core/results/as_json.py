"""The values of `schema` as JSON, from JSON, and the JSON Schema of them."""

from __future__ import annotations

import inspect
import re
from typing import Any, TypeVar

from attr import asdict  # tuples become lists, as in JSON; in `attrs.asdict` they stay tuples

from lwa_core.results import schema

T = TypeVar("T")

DIALECT = "https://json-schema.org/draft/2020-12/schema"
ARGUMENT = re.compile(r"^    (\w+): (.*(?:\n {8,}.*)*)", re.MULTILINE)


def to_json(value: Any) -> dict[str, Any]:
    """A value of `schema` ready for JSON: keys in the order of the fields, None as null."""
    told: dict[str, Any] = asdict(value)
    return told


def from_json(told: Any, cls: type[T]) -> T:
    """A value of `schema` from what JSON holds. Keys that it does not know are passed over.

    Raises:
        ValueError: Something is missing or of another type; the message says where.
    """
    import msgspec

    return msgspec.convert(told, cls, strict=True)


def metrics_schema() -> dict[str, Any]:
    """The JSON Schema of `metrics.json`."""
    import msgspec

    made = msgspec.json.schema(schema.Metrics)
    definitions: dict[str, dict[str, Any]] = made["$defs"]
    for name, definition in definitions.items():
        _describe(definition, inspect.cleandoc(getattr(schema, name).__doc__ or ""))
    definitions["Metrics"]["properties"]["format"] = {
        "const": schema.FORMAT,
        "description": definitions["Metrics"]["properties"]["format"]["description"],
    }
    return {"$schema": DIALECT, "title": "lwa metrics.json", **made}


def _describe(definition: dict[str, Any], documented: str) -> None:
    """Put what a class says of itself and of its fields where JSON Schema has it."""
    about, _, arguments = documented.partition("\n\nArgs:\n")
    definition["description"] = " ".join(about.split())
    for name, said in ARGUMENT.findall(arguments):
        definition["properties"][name] |= {"description": " ".join(said.split())}
