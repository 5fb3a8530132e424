"""Implements a hook that does not exist."""

from lwa_core import hookimpl


@hookimpl
def lwa_scores():
    return []
