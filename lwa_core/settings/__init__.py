"""Settings: attrs fields that are declared, read strictly, and described."""

from lwa_core.settings.declare import (
    Field,
    default_of,
    describe,
    did_you_mean,
    fields,
    json_schema,
    setting,
    structure,
    unstructure,
)

__all__ = [
    "Field",
    "default_of",
    "describe",
    "did_you_mean",
    "fields",
    "json_schema",
    "setting",
    "structure",
    "unstructure",
]
