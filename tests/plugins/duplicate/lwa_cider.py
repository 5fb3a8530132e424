"""Offers a scorer of the same name as lwa-orchard does."""

import attrs

from lwa_core import Component, hookimpl


@attrs.frozen
class Pick:
    """Picks by colour."""


@hookimpl
def lwa_scorers():
    return [Component("pick", Pick)]
