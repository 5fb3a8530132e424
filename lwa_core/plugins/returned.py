"""What plugins return, looked at where it comes back: an error names plugin, distribution and version."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from lwa_core.data.source import Source
from lwa_core.errors import PluginError
from lwa_core.types import DepthPlan

if TYPE_CHECKING:
    import torch

ORDERS = ("timestamp", "file")


def checked_table(who: str, table: Any, depth: int, broken: Sequence[Sequence[int]] = ()) -> torch.Tensor:
    """A scorer's table, if it is one: two axes, a column a layer, real, finite. Raises PluginError otherwise.

    Args:
        who: The scorer and its provider.
        table: What it gave.
        depth: How many layers there are.
        broken: Sets of kept layers whose answers were not finite themselves; the error names one.
    """
    import torch

    if not isinstance(table, torch.Tensor):
        raise PluginError(f"{who} gave {type(table).__name__} instead of a tensor (samples, layers)")
    if table.dim() != 2 or table.shape[1] != depth or not len(table):
        raise PluginError(f"{who} gave a table of shape {tuple(table.shape)} instead of (samples, {depth})")
    if table.is_complex() or table.dtype == torch.bool:
        raise PluginError(f"{who} gave a table of {table.dtype}, not of real numbers")
    if not bool(torch.isfinite(table.double()).all()):
        kept = f"just layers {', '.join(map(str, broken[0]))}" if broken and broken[0] else "no layers"
        named = f": nor are answers of the model with {kept}" if broken else ""
        raise PluginError(f"{who} gave scores that are not finite{named}")
    return table.detach()


def checked_facts(who: str, facts: Mapping[str, Any]) -> dict[str, Any]:
    """What a scorer told besides, or how a selector chose, if JSON can hold it. Raises PluginError otherwise."""
    try:
        json.dumps(facts, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise PluginError(
            f"{who} told what JSON cannot hold: {error}", "numbers, texts, lists and dicts of them"
        ) from error
    return dict(facts)


def checked_plan(who: str, plan: Any, depth: int, keep: int | Sequence[int] | None = None) -> DepthPlan:
    """A selector's plan, if it is one of this model and keeps what was asked for.

    Args:
        who: The selector and its provider.
        plan: What it gave.
        depth: Layers of the model.
        keep: The selector's setting of that name, if it has one: how many layers each tier keeps.

    Raises:
        PluginError: It is no plan, of another depth, has an empty tier, or keeps another number of layers.
    """
    if not isinstance(plan, DepthPlan):
        raise PluginError(f"{who} gave {type(plan).__name__}, not a DepthPlan")
    if plan.depth != depth:
        raise PluginError(f"{who} gave a plan for {plan.depth} layers of a model with {depth}")
    if not all(plan.tiers):
        raise PluginError(f"{who} gave a plan that keeps no layer", "every tier keeps at least one")
    if keep is not None:
        asked = [keep] if isinstance(keep, int) else list(keep)
        kept = [len(tier) for tier in plan.tiers]
        if kept != asked:
            raise PluginError(f"{who} was asked to keep {_listed(asked)} layers and keeps {_listed(kept)}")
    checked_facts(who, plan.trace)
    return plan


def keep_of(selector: object) -> int | tuple[int, ...] | None:
    """The setting `keep` of a selector, where it has one that says how many layers stay."""
    keep = getattr(selector, "keep", None)
    if isinstance(keep, (list, tuple)) and keep and all(type(count) is int for count in keep):
        return tuple(keep)
    return keep if type(keep) is int else None


def checked_source(who: str, source: Any) -> Source:
    """What a dataset read, if it is a Source whose parts are of the types that it names. Raises PluginError otherwise.

    What stands in the columns is looked at where they are read.
    """
    import polars as pl

    if not isinstance(source, Source):
        raise PluginError(f"{who} gave {type(source).__name__} from `read`, not a Source")
    if not isinstance(source.events, pl.LazyFrame):
        hint = "a data frame of polars becomes one by `.lazy()`"
        raise PluginError(f"{who} gave events as {type(source.events).__name__}, not a polars LazyFrame", hint)
    if source.items is not None and not isinstance(source.items, pl.DataFrame):
        raise PluginError(f"{who} gave items as {type(source.items).__name__}, not a polars DataFrame")
    if source.order not in ORDERS:
        raise PluginError(f"{who} gave the order {source.order!r}", f"there are: {', '.join(ORDERS)}")
    if not isinstance(source.dropped, Mapping) or not all(_is_count(*entry) for entry in source.dropped.items()):
        raise PluginError(f"{who} gave `dropped` that is not a count for each rule: {source.dropped!r:.80}")
    if isinstance(source.notes, str) or not all(isinstance(note, str) for note in source.notes):
        raise PluginError(f"{who} gave notes that are not a tuple of texts: {source.notes!r:.80}")
    return source if source.items is None else _with_checked_items(who, source, source.items)


def _with_checked_items(who: str, source: Source, items: Any) -> Source:
    import polars as pl

    wanted = {"item": pl.String, "title": pl.String, "categories": pl.List(pl.String)}
    if "item" not in items.columns:
        raise PluginError(f"{who} gave items without a column `item`: {', '.join(items.columns) or 'no columns'}")
    for name, kind in wanted.items():
        if name in items.columns and items[name].dtype not in (kind, pl.Null):
            raise PluginError(f"{who} gave items whose column `{name}` is {items[name].dtype}, not {kind}")
    return source


def _is_count(rule: Any, count: Any) -> bool:
    return isinstance(rule, str) and type(count) is int and count >= 0


def _listed(counts: Sequence[int]) -> str:
    return ", ".join(map(str, counts))
