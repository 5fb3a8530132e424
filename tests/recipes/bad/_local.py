"""A scorer for one recipe."""

import attrs

from lwa_core import Component, hookimpl, setting


@attrs.frozen
class Local:
    """Weighs by hand."""

    weight: float = setting(1.0, help="weight")


@hookimpl
def lwa_scorers():
    return [Component("local", Local)]
