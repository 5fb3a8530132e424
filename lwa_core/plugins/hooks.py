"""The hooks that a plugin can implement. Each is called once, when the plugin is registered."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import attrs
import pluggy

if TYPE_CHECKING:
    from lwa_core.plugins.protocols import Compressor, Dataset, Exporter, Recommender, Scorer, Selector
    from lwa_core.types import Event, RunContext

PROJECT = "lwa"
ENTRY_POINT_GROUP = "lwa.v1"

hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)

T = TypeVar("T")


def _frozen(names: Iterable[str]) -> frozenset[str]:
    return frozenset(names)


@attrs.frozen
class Component(Generic[T]):
    """One thing that a plugin offers: a name for recipes (`use = "name"`) and the class behind it.

    Args:
        name: What recipes call it: lower-case words joined by `-`.
        target: An attrs class whose fields are the settings, or `"package.module:Class"`, so that nothing heavy is
            imported until the component is used.
        version: Goes up whenever the same settings give another result. It is part of every cache key.
        needs: What the machine must have: `"cuda"`, or `"extra:NAME"` for an optional dependency.
        reference: The paper or text that defines the method; shown by `lwa plugins show` and in reports.
    """

    name: str
    target: type[T] | str
    version: int = 1
    needs: frozenset[str] = attrs.field(default=frozenset(), converter=_frozen)
    reference: str | None = None


@hookspec
def lwa_datasets() -> Iterable[Component[Dataset]]:
    """Offer ways to read interactions.

    Called once, when the plugin is registered, and never during a run: keep it cheap and do not import torch here.

    Example:
        @hookimpl
        def lwa_datasets():
            return [Component("playlists", "my_package.playlists:Playlists")]
    """
    raise AssertionError("a specification is never called")


@hookspec
def lwa_recommenders() -> Iterable[Component[Recommender]]:
    """Offer models that rank a catalogue of items for a user's history.

    Called once, when the plugin is registered, and never during a run: keep it cheap and do not import torch here.

    Example:
        @hookimpl
        def lwa_recommenders():
            return [Component("gru", "my_package.gru:Gru", reference="Hidasi et al. 2016")]
    """
    raise AssertionError("a specification is never called")


@hookspec
def lwa_scorers() -> Iterable[Component[Scorer]]:
    """Offer ways to measure how much each layer matters.

    Called once, when the plugin is registered, and never during a run: keep it cheap and do not import torch here.

    Example:
        @hookimpl
        def lwa_scorers():
            return [Component("gini", Gini)]
    """
    raise AssertionError("a specification is never called")


@hookspec
def lwa_selectors() -> Iterable[Component[Selector]]:
    """Offer ways to choose the layers that stay.

    Called once, when the plugin is registered, and never during a run: keep it cheap and do not import torch here.

    Example:
        @hookimpl
        def lwa_selectors():
            return [Component("first", KeepFirst)]
    """
    raise AssertionError("a specification is never called")


@hookspec
def lwa_compressors() -> Iterable[Component[Compressor]]:
    """Offer ways to make the smaller model.

    Called once, when the plugin is registered, and never during a run: keep it cheap and do not import torch here.

    Example:
        @hookimpl
        def lwa_compressors():
            return [Component("half", "my_package.half:Half")]
    """
    raise AssertionError("a specification is never called")


@hookspec
def lwa_exporters() -> Iterable[Component[Exporter]]:
    """Offer forms in which a model runs without torch.

    Called once, when the plugin is registered, and never during a run: keep it cheap and do not import torch here.

    Example:
        @hookimpl
        def lwa_exporters():
            return [Component("graph", "my_package.graph:Graph")]
    """
    raise AssertionError("a specification is never called")


@hookspec
def lwa_event(event: Event, run: RunContext) -> None:
    """Hear what happens in a run: stages that start and finish, progress, warnings.

    Called many times during a run, in the run's own process and thread: return quickly. An exception raised here is
    reported once as a warning and never stops the run.

    Example:
        @hookimpl
        def lwa_event(event, run):
            if event.kind == "stage-finished":
                print(run.name, event.stage, event.data["seconds"])
    """


KINDS: dict[str, str] = {
    "dataset": "lwa_datasets",
    "recommender": "lwa_recommenders",
    "scorer": "lwa_scorers",
    "selector": "lwa_selectors",
    "compressor": "lwa_compressors",
    "exporter": "lwa_exporters",
}
"""Kind of component -> the hook that offers it."""


def specifications() -> Any:
    """The module object that pluggy reads the hook specs from."""
    import sys

    return sys.modules[__name__]
