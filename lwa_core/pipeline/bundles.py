"""Bundles: what an exporter makes of a ranker, written whole or not at all, and compared with the ranker."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import attrs
import msgspec
import numpy as np
from numpy.typing import NDArray

from lwa_core.data import PreparedData
from lwa_core.data.timed import TimedHistory
from lwa_core.errors import LwaError, ModelError, NeedsError
from lwa_core.modeling.files.full_precision import computes_in_float32, full_precision
from lwa_core.pipeline.indexes import RECALL, SMALLEST, write_index
from lwa_core.plugins.protocols import Exportable, ExportedParts, Exporter, TransitionArrays
from lwa_core.recommendation.ranker import Ranker
from lwa_core.runtime.description import (
    DESCRIPTION,
    FORMAT,
    NETWORK,
    NONE,
    POPULARITY,
    PRIOR,
    SPECIAL,
    TABLES,
    Described,
    Prior,
)
from lwa_core.runtime.item_table import write_table
from lwa_core.runtime.served import Served, open_bundle
from lwa_core.runtime.stored_texts import write_ids, write_titles
from lwa_core.store.checksums import checksums
from lwa_core.store.files import write_json
from lwa_core.types import History, Reporter

BATCHES, SHARES = (1, 3, 8), (0.0, 0.5, 1.0)
"""Sizes of the batches and lengths of the histories, as shares of the longest, that a bundle is compared at."""
TOLERANCE = 1e-5
"""Of scores of a bundle in float32, relative to the largest."""
TOP = 10


@attrs.frozen
class Agreement:
    """How a bundle's answers stand to those of the model that it was made of.

    Args:
        difference: Largest difference of two scores, relative to the largest score.
        top: Mean share of the model's best ten items that are among the bundle's.
    """

    difference: float
    top: float


def write_bundle(
    ranker: Ranker,
    exporter: Exporter,
    folder: Path,
    report: Reporter,
    provenance: dict[str, Any] | None = None,
    *,
    popularity: NDArray[np.int64] | None = None,
    histories: Sequence[History] = (),
    index: bool | None = None,
    recall: float = RECALL,
) -> tuple[Served, Agreement]:
    """Write a model as a bundle, open it, and compare what both answer.

    Args:
        ranker: The model.
        exporter: Writes its network, if it has one, and chooses how the item table is written.
        folder: Where the bundle is to lie; there may be nothing yet.
        report: Told how far it is, and where an index is left out.
        provenance: What is known of the run that made the model, JSON-ready.
        popularity: How often each item occurs in the training part (items,); None where that is not known, as of a
            model that was loaded without its run.
        histories: Of validation users, which an index is measured on.
        index: Whether to make an index of the items; None: of many, where it finds enough of the best ones.
        recall: Mean share of the ten best items that an index has to find.

    Raises:
        ModelError: The model cannot be taken apart, or the bundle is in float32 and answers differently; or an index is
            asked for, and none finds enough.
        NeedsError: An index is asked for, and faiss is not installed.
        LwaError: There is something at `folder` already, or `recall` is no share.
    """
    if folder.exists():
        raise LwaError(f"{folder} exists already", "give a new folder, or remove it")
    if isinstance(recall, bool) or not isinstance(recall, (int, float)) or not 0 <= recall <= 1:
        raise LwaError(f"recall is a share from 0 to 1, not {recall!r}")
    recommender = ranker.recommender
    if not isinstance(recommender, Exportable):
        raise ModelError(f"the recommender '{ranker.component}' offers no parts that could be exported")
    plain = attrs.evolve(ranker, model=full_precision(ranker.model))
    # In half precision the model's own answers are further from the bundle's than rounding to float32 explains.
    reference = ranker if computes_in_float32(ranker.model) else plain
    folder.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        made = scratch / "bundle"
        made.mkdir()
        parts = recommender.parts(plain.model)
        transitions: TransitionArrays | None
        if isinstance(parts, TransitionArrays):
            said, transitions = _without_network(parts), parts
        else:
            said, transitions = _network(parts, exporter, made, report), parts.transitions
        _seal(_described(ranker, said, transitions, made, popularity, provenance or {}), made)
        served = open_bundle(made)
        agreement = compared(reference, served)
        exact = {served.described.weights, served.described.table} <= {"float32", NONE}
        if exact and agreement.difference > TOLERANCE:
            raise ModelError(f"the bundle answers differently from the model (off by {agreement.difference:.2g})")
        if index or (index is None and len(served.ids) > SMALLEST):
            served = _indexed(served, histories, made, recall, report, required=bool(index))
        made.rename(folder)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return served, agreement


def _indexed(
    served: Served, histories: Sequence[History], folder: Path, bar: float, report: Reporter, *, required: bool
) -> Served:
    """The bundle with an index; as it is where none is required and none can be had."""
    try:
        if served.transitions is not None:
            raise ModelError("a prior adds what an index of the items' vectors does not know")
        made = write_index(served, histories, folder, bar)
    except (ModelError, NeedsError) as error:
        if required:
            raise
        report.warn("no-index", f"every item is scored for each request: {error.message}")
        return served
    _seal(msgspec.structs.replace(served.described, index=made), folder)
    return open_bundle(folder)


def popularity_of(data: PreparedData) -> NDArray[np.int64]:
    """How often each item occurs in the training part (items,)."""
    events = np.concatenate([*data.training_sequences(), np.zeros(0, dtype=np.int32)])
    return np.bincount(events, minlength=len(data.catalogue)).astype(np.int64)


def _exported(exporter: Exporter, parts: ExportedParts, file: Path, report: Reporter) -> dict[str, Any]:
    """What an exporter says of the graph that it wrote. Raises ModelError where it says or wrote something else."""
    said = dict(exporter.export(parts, file, report))
    kinds = {"weights": str, "table": str, "quantised": int}
    if {name: type(value) for name, value in said.items()} != kinds or said["table"] not in TABLES:
        raise ModelError(
            f"the exporter '{type(exporter).__name__}' says {said}",
            f"it has to say `weights`, `quantised` and `table`, which is one of: {', '.join(TABLES)}",
        )
    if not file.is_file():
        raise ModelError(f"the exporter '{type(exporter).__name__}' wrote no {file.name}")
    return said


def _network(parts: ExportedParts, exporter: Exporter, folder: Path, report: Reporter) -> dict[str, Any]:
    """Write what a network is and takes; gives what the description says of it."""
    said = _exported(exporter, parts, folder / NETWORK, report)
    write_table(parts.table.detach().float().cpu().numpy(), said["table"], folder)
    np.save(folder / SPECIAL, parts.special.float().cpu().numpy(), allow_pickle=False)
    return {
        "network": True,
        "width": int(parts.table.shape[1]),
        "history": parts.history,
        "special": len(parts.special),
        "mask": parts.mask,
        "times": parts.times,
        **said,
    }


def _without_network(parts: TransitionArrays) -> dict[str, Any]:
    """What the description says where there is none."""
    sizes = {"width": 0, "history": parts.settings["history"], "special": 0}
    return {"network": False, **sizes, "mask": False, "times": False, "weights": NONE, "quantised": 0, "table": NONE}


def _described(
    ranker: Ranker,
    said: dict[str, Any],
    transitions: TransitionArrays | None,
    folder: Path,
    popularity: NDArray[np.int64] | None,
    known: dict[str, Any],
) -> Described:
    """Write all but the network, its tables and the description, and say what there is."""
    from importlib.metadata import version

    catalogue = ranker.catalogue
    write_ids(catalogue.ids, folder)
    if catalogue.titles is not None:
        write_titles(catalogue.titles, folder)
    if popularity is not None:
        if len(popularity) != len(catalogue):
            raise ModelError(f"the popularity of {len(popularity)} items for a catalogue of {len(catalogue)}")
        np.save(folder / POPULARITY, popularity.astype(np.int64), allow_pickle=False)
    prior = None
    if transitions is not None:
        (folder / PRIOR).mkdir()
        for name, array in transitions.arrays.items():
            np.save(folder / PRIOR / f"{name}.npy", array, allow_pickle=False)
        prior = Prior(**transitions.settings)
    return Described(
        format=FORMAT,
        lwa=version("lwa"),
        recommender=ranker.component,
        items=len(catalogue),
        time_unit=ranker.time_unit,
        filter_seen=ranker.filter_seen,
        titles=catalogue.titles is not None,
        files={},
        layers=ranker.layers,
        popularity=popularity is not None,
        prior=prior,
        provenance=known,
        **said,
    )


def _seal(described: Described, folder: Path) -> None:
    """Write the description, with the checksums of all other files."""
    sealed = msgspec.structs.replace(described, files=dict(checksums(folder, but=DESCRIPTION)))
    write_json(folder / DESCRIPTION, msgspec.to_builtins(sealed))


def compared(ranker: Ranker, served: Served) -> Agreement:
    """Ask both the same: batches of several sizes, histories of several lengths and of none."""
    rng = np.random.default_rng(0)
    worst, kept = 0.0, []
    for batch in BATCHES:
        for share in SHARES:
            length = max(1, round(share * served.described.history))
            histories = [_drawn(rng, served, length) for _ in range(batch - 1)] + [_drawn(rng, served, length % 2)]
            theirs = ranker.scores(histories).double().cpu().numpy()
            ours = served.scores(histories).astype(np.float64)
            worst = max(worst, float(np.abs(ours - theirs).max() / max(1.0, np.abs(theirs).max())))
            best = (np.argsort(-each, axis=1, kind="stable")[:, :TOP] for each in (theirs, ours))
            kept += [len(np.intersect1d(*pair)) / len(pair[0]) for pair in zip(*best, strict=True)]
    return Agreement(worst, float(np.mean(kept)))


def _drawn(rng: np.random.Generator, served: Served, length: int) -> History:
    items = rng.integers(0, served.described.items, length).astype(np.int32)
    if not served.described.times:
        return items
    return TimedHistory(items, rng.integers(0, 10**9, length).cumsum())
