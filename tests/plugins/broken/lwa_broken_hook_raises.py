"""Fails when asked what it offers."""

from lwa_core import hookimpl


@hookimpl
def lwa_scorers():
    raise RuntimeError("no\nidea")
