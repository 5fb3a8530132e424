"""What files say of items: attributes (JSON) and vectors (safetensors, or .npy without pickle), set beside a catalogue.

An item that a file does not know has no attribute, and zeros for a vector; how many there are is warned of.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np
from numpy.typing import NDArray

from lwa_core import BadJsonError, DataError, parse_json
from lwa_plugins.datasets._blocks import existing_file
from lwa_plugins.datasets._items import read_json_object

if TYPE_CHECKING:
    from lwa_core import Catalogue, Reporter

NPY = b"\x93NUMPY"

IDS = 'write ["id", ...] in the order of the rows, or one id a line in a file that ends in .jsonl'


@attrs.frozen(eq=False)
class ItemFacts:
    """What is known of the items of a catalogue.

    Args:
        attributes: How many different attributes there are.
        flat: Attributes of all items, one item after another (pairs,), int64.
        offsets: Where each item begins in `flat` (items + 1,), int64.
        vectors: Tables (items, size), float32, each scaled so that the mean squared length of its vectors is 1.
    """

    attributes: int
    flat: NDArray[np.int64]
    offsets: NDArray[np.int64]
    vectors: tuple[NDArray[np.float32], ...]

    @property
    def sizes(self) -> dict[str, Any]:
        """What the configuration of a model says of them."""
        lengths = [table.shape[1] for table in self.vectors]
        return {"attributes": self.attributes, "attribute_pairs": len(self.flat), "vector_sizes": lengths}


def files_of(attributes: str, vectors: Sequence[str]) -> list[Path]:
    """The files that `item_facts` reads. Raises DataError if one lacks."""
    named = [existing_file(Path(name)) for name in vectors]
    return [*([existing_file(Path(attributes))] if attributes else []), *named, *map(ids_beside, named)]


def item_facts(
    catalogue: Catalogue, categories: bool, attributes: str, vectors: Sequence[str], report: Reporter
) -> ItemFacts:
    """Read what the files say of a catalogue's items.

    Args:
        catalogue: The items.
        categories: Whether the categories that the data gives are attributes.
        attributes: JSON file of attributes; empty for none.
        vectors: Files of vectors.
        report: Is warned of items that a file does not know, or alone knows.

    Raises:
        DataError: A file is damaged or of another form, or knows none of the items.
    """
    named: list[set[str]] = [set() for _ in catalogue.ids]
    if categories:
        if catalogue.categories is None:
            raise DataError("categories = true, but the data gives its items no categories")
        for names, own in zip(named, catalogue.categories, strict=True):
            names.update(own)
    if attributes:
        known = read_attributes(Path(attributes))
        _compare(Path(attributes), known, catalogue, "attributes", report)
        for names, item in zip(named, catalogue.ids, strict=True):
            names.update(known.get(item, ()))
    tables = []
    for path in map(Path, vectors):
        ids, rows = read_vectors(path)
        _compare(path, ids, catalogue, "vector", report)
        tables.append(_aligned(path, ids, rows, catalogue))
    words = sorted(set[str]().union(*named))
    places = {word: place for place, word in enumerate(words)}
    if (categories or attributes) and not words:
        raise DataError("no item of the catalogue has an attribute", file=attributes or None)
    flat = [places[word] for names in named for word in sorted(names)]
    offsets = np.cumsum([0, *map(len, named)], dtype=np.int64)
    return ItemFacts(len(words), np.array(flat, dtype=np.int64), offsets, tuple(tables))


def read_attributes(path: Path) -> dict[str, list[str]]:
    """Item id -> its attributes, from one JSON object. Attributes are texts or whole numbers. Raises DataError."""
    value = read_json_object(path)
    hint = 'write {"item id": ["attribute", ...], ...}'
    for item, names in value.items():
        if not isinstance(names, list) or not all(type(name) in (str, int) for name in names):
            raise DataError(f"the attributes of item {item!r} are no list of texts or numbers", file=path, hint=hint)
    return {item: [str(name) for name in names] for item, names in value.items()}


def read_vectors(path: Path) -> tuple[dict[str, int], NDArray[np.float32]]:
    """Item id -> row, and the rows (ids, size), of a file of vectors and the file of ids beside it.

    Raises:
        DataError: There is no table of floating-point numbers, there are more or fewer ids than rows, an id comes
            twice, or a number is not finite.
    """
    table = _table(path)
    if table.ndim != 2 or table.dtype.kind != "f" or not table.size:
        kind = f"{table.dtype} of shape {table.shape}"
        raise DataError(f"the file holds {kind}, not a table of floating-point numbers (items, size)", file=path)
    beside = ids_beside(path)
    ids = _ids(beside)
    if len(ids) != len(table):
        raise DataError(f"{len(ids)} ids for {len(table)} vectors in {path.name}", file=beside, hint=IDS)
    rows = {item: row for row, item in enumerate(ids)}
    if len(rows) < len(ids):
        twice = next(item for row, item in enumerate(ids) if rows[item] != row)
        raise DataError(f"item {twice!r} has two vectors", file=beside)
    finite = np.isfinite(table).all(axis=1)
    if not finite.all():
        raise DataError(f"the vector of item {ids[int(finite.argmin())]!r} is not finite", file=path)
    return rows, table


def ids_beside(path: Path) -> Path:
    """The file that says which item each row of a file of vectors is: of the same name, ending in .json or .jsonl."""
    candidates = [path.with_suffix(suffix) for suffix in (".json", ".jsonl")]
    found = next((file for file in candidates if file.is_file()), None)
    if found is None:
        said = f"{path.name} needs its item ids beside it, in {candidates[0].name} or {candidates[1].name}"
        raise DataError(said, file=path, hint=IDS)
    return found


def _table(path: Path) -> NDArray[Any]:
    if path.suffix == ".npy":
        return _single(_array(existing_file(path)))
    if path.suffix != ".safetensors":
        raise DataError("vectors come in files that end in .safetensors or .npy", file=path)
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(existing_file(path), "pt") as file:
            names = list(file.keys())
            if len(names) != 1:
                raise DataError(f"the file holds {len(names)} tensors, not one", file=path)
            tensor = file.get_tensor(names[0])
    except (OSError, SafetensorError) as error:
        raise DataError(f"the file cannot be read: {error}", file=path) from error
    # numpy has no bfloat16
    return _single((tensor.float() if tensor.is_floating_point() else tensor).numpy())


def _array(path: Path) -> NDArray[Any]:
    """What a .npy file holds, of the size that the file has: never what its header claims."""
    try:
        with path.open("rb") as file:
            if file.read(len(NPY)) != NPY:
                raise ValueError("it does not begin as a .npy file does")
        return np.asarray(np.load(path, mmap_mode="r", allow_pickle=False))
    except Exception as error:  # its header is a Python expression, and numpy lets through what its parsing raises
        raise DataError(f"the file cannot be read: {error}", file=path) from error


def _single(table: NDArray[Any]) -> NDArray[Any]:
    return table.astype(np.float32) if table.dtype.kind == "f" else table


def _ids(path: Path) -> list[str]:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"the file cannot be read: {error.strerror}", file=path) from error
    if path.suffix == ".json":
        value = _parsed(content, path)
    else:
        value = [_parsed(line, path, number) for number, line in enumerate(content.split(b"\n"), 1) if line.strip()]
    if not isinstance(value, list) or not all(type(item) in (str, int) for item in value):
        raise DataError("the file holds no list of item ids", file=path, hint=IDS)
    return [str(item) for item in value]


def _parsed(text: bytes, path: Path, line: int | None = None) -> Any:
    try:
        return parse_json(text)
    except BadJsonError as error:
        raise DataError(error.message, file=path, line=line or error.line, hint=error.hint or IDS) from error


def _compare(path: Path, known: Mapping[str, Any], catalogue: Catalogue, what: str, report: Reporter) -> None:
    """Warn of what a file and a catalogue do not have in common. Raises DataError where that is all."""
    lacking = sum(item not in known for item in catalogue.ids)
    if lacking == len(catalogue):
        some = ", ".join(repr(item) for item in list(known)[:3])
        hint = f"its ids, such as {some}, are to be those of the interactions, such as {catalogue.ids[0]!r}"
        raise DataError("the file knows none of the items", file=path, hint=hint)
    others = len(known) - (len(catalogue) - lacking)
    said = [f"has no {what} for {lacking} of {len(catalogue)} items"] if lacking else []
    said += [f"describes {others} items that are not in the data"] if others else []
    if said:
        report.warn("side-information", f"{path.name} {' and '.join(said)}")


def _aligned(path: Path, rows: Mapping[str, int], table: NDArray[np.float32], catalogue: Catalogue) -> Any:
    """One vector an item of the catalogue (items, size), zero where there is none; of mean squared length 1."""
    places = np.array([rows.get(item, -1) for item in catalogue.ids])
    aligned = np.where(places[:, None] >= 0, table[places], 0).astype(np.float64)
    scale = np.sqrt((aligned**2).sum() / (places >= 0).sum())
    if not scale > 0:
        raise DataError("all vectors of the catalogue's items are zero", file=path)
    return (aligned / scale).astype(np.float32)
