"""Registers well, but none of its classes can be used."""

from lwa_core import Component, hookimpl


class Plain:
    """No attrs class."""


def function():
    """No class."""


@hookimpl
def lwa_scorers():
    return [
        Component("no-module", "no_such_module_anywhere:Thing"),
        Component("no-class", "lwa_unusable:Missing"),
        Component("no-attrs", Plain),
        Component("a-function", "lwa_unusable:function"),
        Component("bad-type", "lwa_unusable_type:Odd"),
    ]
