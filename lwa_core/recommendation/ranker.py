"""A trained model together with what it takes to use it: its recommender and the catalogue it ranks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import torch

from lwa_core.data import Catalogue
from lwa_core.data.moments import AUTO
from lwa_core.data.timed import asks_for_times
from lwa_core.errors import LwaError, ModelError
from lwa_core.modeling.files.saving import save_model
from lwa_core.plugins.protocols import Recommender
from lwa_core.plugins.restoring import (
    Restorer,
    described,
    save_restorable,
    told_settings,
)
from lwa_core.recommendation.fitting import score_histories, scoring
from lwa_core.recommendation.ranking import top_items
from lwa_core.recommendation.requests import listed, read_count, read_history, read_items, read_many
from lwa_core.recommendation.users import KnownUsers
from lwa_core.store.checksums import checksums
from lwa_core.store.files import write_json
from lwa_core.types import History, Recommendations

DESCRIPTION = "ranker.json"
ITEMS = "items.json"
FORMAT = 2
"""Since 2 the description lists the other files."""

BATCH = 256
"""Histories that are answered at once, at most."""
SCORES_AT_ONCE = 2**24
"""Scores that are held at once, at most, unless one history has more: 64 MiB."""


@attrs.frozen(eq=False, repr=False)
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
        time_unit: What numbers that are times counted in the data; `"auto"` where it had none.
        facts: What `lwa_core.fit` was given and left out, as `PreparedData.facts`; empty where it was loaded.
        users: Those of the data; None where the model was loaded without its run.
    """

    model: torch.nn.Module
    recommender: Recommender
    catalogue: Catalogue
    component: str
    settings: Mapping[str, Any]
    filter_seen: bool = True
    restorers: tuple[Restorer, ...] = ()
    provider: Mapping[str, str] = attrs.field(factory=dict)
    time_unit: str = AUTO
    facts: Mapping[str, Any] = attrs.field(factory=dict)
    users: KnownUsers | None = None
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
        assert_ranks(scores, len(self.catalogue))
        return scores

    @property
    def uses_times(self) -> bool:
        """Whether the model looks at the times of events."""
        return asks_for_times(self.recommender)

    def recommend(
        self,
        history: Sequence[Any] | None = None,
        k: int = 10,
        times: Sequence[Any] | None = None,
        *,
        user: Any = None,
        filter_seen: bool | None = None,
        exclude: Sequence[Any] = (),
        allow: Sequence[Any] | None = None,
        time_unit: str | None = None,
    ) -> Recommendations:
        """The k best items for one history of item ids, oldest first, or for a user of the data.

        Ids that the model never saw are left out and reported as `unknown`. A history without any known id gets what
        the model ranks highest after nothing; its answer says so by `known`, which is 0.

        Args:
            history: Item ids, by the rule of `lwa_core.data.spell_id`: text or whole numbers.
            k: How many; of a larger number than there are items, all.
            times: When each event was: numbers since 1970 (UTC), or dates and times. A model that does not look at
                times makes no use of them.
            user: In place of `history` and `times`: the id of a user of the data, whose history is all that they did.
            filter_seen: Whether items of the history are left out; as the model was made where None.
            exclude: Items that must not be recommended; unknown ones are never recommended anyway.
            allow: The only items that may be recommended; all where None.
            time_unit: Of times that are numbers, `"s"`, `"ms"`, `"us"`, `"ns"` or `"auto"` (by the largest of the
                history); the unit of the data that the model was fitted on where None.

        Raises:
            LwaError: The model looks at times, and there are none, or other than one for each id, or they fall; what is
                given as an id is none; `k` is no whole number above 0; `allow` names no item that the model knows;
                there is no such user, or neither a user nor a history, or both.
        """
        histories, users = None if history is None else [history], None if user is None else [user]
        given = None if times is None else [times]
        return self.recommend_many(
            histories,
            k,
            given,
            users=users,
            filter_seen=filter_seen,
            exclude=exclude,
            allow=allow,
            time_unit=time_unit,
        )[0]

    def recommend_many(
        self,
        histories: Sequence[Sequence[Any]] | None = None,
        k: int = 10,
        times: Sequence[Sequence[Any]] | None = None,
        *,
        users: Sequence[Any] | None = None,
        filter_seen: bool | None = None,
        exclude: Sequence[Any] = (),
        allow: Sequence[Any] | None = None,
        time_unit: str | None = None,
    ) -> list[Recommendations]:
        """`recommend` for several histories or users, in batches that hold `SCORES_AT_ONCE` scores at most."""
        k = read_count(k, len(self.catalogue))
        read = self._read(histories, times, users, time_unit)
        hidden = self._hidden(exclude, allow)
        filter_seen = self.filter_seen if filter_seen is None else filter_seen
        size = max(1, min(BATCH, SCORES_AT_ONCE // max(1, len(self.catalogue))))
        answers: list[Recommendations] = []
        while batch := list(islice(read, size)):  # read when it is its turn: many are not held twice
            answers += self._answered(batch, hidden, k, filter_seen)
        return answers

    def score(
        self,
        history: Sequence[Any] | None = None,
        items: Sequence[Any] = (),
        times: Sequence[Any] | None = None,
        *,
        user: Any = None,
        time_unit: str | None = None,
    ) -> dict[str, float]:
        """The scores of some items after one history, by their ids, seen items like others; higher is better.

        Args:
            history: Item ids, oldest first.
            items: The items to score.
            times: As for `recommend`, like `user` and `time_unit`.
            user: In place of `history`.
            time_unit: Of `times`.

        Raises:
            LwaError: As for `recommend`; or the model does not know one of the items.
        """
        wanted, unknown = read_items(items, self._index, "the items to score")
        if unknown:
            raise LwaError(f"the model does not know the item {unknown[0]!r}", f"it knows {len(self.catalogue)} items")
        histories, users = None if history is None else [history], None if user is None else [user]
        [(known, _)] = self._read(histories, None if times is None else [times], users, time_unit)
        scores = self.scores([known])[0, torch.from_numpy(wanted.astype(np.int64))].double().tolist()
        return {self.catalogue.ids[item]: score for item, score in zip(wanted, scores, strict=True)}

    def _read(
        self,
        histories: Sequence[Sequence[Any]] | None,
        times: Sequence[Sequence[Any]] | None,
        users: Sequence[Any] | None,
        time_unit: str | None,
    ) -> Iterator[tuple[History, tuple[str, ...]]]:
        """The known items of every history, and the ids that are unknown; of users, all that they did."""
        if (histories is None) == (users is None):
            raise LwaError("a request is for a history or for a user: one of them", "give `history` or `user`")
        if users is not None:
            if times is not None:
                raise LwaError("the times of a user's history are known", "leave `times` out, or give the history")
            known = self.users
            if known is None:
                said = "the users of the data are known to a model that was loaded by its run, or just fitted"
                raise LwaError(said, "load the folder of the run, or give a history")
            return ((known.history(user, self.catalogue.ids), ()) for user in listed(users, "users"))
        asked, when = read_many(histories, times)
        if asked and self.uses_times and when is None:
            raise LwaError("this model looks at the times of events", "give `times`, one for each item of a history")
        unit = self.time_unit if time_unit is None else time_unit
        own_times = when if self.uses_times and when is not None else [None] * len(asked)
        return (read_history(one, self._index, own, unit) for one, own in zip(asked, own_times, strict=True))

    def _hidden(self, exclude: Sequence[Any], allow: Sequence[Any] | None) -> History:
        """Items that no answer may hold."""
        hidden, _ = read_items(exclude, self._index, "what is to be left out")
        if allow is None:
            return hidden
        allowed, unknown = read_items(allow, self._index, "what is allowed")
        if not len(allowed):
            raise LwaError(f"the model knows none of the {len(unknown)} items that are allowed")
        others = np.setdiff1d(np.arange(len(self.catalogue), dtype=np.int32), allowed)
        return np.union1d(hidden, others).astype(np.int32)

    def _answered(
        self, read: Sequence[tuple[History, tuple[str, ...]]], hidden: History, k: int, filter_seen: bool
    ) -> list[Recommendations]:
        left_out = [np.concatenate([hidden, known]) if filter_seen else hidden for known, _ in read]
        items, scores = top_items(self.scores([known for known, _ in read]), left_out, k)
        answers = []
        for row, (known, unknown) in enumerate(read):
            there = items[row] >= 0
            answers.append(
                Recommendations(
                    items=tuple(self.catalogue.ids[i] for i in items[row][there]),
                    scores=tuple(float(score) for score in scores[row][there]),
                    unknown=unknown,
                    known=len(known),
                )
            )
        return answers

    def __repr__(self) -> str:
        seen = "seen items left out" if self.filter_seen else "seen items allowed"
        return f"Ranker({self.component!r}, {len(self.catalogue)} items, {seen})"

    def network(self, sent: Sequence[Mapping[str, Any]]) -> Callable[[], torch.Tensor]:
        """What the network alone does for requests, arguments of `recommend`: from a batch to scores of all items."""
        histories = []
        for each in sent:
            times = each.get("times") if self.uses_times else None
            histories.append(read_history(each["history"], self._index, times, each.get("time_unit") or AUTO)[0])
        return scoring(self.recommender, self.model, histories)

    def save(self, folder: str | Path) -> None:
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
                "time_unit": self.time_unit,
                "restored_by": described(self.restorers),
                "files": checksums(folder, but=DESCRIPTION),
            },
        )


def assert_ranks(scores: torch.Tensor, items: int) -> None:
    """Raise ModelError where a table of scores (histories, items) is of other items than a catalogue's."""
    if scores.dim() != 2 or scores.shape[1] != items:
        raise ModelError(f"the model ranks {scores.shape[-1]} items, but its catalogue holds {items}")
