"""A bundle that answers requests, without torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import attrs
import numpy as np
from numpy.typing import NDArray

from lwa_core.data.timed import TimedHistory
from lwa_core.errors import LwaError, ModelError, NeedsError
from lwa_core.recommendation.answering import Answering, Best
from lwa_core.runtime.description import (
    DESCRIPTION,
    IDS,
    IDS_ENDS,
    NETWORK,
    POPULARITY,
    TITLES,
    TITLES_ENDS,
    Described,
    read_array,
    read_described,
)
from lwa_core.runtime.item_table import ItemTable
from lwa_core.runtime.nearest import Nearest
from lwa_core.runtime.stored_texts import StoredIndex, StoredTexts
from lwa_core.runtime.transitions import TransitionScores
from lwa_core.store.checksums import fingerprint
from lwa_core.types import Floats, History

INDEXED = 8
"""An index is asked for at most one in so many items: nearer to all, scoring all is as fast."""


@attrs.frozen(eq=False, repr=False)
class Served(Answering):
    """The model of a bundle: takes the same requests as `lwa_core.load(…)` and gives the same answers.

    Where the network fails, or gives what is no number, items are ranked by popularity if the bundle knows it, and the
    answer's trace says so.

    Args:
        described: What the bundle says of itself.
        network: A session of ONNX Runtime; None where there is no network.
        table: The items' vectors, which it takes; None without it.
        transitions: What is added to the network's scores, if anything is; without it all that scores are.
        ids: Of the items.
        titles: Of the items, where they have any.
        index: Id -> item.
        popularity: How often each item occurs in the training part (items,), where that is known.
        nearest: An index that finds the best items of many without scoring all, if there is one.
        fingerprint: First digits of the sha256 of the bundle's description.
    """

    described: Described
    network: Any
    table: ItemTable | None
    transitions: TransitionScores | None
    ids: StoredTexts
    titles: StoredTexts | None
    index: Mapping[str, int]
    popularity: NDArray[np.int64] | None = None
    nearest: Nearest | None = None
    fingerprint: str | None = None
    users: None = None

    @property
    def layers(self) -> int | None:  # type: ignore[override]
        """How many layers the network has, where that is known."""
        return self.described.layers

    @property
    def filter_seen(self) -> bool:  # type: ignore[override]
        """Whether items of the history are left out of the recommendations, unless a request says otherwise."""
        return self.described.filter_seen

    @property
    def time_unit(self) -> str:  # type: ignore[override]
        """What numbers that are times count, unless a request says otherwise."""
        return self.described.time_unit

    @property
    def uses_times(self) -> bool:
        """Whether the model looks at the times of events."""
        return self.described.times

    def scores(self, histories: Sequence[History]) -> NDArray[np.float32]:
        """Score of every item after each history of item indices (histories, items); higher is better."""
        if self.table is None:
            assert self.transitions is not None
            return self.transitions.scores(histories)
        states = self.states(histories)
        with np.errstate(over="ignore", invalid="ignore"):  # who ranks them looks whether they are numbers
            made = self.table.scores(states)
            if self.transitions is not None:
                made += self.transitions.scores(histories)
        return made

    def states(self, histories: Sequence[History]) -> NDArray[np.float32]:
        """What the network makes of histories (histories, width). Raises ModelError where there is none."""
        if self.table is None:
            raise ModelError("the bundle has no network, and so no states")
        said = self.described
        room = said.history - said.mask
        newest = [np.asarray(history)[max(0, len(history) - room) :] for history in histories]
        lengths = np.array([len(history) for history in newest], dtype=np.int64)
        ids = np.zeros((len(newest), max(1, int(lengths.max(initial=0)) + said.mask)), dtype=np.int64)
        ids[np.arange(ids.shape[1]) < lengths[:, None]] = (
            np.concatenate([*newest, np.zeros(0, dtype=np.int32)]).astype(np.int64) + said.special
        )
        last = lengths if said.mask else np.maximum(lengths - 1, 0)
        if said.mask:
            ids[np.arange(len(ids)), last] = said.special - 1
        inputs: dict[str, Any] = {"rows": self.table.embedded(ids), "last": last}
        if said.times:
            times = np.zeros_like(ids)
            for row, history in enumerate(histories):
                own = np.asarray(cast(TimedHistory, history).times)[max(0, len(history) - room) :]
                times[row, : len(own)] = own
            inputs["times"] = times
        try:
            states: NDArray[np.float32] = self.network.run(None, inputs)[0]
        except Exception as error:  # it has a class for each way in which a graph can fail
            raise ModelError(f"the network fails: {' '.join(str(error).split())}") from error
        if getattr(states, "shape", None) != (len(newest), said.width) or states.dtype != np.float32:
            raise ModelError("the network gives other than one state for each history")
        return states

    def best(self, histories: Sequence[History], left_out: Sequence[History], k: int) -> Best:
        """The k best items of each history but those left out: by falling score, then by index.

        Raises:
            ModelError: The network fails, or gives what is no number, and popularity is not known.
        """
        if self.nearest is not None and self.transitions is None:
            count = self.nearest.wanted(k, max(map(len, left_out), default=0))
            if count <= len(self.ids) // INDEXED and (found := self._near(histories, left_out, k, count)) is not None:
                return found
        scores, fallen = self._scores_or_popularity(histories)
        for row, hidden in zip(scores, left_out, strict=True):
            row[hidden] = -np.inf
        return Best(*top(scores, k), fallen)

    def _near(self, histories: Sequence[History], left_out: Sequence[History], k: int, count: int) -> Best | None:
        """The best of those that the index finds; None where scoring all is left to do."""
        assert self.nearest is not None
        assert self.table is not None
        try:
            states = self.states(histories)
        except ModelError:
            return None
        if not np.isfinite(states).all():
            return None
        items, values = np.full((len(states), k), -1, dtype=np.int32), np.full((len(states), k), -np.inf)
        for row, (state, found) in enumerate(zip(states, self.nearest.found(states, count), strict=True)):
            left = np.sort(found[found >= 0])
            left = left[np.isin(left, left_out[row], invert=True)]
            with np.errstate(over="ignore", invalid="ignore"):
                scores = self.table.scores_of(state, left)
            if len(left) < k or not np.isfinite(scores).all():
                return None
            places, values[row] = (each[0] for each in top(scores[None], k))
            items[row] = left[places]
        return Best(items, values, exact=False)

    def _scores_or_popularity(self, histories: Sequence[History]) -> tuple[NDArray[np.float32], dict[int, str]]:
        """Scores that are numbers (histories, items), and of which rows they are popularity's, and why."""
        try:
            scores, why = self.scores(histories), "the model gives scores that are no numbers"
            rows = np.flatnonzero(~np.isfinite(scores).all(axis=1))
        except ModelError as error:
            if self.popularity is None:
                raise
            scores, why = np.empty((len(histories), len(self.ids)), dtype=np.float32), error.message
            rows = np.arange(len(histories))
        if len(rows) and self.popularity is None:
            raise ModelError(why)
        if len(rows):
            scores[rows] = self.popularity
        return scores, dict.fromkeys(rows.tolist(), why)

    def scores_of(self, history: History, items: NDArray[np.int64]) -> Floats:
        """The scores of some items after one history (items,)."""
        scores: Floats = self.scores([history])[0, items].astype(np.float64)
        return scores

    def __repr__(self) -> str:
        said = self.described
        form = f"weights {said.weights}, table {said.table}" if said.network else "no network"
        return f"Served({said.recommender!r}, {said.items} items, {form})"


