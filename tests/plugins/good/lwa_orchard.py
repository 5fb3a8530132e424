"""A healthy third-party plugin: one component of each kind, with settings of every type."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import attrs

from lwa_core import Component, hookimpl, setting


@attrs.frozen
class Ledger:
    """Rows of a ledger."""

    path: Path = setting(help="the ledger", path=True)
    columns: dict[str, str] = setting(attrs.Factory(dict), help="columns of other names")
    since: int | None = setting(None, help="first year", unit="years", minimum=1900)


@attrs.frozen
class Tower:
    """A tower of layers."""

    layers: int = setting(2, help="how many layers", minimum=1, maximum=64)
    rates: tuple[float, ...] = setting((0.1, 0.2), help="dropout of each layer", minimum=0.0, maximum=0.9)
    form: Literal["wide", "narrow"] = setting("wide", help="how it looks")

    def __attrs_post_init__(self) -> None:
        if self.layers < len(self.rates):
            raise ValueError(f"{len(self.rates)} rates are too many for {self.layers} layers")


@attrs.frozen
class Pick:
    """Picks by taste."""

    taste: str = setting("sweet", help="what is liked", choices=("sweet", "sour"))
    power: float = setting(1.0, help="exponent", above=0.0)
    exact: bool = setting(False, help="no approximation")


@attrs.frozen
class Prune:
    """Cuts the rest."""

    keep: int | tuple[int, ...] = setting(help="how many layers stay", minimum=1)
    by: str = setting("", help="the scorer to follow", names="score")
    against: tuple[str, ...] = setting((), help="scorers to compare with", names="score")


@attrs.frozen
class Press:
    """Presses the rest."""

    bits: int = setting(4, help="bits of a weight", choices=(4, 8))


@hookimpl
def lwa_datasets():
    return [Component("ledger", Ledger)]


@hookimpl
def lwa_recommenders():
    return [Component("tower", Tower, version=3, reference="Babel 600 BC")]


@hookimpl
def lwa_scorers():
    return [Component("pick", Pick), Component("taste", "lwa_orchard:Pick")]


@hookimpl
def lwa_selectors():
    return [Component("prune", Prune)]


@hookimpl
def lwa_compressors():
    return [
        Component("press", Press, needs={"extra:table"}),
        Component("press-onnx", Press, needs={"extra:onnx", "extra:unheard", "abacus"}),
    ]
