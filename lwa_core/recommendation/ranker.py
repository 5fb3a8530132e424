"""A trained model together with what it takes to use it: its recommender and the catalogue it ranks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import torch

from lwa_core.data import Catalogue, TimedHistory
from lwa_core.data.timed import asks_for_times, milliseconds
from lwa_core.errors import LwaError, ModelError, PluginError, StoreError
from lwa_core.modeling.files.saving import save_model
from lwa_core.plugins.protocols import Recommender
from lwa_core.plugins.registry import Registry
from lwa_core.plugins.restoring import (
    Restorer,
    component_of,
    described,
    restored,
    restorers_of,
    save_restorable,
    told_settings,
)
from lwa_core.recommendation.fitting import score_histories, scoring
from lwa_core.recommendation.ranking import top_items
from lwa_core.store.checksums import checksums, difference
from lwa_core.store.files import read_json, write_json
from lwa_core.store.sealing import MANIFEST
from lwa_core.types import History, Recommendations

DESCRIPTION = "ranker.json"
ITEMS = "items.json"
FORMAT = 2
"""Since 2 the description lists the other files."""


@attrs.frozen(eq=False)
class Ranker:
    """Ranks the items of a catalogue for a history of item ids.

    Args:
        model: The network, in eval mode.
        recommender: Turns histories into batches and scores.
        catalogue: The items.
        component: Name of the recommender's component, and its settings; saved with the model.
        settings: See `component`.
        filter_seen: Whether items of the history are left out of the recommendations.
        restorers: The compressors that gave the network other modules than its recommender builds, in their order. The
            last one saves and restores it.
        provider: Who offers the recommender, as `lwa_core.plugins.restoring.facts_of` says it.
    """

    model: torch.nn.Module
    recommender: Recommender
    catalogue: Catalogue
    component: str
    settings: Mapping[str, Any]
    filter_seen: bool = True
    restorers: tuple[Restorer, ...] = ()
    provider: Mapping[str, str] = attrs.field(factory=dict)
    _index: dict[str, int] = attrs.field(init=False)

    @_index.default
    def _make_index(self) -> dict[str, int]:
        return self.catalogue.index()

    def scores(self, histories: Sequence[History]) -> torch.Tensor:
        """Score of every item after each history of item indices (histories, items); higher is better.

        Raises:
            ModelError: The model ranks more or fewer items than the catalogue holds.
        """
        scores = score_histories(self.recommender, self.model, histories)
        _assert_ranks(scores, len(self.catalogue))
        return scores

    @property
    def uses_times(self) -> bool:
        """Whether the model looks at the times of events."""
        return asks_for_times(self.recommender)

    def recommend(self, history: Sequence[str], k: int = 10, times: Sequence[float] | None = None) -> Recommendations:
        """The k best items for one history of item ids, oldest first.

        Ids that the model never saw are left out and reported as `unknown`. A history without any known id gets what
        the model ranks highest after nothing.

        Args:
            history: Item ids.
            k: How many.
            times: When each event was, in seconds or milliseconds since 1970 UTC. A model that does not look at times
                makes no use of them.

        Raises:
            LwaError: `history` is no list of ids, `k` no whole number of at least 1, or the model looks at times, and
                there are none, or other than one for each id, or they fall.
        """
        return self.recommend_many([history], k, None if times is None else [times])[0]

    def recommend_many(
        self, histories: Sequence[Sequence[str]], k: int = 10, times: Sequence[Sequence[float]] | None = None
    ) -> list[Recommendations]:
        """`recommend` for several histories in one batch."""
        if isinstance(k, bool) or not isinstance(k, (int, np.integer)) or k < 1:
            raise LwaError(f"k must be a whole number of at least 1, not {k!r:.40}")
        histories = [_item_ids(history) for history in histories]
        if not histories:
            return []
        if self.uses_times and times is None:
            raise LwaError("this model looks at the times of events", "give `times`, one for each item of a history")
        if times is not None and not isinstance(times, Sequence):
            raise LwaError(f"times are a list for each history, not a {type(times).__name__}")
        if times is not None and len(times) != len(histories):
            raise LwaError(f"times of {len(times)} histories for {len(histories)} histories")
        given: Sequence[Sequence[float] | None] = (times if self.uses_times else None) or [None] * len(histories)
        split = [self._known(history, own) for history, own in zip(histories, given, strict=True)]
        seen = [known if self.filter_seen else known[:0] for known, _ in split]
        items, scores = top_items(self.scores([known for known, _ in split]), seen, min(int(k), len(self.catalogue)))
        answers = []
        for row, (_, unknown) in enumerate(split):
            there = items[row] >= 0
            answers.append(
                Recommendations(
                    items=tuple(self.catalogue.ids[i] for i in items[row][there]),
                    scores=tuple(float(score) for score in scores[row][there]),
                    unknown=unknown,
                )
            )
        return answers

    def network(self, sent: Sequence[Mapping[str, Any]]) -> Callable[[], torch.Tensor]:
        """What the network alone does for requests, arguments of `recommend`: from a batch to scores of all items."""
        histories = [
            self._known(_item_ids(each["history"]), each.get("times") if self.uses_times else None)[0] for each in sent
        ]
        return scoring(self.recommender, self.model, histories)

    def _known(self, history: Sequence[str], times: Sequence[float] | None) -> tuple[History, tuple[str, ...]]:
        places = [place for place, item in enumerate(history) if item in self._index]
        known: History = np.array([self._index[history[place]] for place in places], dtype=np.int32)
        if times is not None:
            told = milliseconds(times)
            if len(told) != len(history):
                raise LwaError(f"{len(told)} times for a history of {len(history)} items")
            known = TimedHistory(known, told[places])
        return known, tuple(item for item in history if item not in self._index)

    def save(self, folder: Path) -> None:
        """Write the model (safetensors), its catalogue and description (JSON); `lwa_core.load` reads them.

        The description holds the sha256 of every other file, and a folder that is not as it was saved is refused.
        """
        folder = Path(folder)
        if self.restorers:
            save_restorable(self.model, self.restorers, folder)
        else:
            save_model(self.model, folder)
        self.describe(folder)

    def describe(self, folder: Path) -> None:
        """Write what is to stand beside a saved model for `load` to read it."""
        write_json(folder / ITEMS, attrs.asdict(self.catalogue))
        write_json(
            folder / DESCRIPTION,
            {
                "format": FORMAT,
                "recommender": self.component,
                "settings": told_settings(self.settings),
                **({"provider": dict(self.provider)} if self.provider else {}),
                "filter_seen": self.filter_seen,
                "restored_by": described(self.restorers),
                "files": checksums(folder, but=DESCRIPTION),
            },
        )


def _item_ids(history: object) -> list[str]:
    """A history as texts, oldest first. Raises LwaError for what has no order, or holds what is no id."""
    if isinstance(history, (str, bytes)):
        raise LwaError(f"a history is a list of item ids, not one string: {history[:40]!r}")
    if isinstance(history, (set, frozenset, Mapping)) or not isinstance(history, Iterable):
        raise LwaError(f"a history is a list of item ids, oldest first, not a {type(history).__name__}")
    items = list(history)
    for item in items:
        if isinstance(item, bool) or not isinstance(item, (str, int, np.integer)):
            raise LwaError(f"an item id is text or a whole number, not {item!r:.40}")
    return [str(item) for item in items]


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
    model = restored(load, restorers, folder) if restorers else load()
    try:
        _check_loaded(model, f"recommender '{component}' of {registry.find('recommender', component).provider}")
        ranked = score_histories(recommender, model, [_nothing(recommender)])  # what cannot be asked is no model
    except LwaError:
        raise
    except Exception as error:  # of a recommender's own code, or of a network that its configuration does not fit
        said = " ".join(str(error).split())
        raise ModelError(f"the model in {folder} cannot be asked: {type(error).__name__}: {said}") from error
    _assert_ranks(ranked, len(catalogue))
    seen, provider = description.filter_seen, description.provider
    return Ranker(model, recommender, catalogue, component, settings, seen, restorers, provider)


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
    return _Description(said["recommender"], said["settings"], said["filter_seen"], by, provider)


def _is_part(part: tuple[Any, Any, Any]) -> bool:
    """Whether this is a component's name, its settings, and who offers it."""
    name, settings, provider = part
    texts = isinstance(provider, dict) and all(isinstance(value, str) for value in provider.values())
    return isinstance(name, str) and isinstance(settings, dict) and texts


def _nothing(recommender: Recommender) -> History:
    """The history of a user who has none."""
    none: History = np.zeros(0, dtype=np.int32)
    return TimedHistory(none, np.zeros(0, dtype=np.int64)) if asks_for_times(recommender) else none


def _assert_ranks(scores: torch.Tensor, items: int) -> None:
    if scores.dim() != 2 or scores.shape[1] != items:
        raise ModelError(f"the model ranks {scores.shape[-1]} items, but its catalogue holds {items}")


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
