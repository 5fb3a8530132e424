"""A setting of a type that no TOML value has."""

import attrs

from lwa_core import setting


@attrs.frozen
class Odd:
    """Wants a complex number."""

    z: complex = setting(1j, help="a complex number")
