"""Bundles: what an exporter makes of a ranker, written whole or not at all, and compared with the ranker."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any

import attrs
import msgspec
import numpy as np

from lwa_core.data.timed import TimedHistory
from lwa_core.errors import LwaError, ModelError
from lwa_core.modeling.files.full_precision import computes_in_float32, full_precision
from lwa_core.plugins.protocols import Exportable, ExportedParts, Exporter, TransitionArrays
from lwa_core.recommendation.ranker import Ranker
from lwa_core.runtime.description import (
    DESCRIPTION,
    FORMAT,
    IDS,
    NONE,
    PRIOR,
    SPECIAL,
    TITLES,
    Described,
    Prior,
)
from lwa_core.runtime.served import Served, open_bundle
from lwa_core.store.checksums import checksums
from lwa_core.store.files import write_atomically, write_json
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
    ranker: Ranker, exporter: Exporter, folder: Path, report: Reporter, provenance: dict[str, Any] | None = None
) -> tuple[Served, Agreement]:
    """Write a model as a bundle, open it, and compare what both answer.

    Args:
        ranker: The model.
        exporter: Writes its network, if it has one.
        folder: Where the bundle is to lie; there may be nothing yet.
        report: Told how far it is.
        provenance: What is known of the run that made the model, JSON-ready.

    Raises:
        ModelError: The model cannot be taken apart, or the bundle is in float32 and answers differently.
        LwaError: There is something at `folder` already.
    """
    if folder.exists():
        raise LwaError(f"{folder} exists already", "give a new folder, or remove it")
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
        if isinstance(parts, TransitionArrays):
            _describe(ranker, _without_network(parts), parts, made, provenance or {})
        else:
            _describe(ranker, _network(parts, exporter, made, report), parts.transitions, made, provenance or {})
        served = open_bundle(made)
        agreement = compared(reference, served)
        exact = {served.described.weights, served.described.table} <= {"float32", NONE}
        if exact and agreement.difference > TOLERANCE:
            raise ModelError(f"the bundle answers differently from the model (off by {agreement.difference:.2g})")
        made.rename(folder)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return served, agreement


def _network(parts: ExportedParts, exporter: Exporter, folder: Path, report: Reporter) -> dict[str, Any]:
    """Write what a network is and takes; gives what the description says of it."""
    said = exporter.export(parts, folder, report)
    np.save(folder / SPECIAL, parts.special.float().cpu().numpy(), allow_pickle=False)
    return {
        "network": True,
        "width": int(parts.table.shape[1]),
        "history": parts.history,
        "special": len(parts.special),
        "mask": parts.mask,
        "times": parts.times,
        **{name: said[name] for name in ("weights", "quantised", "table")},
    }


def _without_network(parts: TransitionArrays) -> dict[str, Any]:
    """What the description says where there is none."""
    sizes = {"width": 0, "history": parts.settings["history"], "special": 0}
    return {"network": False, **sizes, "mask": False, "times": False, "weights": NONE, "quantised": 0, "table": NONE}


def _describe(
    ranker: Ranker, said: dict[str, Any], transitions: TransitionArrays | None, folder: Path, known: dict[str, Any]
) -> None:
    from importlib.metadata import version

    catalogue = ranker.catalogue
    write_atomically(folder / IDS, msgspec.json.encode(catalogue.ids))
    if catalogue.titles is not None:
        write_atomically(folder / TITLES, msgspec.json.encode(catalogue.titles))
    prior = None
    if transitions is not None:
        (folder / PRIOR).mkdir()
        for name, array in transitions.arrays.items():
            np.save(folder / PRIOR / f"{name}.npy", array, allow_pickle=False)
        prior = Prior(**transitions.settings)
    described = Described(
        format=FORMAT,
        lwa=version("lwa"),
        recommender=ranker.component,
        items=len(catalogue),
        time_unit=ranker.time_unit,
        filter_seen=ranker.filter_seen,
        titles=catalogue.titles is not None,
        files=dict(checksums(folder, but=DESCRIPTION)),
        prior=prior,
        provenance=known,
        **said,
    )
    write_json(folder / DESCRIPTION, msgspec.to_builtins(described))


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
