from .declare import (
    Field as Field,
    default_of as default_of,
    describe as describe,
    did_you_mean as did_you_mean,
    fields as fields,
    json_schema as json_schema,
    redefined as redefined,
    setting as setting,
    structure as structure,
    unstructure as unstructure,
)
