"""A trained model together with what it takes to use it: its recommender and the catalogue it ranks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import torch

from lwa_core.data import Catalogue, TimedHistory
from lwa_core.data.timed import asks_for_times, milliseconds
from lwa_core.errors import LwaError, ModelError, StoreError
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
from lwa_core.recommendation.fitting import score_histories
from lwa_core.recommendation.ranking import top_items
from lwa_core.store.files import read_json, write_json
from lwa_core.types import History, Recommendations

DESCRIPTION = "ranker.json"
ITEMS = "items.json"


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
        if scores.shape[1] != len(self.catalogue):
            raise ModelError(f"the model ranks {scores.shape[1]} items, but its catalogue holds {len(self.catalogue)}")
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
            LwaError: The model looks at times, and there are none, or other than one for each id, or they fall.
        """
        return self.recommend_many([history], k, None if times is None else [times])[0]

    def recommend_many(
        self, histories: Sequence[Sequence[str]], k: int = 10, times: Sequence[Sequence[float]] | None = None
    ) -> list[Recommendations]:
        """`recommend` for several histories in one batch."""
        if k < 1:
            raise LwaError(f"k must be at least 1, not {k}")
        if not len(histories):
            return []
        if self.uses_times and times is None:
            raise LwaError("this model looks at the times of events", "give `times`, one for each item of a history")
        if times is not None and len(times) != len(histories):
            raise LwaError(f"times of {len(times)} histories for {len(histories)} histories")
        given: Sequence[Sequence[float] | None] = (times if self.uses_times else None) or [None] * len(histories)
        split = [self._known(history, own) for history, own in zip(histories, given, strict=True)]
        seen = [known if self.filter_seen else known[:0] for known, _ in split]
        items, scores = top_items(self.scores([known for known, _ in split]), seen, k)
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

    def _known(self, history: Sequence[str], times: Sequence[float] | None) -> tuple[History, tuple[str, ...]]:
        if isinstance(history, str):
            raise LwaError(f"a history is a list of item ids, not one string: {history[:40]!r}")
        ids = [str(item) for item in history]
        places = [place for place, item in enumerate(ids) if item in self._index]
        known: History = np.array([self._index[ids[place]] for place in places], dtype=np.int32)
        if times is not None:
            if len(times) != len(ids):
                raise LwaError(f"{len(times)} times for a history of {len(ids)} items")
            known = TimedHistory(known, milliseconds(times)[places])
        return known, tuple(item for item in ids if item not in self._index)

    def save(self, folder: Path) -> None:
        """Write the model (safetensors), its catalogue and description (JSON); `lwa_core.load` reads them."""
        if self.restorers:
            save_restorable(self.model, self.restorers, folder)
        else:
            save_model(self.model, folder)
        self.describe(folder)

    def describe(self, folder: Path) -> None:
        """Write what is to stand beside a saved model for `load` to read it."""
        write_json(
            folder / DESCRIPTION,
            {
                "format": 1,
                "recommender": self.component,
                "settings": told_settings(self.settings),
                **({"provider": dict(self.provider)} if self.provider else {}),
                "filter_seen": self.filter_seen,
                "restored_by": described(self.restorers),
            },
        )
        write_json(folder / ITEMS, attrs.asdict(self.catalogue))


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
    catalogue = _catalogue(items, folder / ITEMS)
    try:
        component, settings, filter_seen = said["recommender"], said["settings"], said["filter_seen"]
    except (KeyError, TypeError) as error:
        raise ModelError(f"{folder / DESCRIPTION} does not describe a model: {error!r}") from error
    registry = registry or Registry.discover()
    provider = said.get("provider") or {}
    recommender = component_of(registry, "recommender", component, settings, folder, provider)
    restorers = restorers_of(said.get("restored_by"), registry, folder)
    load = partial(_loaded, recommender, component, folder)
    model = restored(load, restorers, folder) if restorers else load()
    return Ranker(model, recommender, catalogue, component, settings, filter_seen, restorers, provider)


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
    try:
        return Catalogue(
            ids=tuple(items["ids"]),
            titles=None if items["titles"] is None else tuple(items["titles"]),
            categories=None if items["categories"] is None else tuple(map(tuple, items["categories"])),
        )
    except (KeyError, TypeError) as error:
        raise ModelError(f"{file} holds no catalogue: {error!r}") from error
