"""Offers a component whose name no recipe can write plainly."""

from lwa_core import Component, hookimpl


@hookimpl
def lwa_scorers():
    return [Component("Pick:Me", object)]
