"""A trained model together with what it takes to use it: its recommender and the catalogue it ranks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import torch

from lwa_core.data import Catalogue, TimedHistory
from lwa_core.data.timed import asks_for_times, milliseconds
from lwa_core.errors import LwaError, ModelError, PluginError, StoreError
from lwa_core.modeling.files.saving import save_config, save_model, without_weights
from lwa_core.plugins.protocols import Recommender, Restoring
from lwa_core.plugins.registry import Registry
from lwa_core.recommendation.fitting import score_histories
from lwa_core.recommendation.ranking import top_items
from lwa_core.settings import structure
from lwa_core.store.checksums import checksums, difference
from lwa_core.store.files import read_json, write_json
from lwa_core.store.results import MANIFEST
from lwa_core.types import History, Recommendations

DESCRIPTION = "ranker.json"
ITEMS = "items.json"
FORMAT = 2
"""Since 2 the description lists the other files."""


@attrs.frozen
class Restorer:
    """A compressor that gave a model other modules than it had before, and has them again from its files."""

    component: str
    settings: Mapping[str, Any]
    instance: Restoring


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
    """

    model: torch.nn.Module
    recommender: Recommender
    catalogue: Catalogue
    component: str
    settings: Mapping[str, Any]
    filter_seen: bool = True
    restorers: tuple[Restorer, ...] = ()
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
        """Write the model (safetensors), its catalogue and description (JSON); `lwa_core.load` reads them.

        The description holds the sha256 of every other file, and a folder that is not as it was saved is refused.
        """
        if self.restorers:
            save_config(self.model, folder)
            self.restorers[-1].instance.save(self.model, folder)
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
                "settings": _told(self.settings),
                "filter_seen": self.filter_seen,
                "restored_by": [
                    {"compressor": each.component, "settings": _told(each.settings)} for each in self.restorers
                ],
                "files": checksums(folder, but=DESCRIPTION),
            },
        )


def load_ranker(folder: Path, registry: Registry | None = None) -> Ranker:
    """Read what `Ranker.save` wrote.

    Raises:
        ModelError: The folder holds no model, or a damaged one.
        PluginError: No installed plugin offers its recommender.
    """
    try:
        said, items = read_json(folder / DESCRIPTION), read_json(folder / ITEMS)
    except StoreError as error:
        raise ModelError(f"{folder} holds no model that lwa saved: {error.message}") from error
    description = _description(said, folder)
    catalogue = _catalogue(items, folder / ITEMS)
    component, settings = description.recommender, description.settings
    registry = registry or Registry.discover()
    recommender = _made(registry, "recommender", component, settings, folder)
    restorers = tuple(_restorer(registry, each, folder) for each in description.restored_by)
    try:
        model = _restored(recommender, restorers, folder) if restorers else recommender.load(folder)
        ranked = score_histories(recommender, model, [_nothing(recommender)])  # what cannot be asked is no model
    except LwaError:
        raise
    except Exception as error:  # of a recommender's own code, or of a network that its configuration does not fit
        said = " ".join(str(error).split())
        raise ModelError(f"the model in {folder} cannot be loaded and asked: {type(error).__name__}: {said}") from error
    _assert_ranks(ranked, len(catalogue))
    return Ranker(model, recommender, catalogue, component, settings, description.filter_seen, restorers)


@attrs.frozen
class _Description:
    """What `DESCRIPTION` says."""

    recommender: str
    settings: dict[str, Any]
    filter_seen: bool
    restored_by: list[tuple[str, dict[str, Any]]]


def _description(said: Any, folder: Path) -> _Description:
    """What is said of a model, once its files were seen to be those that were saved. Raises ModelError otherwise."""
    file = folder / DESCRIPTION
    if not isinstance(said, dict) or said.get("format") not in (1, FORMAT):
        raise ModelError(f"{file} does not describe a model in a format that this version of lwa reads")
    if said["format"] == FORMAT:
        wrong = difference(folder, said.get("files"), holder=DESCRIPTION, others=(MANIFEST,))
        if wrong:
            raise ModelError(f"the model in {folder} is not as it was saved: {wrong}", "copy or make it again")
    by = said.get("restored_by", [])
    made = by if isinstance(by, list) and all(isinstance(each, dict) for each in by) else [{}]
    restored = [(each.get("compressor"), each.get("settings")) for each in made]
    parts = [(said.get("recommender"), said.get("settings")), *restored]
    if not isinstance(said.get("filter_seen"), bool) or not all(
        isinstance(name, str) and isinstance(settings, dict) for name, settings in parts
    ):
        raise ModelError(f"{file} does not describe a model: a part is missing, or of another type")
    return _Description(said["recommender"], said["settings"], said["filter_seen"], restored)


def _nothing(recommender: Recommender) -> History:
    """The history of a user who has none."""
    none: History = np.zeros(0, dtype=np.int32)
    return TimedHistory(none, np.zeros(0, dtype=np.int64)) if asks_for_times(recommender) else none


def _assert_ranks(scores: torch.Tensor, items: int) -> None:
    if scores.dim() != 2 or scores.shape[1] != items:
        raise ModelError(f"the model ranks {scores.shape[-1]} items, but its catalogue holds {items}")


def _restorer(registry: Registry, said: tuple[str, dict[str, Any]], folder: Path) -> Restorer:
    component, settings = said
    instance = _made(registry, "compressor", component, settings, folder)
    if not isinstance(instance, Restoring):
        raise ModelError(f"the model in {folder} needs compressor '{component}', which restores no model any more")
    return Restorer(component, settings, instance)


def _restored(recommender: Recommender, restorers: Sequence[Restorer], folder: Path) -> torch.nn.Module:
    """The modules that each compressor left, made one after the other; the weights are read by the last one."""
    with without_weights():
        model = recommender.load(folder)
        for restorer in restorers[:-1]:
            model = _by(restorer, model, folder)
    return _by(restorers[-1], model, folder).eval()


def _by(restorer: Restorer, model: torch.nn.Module, folder: Path) -> torch.nn.Module:
    try:
        made: Any = restorer.instance.restore(model, folder)
    except Exception as error:  # it is somebody else's code
        said = error.message if isinstance(error, LwaError) else f"{type(error).__name__}: {error}"
        raise ModelError(f"compressor '{restorer.component}' cannot restore the model in {folder}: {said}") from error
    if not isinstance(made, torch.nn.Module):
        gave = type(made).__name__
        raise PluginError(f"compressor '{restorer.component}' restored {gave} from {folder}, not a model")
    return made


def _made(registry: Registry, kind: str, component: str, settings: Any, folder: Path) -> Any:
    try:
        offer = registry.find(kind, component)
    except PluginError as error:
        hint = f"it has to be in an installed package; {error.hint}"
        raise type(error)(f"the model in {folder} cannot be loaded: {error.message}", hint) from error
    made, problems = structure(offer.load(), settings, (), None)
    if made is None:
        raise ModelError(f"{folder / DESCRIPTION} does not fit {offer.provider}: {problems[0].message}")
    return made


def _told(settings: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in settings.items() if value is not None}


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