def top(scores: NDArray[np.float32], k: int) -> tuple[NDArray[np.int32], Floats]:
    """The k best of each row (rows, k), of equal ones those of the lowest index; −1 and −inf where fewer are left."""
    found = min(k, scores.shape[1])
    items = np.full((len(scores), k), -1, dtype=np.int32)
    values = np.full((len(scores), k), -np.inf)
    for row, own in enumerate(scores):
        border = np.partition(own, -found)[-found] if found else np.inf
        chosen = np.flatnonzero(own >= border)  # those that tie at the border are more than are wanted
        chosen = chosen[np.argsort(-own[chosen], kind="stable")][:found]
        chosen = chosen[own[chosen] > -np.inf]
        items[row, : len(chosen)], values[row, : len(chosen)] = chosen, own[chosen]
    return items, values


def open_bundle(folder: str | Path, *, threads: int = 1) -> Served:
    """Open what an exporter left: format, checksums and shapes are compared; nothing is unpickled.

    Args:
        folder: The bundle.
        threads: That one request may use.

    Raises:
        ModelError: There is no bundle, or it is damaged, or of another format.
        NeedsError: ONNX Runtime is not installed, and there is a network.
    """
    folder = Path(folder)
    if isinstance(threads, bool) or not isinstance(threads, int) or threads < 1:
        raise LwaError(f"threads is a whole number of at least 1, not {threads!r}")
    described = read_described(folder)
    items = described.items
    ids = StoredTexts.read(folder, IDS, IDS_ENDS, items)
    return Served(
        described,
        _session(folder, described, threads) if described.network else None,
        ItemTable.read(folder, described) if described.network else None,
        TransitionScores.read(folder, described),
        ids,
        StoredTexts.read(folder, TITLES, TITLES_ENDS, items) if described.titles else None,
        StoredIndex.read(folder, ids),
        read_array(folder, POPULARITY, np.int64, (items,), mapped=True) if described.popularity else None,
        Nearest.read(folder, described, threads),
        fingerprint(folder / DESCRIPTION),
    )


def _session(folder: Path, described: Described, threads: int) -> Any:
    try:
        import onnxruntime
    except ImportError as error:
        raise NeedsError("a bundle needs onnxruntime", "pip install 'lwa[onnx]'") from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 4  # what is an error is raised, and need not be printed as well
    try:
        session = onnxruntime.InferenceSession(
            (folder / NETWORK).read_bytes(),
            options,
            providers=["CPUExecutionProvider"],
            enable_fallback=0,  # it would try the same once more, and print that it does
        )
    except Exception as error:  # it has a class for each way in which a file can be wrong
        said = " ".join(str(error).split())
        raise ModelError(f"the bundle in {folder} is damaged: ONNX Runtime cannot read {NETWORK}: {said}") from error
    wanted = {"rows", "last", "times"} if described.times else {"rows", "last"}
    if {each.name for each in session.get_inputs()} != wanted or len(session.get_outputs()) != 1:
        raise ModelError(f"the bundle in {folder} is damaged: {NETWORK} does not take {', '.join(sorted(wanted))}")
    return session
