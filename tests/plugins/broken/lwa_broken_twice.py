"""Offers two components of one name."""

from lwa_core import Component, hookimpl


@hookimpl
def lwa_scorers():
    return [Component("pick", object), Component("pick", object)]
