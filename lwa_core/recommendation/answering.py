"""Requests and their answers, whatever computes the scores: a network in torch, or a bundle in ONNX Runtime."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from time import perf_counter
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np
from numpy.typing import NDArray

from lwa_core.data.moments import AUTO
from lwa_core.errors import LwaError
from lwa_core.recommendation.requests import (
    Context,
    listed,
    read_context,
    read_count,
    read_history,
    read_items,
    read_many,
)
from lwa_core.types import Floats, History, Recommendations, Trace

if TYPE_CHECKING:
    from lwa_core.recommendation.users import KnownUsers

BATCH = 256
"""Histories that are answered at once, at most."""
SCORES_AT_ONCE = 2**24
"""Scores that are held at once, at most, unless one history has more: 64 MiB."""


@attrs.frozen(eq=False)
class Best:
    """The best items of some histories.

    Args:
        items: Indices, −1 where fewer are left (histories, k).
        scores: Of each, −inf where fewer are left (histories, k).
        fallen: Rows that popularity answered, and why.
        exact: Whether every item was scored.
    """

    items: NDArray[np.int32]
    scores: Floats
    fallen: Mapping[int, str] = attrs.field(factory=dict)
    exact: bool = True


class Answering(ABC):
    """Answers requests for recommendations by a model's scores."""

    __slots__ = ()

    fingerprint: str | None
    layers: int | None
    index: Mapping[str, int]
    filter_seen: bool
    time_unit: str
    users: KnownUsers | None

    @property
    @abstractmethod
    def ids(self) -> Sequence[str]:
        """Of the items."""

    @property
    @abstractmethod
    def titles(self) -> Sequence[str] | None:
        """Of the items, where they have any."""

    @property
    @abstractmethod
    def uses_times(self) -> bool:
        """Whether the model looks at the times of events."""

    @abstractmethod
    def best(self, histories: Sequence[History], left_out: Sequence[History], k: int) -> Best:
        """The k best items of each history but those left out, by falling score, and of equal ones by their index."""

    @abstractmethod
    def scores_of(self, history: History, items: NDArray[np.int64]) -> Floats:
        """The scores of some items after one history (items,)."""

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
        context: Mapping[str, Any] | None = None,
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
            context: Where the answer is for and how it is to be made: `device`, a name, and `mode`, one of `"fast"`,
                `"balanced"` and `"accurate"`. A model of one tier answers all of them alike; the answer's `trace` says.

        Raises:
            LwaError: The model looks at times, and there are none, or other than one for each id, or they fall; what is
                given as an id is none; `k` is no whole number above 0; `allow` names no item that the model knows;
                there is no such user, or neither a user nor a history, or both; the context has another key or mode.
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
            context=context,
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
        context: Mapping[str, Any] | None = None,
    ) -> list[Recommendations]:
        """`recommend` for several histories or users, in batches that hold `SCORES_AT_ONCE` scores at most."""
        k, wanted = read_count(k, len(self.ids)), read_context(context)
        read = self._read(histories, times, users, time_unit)
        hidden = self._hidden(exclude, allow)
        filter_seen = self.filter_seen if filter_seen is None else filter_seen
        size = max(1, min(BATCH, SCORES_AT_ONCE // max(1, len(self.ids))))
        answers: list[Recommendations] = []
        while batch := list(islice(read, size)):  # read when it is its turn: many are not held twice
            answers += self._answered(batch, hidden, k, filter_seen, wanted)
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
        wanted, unknown = read_items(items, self.index, "the items to score")
        if unknown:
            raise LwaError(f"the model does not know the item {unknown[0]!r}", f"it knows {len(self.ids)} items")
        histories, users = None if history is None else [history], None if user is None else [user]
        [(known, _)] = self._read(histories, None if times is None else [times], users, time_unit)
        scores = self.scores_of(known, wanted.astype(np.int64)).tolist()
        return {self.ids[item]: score for item, score in zip(wanted, scores, strict=True)}

    def histories_of(self, sent: Sequence[Mapping[str, Any]]) -> list[History]:
        """The known items of requests, arguments of `recommend` with a `history`."""
        histories = []
        for each in sent:
            times = each.get("times") if self.uses_times else None
            histories.append(read_history(each["history"], self.index, times, each.get("time_unit") or AUTO)[0])
        return histories

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
            return ((known.history(user, self.ids), ()) for user in listed(users, "users"))
        asked, when = read_many(histories, times)
        if asked and self.uses_times and when is None:
            raise LwaError("this model looks at the times of events", "give `times`, one for each item of a history")
        unit = self.time_unit if time_unit is None else time_unit
        own_times = when if self.uses_times and when is not None else [None] * len(asked)
        return (read_history(one, self.index, own, unit) for one, own in zip(asked, own_times, strict=True))

    def _hidden(self, exclude: Sequence[Any], allow: Sequence[Any] | None) -> History:
        """Items that no answer may hold."""
        hidden, _ = read_items(exclude, self.index, "what is to be left out")
        if allow is None:
            return hidden
        allowed, unknown = read_items(allow, self.index, "what is allowed")
        if not len(allowed):
            raise LwaError(f"the model knows none of the {len(unknown)} items that are allowed")
        others = np.setdiff1d(np.arange(len(self.ids), dtype=np.int32), allowed)
        return np.union1d(hidden, others).astype(np.int32)

    def _answered(
        self,
        read: Sequence[tuple[History, tuple[str, ...]]],
        hidden: History,
        k: int,
        filter_seen: bool,
        context: Context,
    ) -> list[Recommendations]:
        left_out = [np.concatenate([hidden, known]) if filter_seen else hidden for known, _ in read]
        begin = perf_counter()
        best = self.best([known for known, _ in read], left_out, k)
        milliseconds = 1e3 * (perf_counter() - begin)
        answers = []
        for row, (known, unknown) in enumerate(read):
            there = best.items[row] >= 0
            answers.append(
                Recommendations(
                    items=tuple(self.ids[int(i)] for i in best.items[row][there]),
                    scores=tuple(float(score) for score in best.scores[row][there]),
                    unknown=unknown,
                    known=len(known),
                    trace=Trace(
                        self.fingerprint,
                        milliseconds,
                        self.layers,
                        exact=best.exact,
                        fell_back=best.fallen.get(row),
                        device=context.device,
                        mode=context.mode,
                    ),
                )
            )
        return answers
