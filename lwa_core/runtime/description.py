"""What stands in a bundle's `bundle.json`, and how a bundle is read: every file by its checksum, nothing unpickled."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from lwa_core.errors import ModelError
from lwa_core.json_text import BadJsonError, parse_json
from lwa_core.store.checksums import difference

DESCRIPTION = "bundle.json"
FORMAT = 2
"""Since 2 ids and titles are arrays, which are read at once however many there are."""

NETWORK = "network.onnx"
TABLE = "items.npy"
SPECIAL = "special.npy"
SCALES = "scales.npy"
IDS, IDS_ENDS, IDS_SORTED = "ids.npy", "ids-ends.npy", "ids-sorted.npy"
TITLES, TITLES_ENDS = "titles.npy", "titles-ends.npy"
POPULARITY = "popularity.npy"
"""How often each item occurs in the training part."""
INDEX, INDEX_TRAINED = "index.npy", "index-trained.npy"
MEASURED = "measured.json"
"""What was measured of a bundle, laid beside it by the run that made it; it answers the same without."""
PRIOR = "prior"
"""Folder of the arrays of a table of transitions, one file each."""

TABLES = {"float32": np.float32, "float16": np.float16, "int8": np.int8}
"""Formats of the item table; of `int8` every row has a scale."""
NONE = "none"
"""Format of the weights and the item table of a bundle without a network."""


class Prior(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Settings and sizes of a table of transitions, whose scores are added to those of the network if there is one.

    They count as logits; where `offset` is None, as they are.
    """

    entries: int
    history: int
    decay: float
    popularity: float
    offset: float | None
    factor: float
    features: float = 0.0
    features_decay: float = 1.0
    terms: int = 0
    term_entries: int = 0


class Indexed(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An index of the items, and how well it finds the best ones.

    Args:
        kind: `pq4`, 4 bits for two numbers; or `sq8`, 8 bits for one.
        candidates: Items that it gives for each that is wanted; their exact scores decide.
        recall: Mean share of the ten best items that it found, over histories that the model was not trained on.
        queries: How many histories that was measured on.
    """

    kind: str
    candidates: int
    recall: float
    queries: int


class Described(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What `bundle.json` says.

    Without a network there is a `prior`; `width` and `special` are 0, and `history` is that of the prior.
    """

    format: int
    lwa: str
    recommender: str
    network: bool
    items: int
    width: int
    history: int
    special: int
    mask: bool
    times: bool
    time_unit: str
    filter_seen: bool
    weights: str
    quantised: int
    table: str
    titles: bool
    files: dict[str, Any]
    layers: int | None = None
    popularity: bool = False
    index: Indexed | None = None
    prior: Prior | None = None
    provenance: dict[str, Any] = {}


def read_described(folder: Path) -> Described:
    """What a bundle says of itself; its files are those that were written.

    Raises:
        ModelError: There is no bundle, or it is of another format, or damaged.
    """
    file = folder / DESCRIPTION
    if not file.is_file():
        raise ModelError(f"{folder} holds no bundle: it has no {DESCRIPTION}")
    try:
        said = parse_json(file.read_bytes())
        if isinstance(said, dict) and said.get("format") != FORMAT:
            hint = "export it again with this version of lwa"
            raise ModelError(f"the bundle in {folder} has format {said.get('format')!r}, not {FORMAT}", hint)
        described = msgspec.convert(said, Described)
    except (BadJsonError, msgspec.ValidationError, OSError) as error:
        raise ModelError(f"{file} is damaged: {error}", "copy the bundle again, or export it anew") from error
    if (wrong := difference(folder, described.files, holder=DESCRIPTION, others=(MEASURED,))) is not None:
        raise ModelError(f"the bundle in {folder} is damaged: {wrong}", "copy the bundle again, or export it anew")
    if (odd := _odd(described)) is not None:
        raise ModelError(f"{file} is damaged: {odd}")
    if unlisted := sorted(_read(described) - described.files.keys()):
        raise ModelError(f"{file} is damaged: it lists no {unlisted[0]} among the files")
    return described


def _odd(said: Described) -> str | None:
    """What cannot be in a description, if anything."""
    sizes = (said.items, said.history, said.width, said.special)
    if min(sizes if said.network else sizes[:2]) < 1 or (not said.network and sizes[2:] != (0, 0)):
        return f"sizes {sizes}"
    if said.table not in (TABLES if said.network else (NONE,)):
        return f"table {said.table!r}"
    if not said.network and said.prior is None:
        return "there is neither a network nor a prior"
    if not said.network and said.index is not None:
        return "there is an index of no vectors"
    return None


def _read(described: Described) -> set[str]:
    """The files that are read: none without its checksum."""
    names = {IDS, IDS_ENDS, IDS_SORTED}
    names |= {NETWORK, TABLE, SPECIAL} if described.network else set()
    names |= {SCALES} if described.table == "int8" else set()
    names |= {TITLES, TITLES_ENDS} if described.titles else set()
    names |= {POPULARITY} if described.popularity else set()
    names |= {INDEX, INDEX_TRAINED} if described.index is not None else set()
    if described.prior is not None:
        tables = ("evidence", "terms") if described.prior.features else ("evidence",)
        names |= {f"{PRIOR}/{name}-{part}.npy" for name in tables for part in ("starts", "columns", "values")}
        names.add(f"{PRIOR}/log-shares.npy")
    return names


def read_array(
    folder: Path, name: str, kind: type, shape: tuple[int | None, ...], *, mapped: bool = False
) -> NDArray[Any]:
    """An array of a bundle; mapped, processes share its memory. None in a shape is any length.

    Raises:
        ModelError: It is none, or of another type or shape.
    """
    try:
        array: Any = np.load(folder / name, mmap_mode="r" if mapped else None, allow_pickle=False)
    except Exception as error:  # numpy reads the head of a file as Python, and fails in as many ways
        raise ModelError(f"the bundle in {folder} is damaged: {name} is no array: {error}") from error
    if not isinstance(array, np.ndarray):  # numpy opens archives, too
        raise ModelError(f"the bundle in {folder} is damaged: {name} is no array")
    fits = array.ndim == len(shape) and all(b in (None, a) for a, b in zip(array.shape, shape, strict=True))
    if array.dtype != kind or not fits or not array.flags.c_contiguous:
        raise ModelError(
            f"the bundle in {folder} is damaged: {name} is {array.dtype} {array.shape}, not {np.dtype(kind)} {shape}"
        )
    return np.asarray(array)  # the class of numpy's mapped arrays makes every access slower
