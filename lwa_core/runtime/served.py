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
from lwa_core.recommendation.answering import Answering
from lwa_core.runtime.description import IDS, NETWORK, TITLES, Described, read_described, read_list
from lwa_core.runtime.item_table import ItemTable
from lwa_core.runtime.transitions import TransitionScores
from lwa_core.types import Floats, History


@attrs.frozen(eq=False, repr=False)
class Served(Answering):
    """The model of a bundle: takes the same requests as `lwa_core.load(…)` and gives the same answers.

    Args:
        described: What the bundle says of itself.
        network: A session of ONNX Runtime; None where there is no network.
        table: The items' vectors, which it takes; None without it.
        transitions: What is added to the network's scores, if anything is; without it all that scores are.
        ids: Of the items.
        titles: Of the items, where they have any.
    """

    described: Described
    network: Any
    table: ItemTable | None
    transitions: TransitionScores | None
    _ids: tuple[str, ...]
    _titles: tuple[str, ...] | None
    users: None = None
    index: Mapping[str, int] = attrs.field(init=False)

    @index.default
    def _make_index(self) -> dict[str, int]:
        return dict(zip(self._ids, range(len(self._ids)), strict=True))

    @property
    def ids(self) -> tuple[str, ...]:
        """Of the items."""
        return self._ids

    @property
    def titles(self) -> tuple[str, ...] | None:
        """Of the items, where they have any."""
        return self._titles

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
        known = None if self.transitions is None else self.transitions.scores(histories)
        if self.table is None:
            assert known is not None
            return known
        made = self.table.scores(self.states(histories))
        if known is not None:
            made += known
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
        states: NDArray[np.float32] = self.network.run(None, inputs)[0]
        return states

    def best(
        self, histories: Sequence[History], left_out: Sequence[History], k: int
    ) -> tuple[NDArray[np.int32], Floats]:
        """The k best items of each history but those left out, and their scores: by falling score, then by index."""
        scores = self.scores(histories)
        if np.isnan(scores).any() or np.isposinf(scores).any():
            raise ModelError("the model gives scores that are no numbers")
        for row, hidden in zip(scores, left_out, strict=True):
            row[hidden] = -np.inf
        return top(scores, k)

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
        above = np.flatnonzero(own > border)
        equal = np.flatnonzero(own == border)[: found - len(above)]
        chosen = np.union1d(above, equal)
        chosen = chosen[np.argsort(-own[chosen], kind="stable")]
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
    table = ItemTable.read(folder, described) if described.network else None
    ids = read_list(folder, IDS, described.items)
    titles = read_list(folder, TITLES, described.items) if described.titles else None
    network = _session(folder, described, threads) if described.network else None
    made = Served(described, network, table, TransitionScores.read(folder, described), ids, titles)
    if len(made.index) < len(ids):
        raise ModelError(f"the bundle in {folder} is damaged: two items have the same id")
    return made


def _session(folder: Path, described: Described, threads: int) -> Any:
    try:
        import onnxruntime
    except ImportError as error:
        raise NeedsError("a bundle needs onnxruntime", "pip install 'lwa[onnx]'") from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    try:
        session = onnxruntime.InferenceSession(
            (folder / NETWORK).read_bytes(), options, providers=["CPUExecutionProvider"]
        )
    except Exception as error:  # it has a class for each way in which a file can be wrong
        said = " ".join(str(error).split())
        raise ModelError(f"the bundle in {folder} is damaged: ONNX Runtime cannot read {NETWORK}: {said}") from error
    wanted = {"rows", "last", "times"} if described.times else {"rows", "last"}
    if {each.name for each in session.get_inputs()} != wanted or len(session.get_outputs()) != 1:
        raise ModelError(f"the bundle in {folder} is damaged: {NETWORK} does not take {', '.join(sorted(wanted))}")
    return session
