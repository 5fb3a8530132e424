"""Offers what is no component."""

from lwa_core import hookimpl


@hookimpl
def lwa_scorers():
    return ["pick"]
