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
FORMAT = 1

NETWORK = "network.onnx"
TABLE = "items.npy"
SPECIAL = "special.npy"
SCALES = "scales.npy"
IDS = "ids.json"
TITLES = "titles.json"
POPULARITY = "popularity.npy"
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
    if (wrong := difference(folder, described.files, holder=DESCRIPTION)) is not None:
        raise ModelError(f"the bundle in {folder} is damaged: {wrong}", "copy the bundle again, or export it anew")
    if (odd := _odd(described)) is not None:
        raise ModelError(f"{file} is damaged: {odd}")
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
    return None


def read_array(folder: Path, name: str, kind: type, shape: tuple[int, ...], *, mapped: bool = False) -> NDArray[Any]:
    """An array of a bundle; mapped, processes share its memory.

    Raises:
        ModelError: It is none, or of another type or shape.
    """
    try:
        array: NDArray[Any] = np.load(folder / name, mmap_mode="r" if mapped else None, allow_pickle=False)
    except Exception as error:  # numpy reads the head of a file as Python, and fails in as many ways
        raise ModelError(f"the bundle in {folder} is damaged: {name} is no array: {error}") from error
    if array.dtype != kind or array.shape != shape:
        raise ModelError(
            f"the bundle in {folder} is damaged: {name} is {array.dtype} {array.shape}, not {np.dtype(kind)} {shape}"
        )
    return array


def read_list(folder: Path, name: str, count: int) -> tuple[str, ...]:
    """A list of so many texts. Raises ModelError where it is none."""
    try:
        texts = msgspec.json.decode((folder / name).read_bytes(), type=list[str])
    except (OSError, msgspec.DecodeError) as error:
        raise ModelError(f"the bundle in {folder} is damaged: {name}: {error}") from error
    if len(texts) != count:
        raise ModelError(f"the bundle in {folder} is damaged: {name} holds {len(texts)} texts, not {count}")
    return tuple(texts)
