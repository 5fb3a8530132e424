"""The methods that a component of each kind has to have, and what they are called with."""

from __future__ import annotations

import inspect
from collections.abc import Mapping

REQUIRED: Mapping[str, Mapping[str, int]] = {
    "dataset": {"files": 0, "read": 0},
    "recommender": {
        "training": 0,
        "training_windows": 1,
        "training_batch": 1,
        "loss": 2,
        "build": 2,
        "load": 1,
        "scores": 2,
        "example_batch": 2,
        "encode": 2,
        "head": 2,
    },
    "selector": {"select": 1},
    "compressor": {"compress": 1},
    "exporter": {"export": 3},
}
"""Kind -> method -> how many arguments it is called with."""

SCORING = {"observe": 1, "score": 1, "combine": 1}
"""A scorer has one of these."""


def check_methods(kind: str, target: type) -> None:
    """Raise TypeError where a class lacks a method of its kind, or one takes other arguments."""
    wanted = dict(REQUIRED.get(kind, {}))
    if kind == "scorer":
        found = [name for name in SCORING if callable(getattr(target, name, None))]
        if len(found) != 1:
            has = f"both `{found[0]}` and `{found[1]}`" if found else "none"
            raise TypeError(f"a scorer has one of `observe`, `score` and `combine`, and this has {has}")
        if found == ["observe"] and not hasattr(target, "observes"):
            raise TypeError("a scorer that has `observe` says by `observes` what it needs")
        wanted = {found[0]: SCORING[found[0]]}
    for name, count in wanted.items():
        method = inspect.getattr_static(target, name, None)
        if not callable(getattr(target, name, None)):
            raise TypeError(f"a {kind} has a method `{name}`, and this has none")
        if inspect.isfunction(method):
            _check_arguments(name, method, count + 1)


def _check_arguments(name: str, method: object, count: int) -> None:
    signature = inspect.signature(method)  # type: ignore[arg-type]
    try:
        signature.bind(*[None] * count)
    except TypeError as error:
        raise TypeError(f"`{name}{signature}` does not take the {count - 1} arguments it is called with") from error
