"""Read what `Ranker.save` wrote, once it is seen to be that."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import torch

from lwa_core.data import Catalogue, TimedHistory
from lwa_core.data.moments import AUTO, UNITS
from lwa_core.data.timed import asks_for_times
from lwa_core.errors import LwaError, ModelError, PluginError, StoreError
from lwa_core.modeling.probing.subject import named_blocks
from lwa_core.plugins.protocols import Recommender
from lwa_core.plugins.registry import Registry
from lwa_core.plugins.restoring import component_of, load_network, restorers_of
from lwa_core.recommendation.fitting import score_histories
from lwa_core.recommendation.ranker import DESCRIPTION, FORMAT, ITEMS, Ranker, assert_ranks
from lwa_core.store.checksums import difference, fingerprint
from lwa_core.store.files import read_json
from lwa_core.store.sealing import MANIFEST
from lwa_core.types import History


def load_ranker(folder: Path, registry: Registry | None = None) -> Ranker:
    """Read what `Ranker.save` wrote.

    Raises:
        ModelError: The folder holds no model, or a damaged one.
        PluginError: No plugin offers its recommender, or a compressor that it needs; the hint says who did.
    """
    try:
        said, items = read_json(folder / DESCRIPTION), read_json(folder / ITEMS)
    except StoreError as error:
        raise ModelError(f"{folder} holds no model that lwa saved: {error.message}") from error
    description = _description(said, folder)
    catalogue = _catalogue(items, folder / ITEMS)
    component, settings = description.recommender, description.settings
    registry = registry or Registry.discover()
    recommender = component_of(registry, "recommender", component, settings, folder, description.provider)
    restorers = restorers_of(description.restored_by, registry, folder)
    load = partial(_loaded, recommender, component, folder)
    model = load_network(load, restorers, folder, named_blocks(recommender))
    try:
        _check_loaded(model, f"recommender '{component}' of {registry.find('recommender', component).provider}")
        ranked = score_histories(recommender, model, [_nothing(recommender)])  # what cannot be asked is no model
    except LwaError:
        raise
    except Exception as error:  # of a recommender's own code, or of a network that its configuration does not fit
        said = " ".join(str(error).split())
        raise ModelError(f"the model in {folder} cannot be asked: {type(error).__name__}: {said}") from error
    assert_ranks(ranked, len(catalogue))
    seen, provider, unit = description.filter_seen, description.provider, description.time_unit
    known = fingerprint(folder / DESCRIPTION)
    return Ranker(
        model, recommender, catalogue, component, settings, seen, restorers, provider, unit, fingerprint=known
    )


def _check_loaded(model: Any, who: str) -> None:
    """Raise PluginError where a recommender's `load` gave no model in eval mode."""
    if not isinstance(model, torch.nn.Module):
        raise PluginError(f"{who}: `load` gave {type(model).__name__}, not a model (torch.nn.Module)")
    if model.training:
        raise PluginError(f"{who}: `load` gave a model in train mode", "call its `eval()` before it is returned")


@attrs.frozen
class _Description:
    """What `DESCRIPTION` says."""

    recommender: str
    settings: dict[str, Any]
    filter_seen: bool
    time_unit: str
    restored_by: list[dict[str, Any]]
    provider: dict[str, str]


def _description(said: Any, folder: Path) -> _Description:
    """What is said of a model, once its files were seen to be those that were saved. Raises ModelError otherwise."""
    file = folder / DESCRIPTION
    if not isinstance(said, dict) or said.get("format") not in (1, FORMAT):
        raise ModelError(f"{file} does not describe a model in a format that this version of lwa reads")
    if said["format"] == FORMAT:
        wrong = difference(folder, said.get("files"), holder=DESCRIPTION, others=(MANIFEST,))
        if wrong:
            raise ModelError(f"the model in {folder} is not as it was saved: {wrong}", "copy or make it again")
    by, provider = said.get("restored_by") or [], said.get("provider") or {}
    parts = [(said.get("recommender"), said.get("settings"), provider)]
    if isinstance(by, list) and all(isinstance(each, dict) for each in by):
        parts += [(each.get("compressor"), each.get("settings"), each.get("provider") or {}) for each in by]
    else:
        parts.append((None, None, {}))
    if not isinstance(said.get("filter_seen"), bool) or not all(map(_is_part, parts)):
        raise ModelError(f"{file} does not describe a model: a part is missing, or of another type")
    unit = said.get("time_unit", AUTO)
    if unit not in (AUTO, *UNITS):
        raise ModelError(f"{file} names no unit of time: {str(unit)[:40]!r}")
    return _Description(said["recommender"], said["settings"], said["filter_seen"], unit, by, provider)


def _is_part(part: tuple[Any, Any, Any]) -> bool:
    """Whether this is a component's name, its settings, and who offers it."""
    name, settings, provider = part
    texts = isinstance(provider, dict) and all(isinstance(value, str) for value in provider.values())
    return isinstance(name, str) and isinstance(settings, dict) and texts


def _nothing(recommender: Recommender) -> History:
    """The history of a user who has none."""
    none: History = np.zeros(0, dtype=np.int32)
    return TimedHistory(none, np.zeros(0, dtype=np.int64)) if asks_for_times(recommender) else none


def _loaded(recommender: Recommender, component: str, folder: Path) -> torch.nn.Module:
    """What the recommender's `load` gives. Raises ModelError where it cannot read the folder."""
    try:
        return recommender.load(folder)
    except LwaError:
        raise
    except Exception as error:  # it is somebody else's code
        said = f"recommender '{component}' cannot load the model in {folder}: {type(error).__name__}: {error}"
        hint = "its `load` has to read teachers and students alike; docs/plugins.md says how"
        raise ModelError(said, hint) from error


def _catalogue(items: Any, file: Path) -> Catalogue:
    if not isinstance(items, dict) or not _is_texts(items.get("ids")):
        raise ModelError(f"{file} holds no catalogue: `ids` is no list of texts")
    ids, titles, categories = items["ids"], items.get("titles"), items.get("categories")
    if len(set(ids)) < len(ids):
        raise ModelError(f"{file} holds no catalogue: two items have the same id")
    if titles is not None and not (_is_texts(titles) and len(titles) == len(ids)):
        raise ModelError(f"{file} holds no catalogue: `titles` is no list of {len(ids)} texts")
    if categories is not None and not (
        isinstance(categories, list) and len(categories) == len(ids) and all(map(_is_texts, categories))
    ):
        raise ModelError(f"{file} holds no catalogue: `categories` is no list of {len(ids)} lists of texts")
    return Catalogue(
        ids=tuple(ids),
        titles=None if titles is None else tuple(titles),
        categories=None if categories is None else tuple(map(tuple, categories)),
    )


def _is_texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(each, str) for each in value)
