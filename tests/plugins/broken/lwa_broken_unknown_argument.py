"""Asks a hook for an argument that it does not have."""

from lwa_core import hookimpl


@hookimpl
def lwa_scorers(model):
    return []
