"""A saved model that goes on training, with the items that the data has now."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from lwa_core import ModelError, load
from lwa_plugins.recommenders._item_files import read_vectors
from lwa_plugins.recommenders.sequential.model import SequentialModel
from lwa_plugins.recommenders.sequential.parts import in_parts

if TYPE_CHECKING:
    from lwa_core import Catalogue, Reporter
    from lwa_plugins.recommenders.sequential import Sequential

DESCRIPTION = "ranker.json"
"""What `Ranker.save` writes beside a model, with the ids of its items."""

SAME = 1e-4
"""Differences below this share of the largest number of a vector are rounding."""


def continued(asked: Sequential, catalogue: Catalogue, report: Reporter) -> torch.nn.Module:
    """The model of a folder, for the items of a catalogue.

    What is learnt of an item that the model knows is copied. A row of a new item is the mean of the rows that the model
    has, plus noise as large as a fresh row's. A folder without the ids of its items (weights alone) needs data of the
    same number of items, which are taken to be the same.

    Raises:
        ModelError: The folder holds no such model or a damaged one, or one that was compressed in a way that cannot be
            trained on; it was made for another objective or shorter histories; it knows none of the items; or
            vectors that are given are not those that it was made with, or lack where new items have nothing else.
    """
    folder = Path(asked.checkpoint)
    model, known = _read(asked, folder)
    _assert_fits(asked, model.config, folder)
    if asked.by_parts:
        model = in_parts(model)
    if known is None:
        if model.config.items != len(catalogue):
            raise ModelError(
                f"the model in {folder} ranks {model.config.items} items, but the data has {len(catalogue)}",
                f"give it the data and filters that it was trained on, or a folder with {DESCRIPTION}",
            )
        known = catalogue.ids
    places = {item: place for place, item in enumerate(known)}
    origins = np.array([places.get(item, -1) for item in catalogue.ids], dtype=np.int64)
    _compare(known, catalogue, origins, folder, report)
    vectors = [
        _new_rows(Path(path), _numpy(getattr(model.side, f"vectors_{place}")), places, catalogue, origins, report)
        for place, path in enumerate(asked.vectors)
    ]
    if known == catalogue.ids:
        return model  # type: ignore[no-any-return]  # transformers is untyped
    if not vectors and bool((origins < 0).any()):
        _say_unknown(model.config, folder, int((origins < 0).sum()), report)
    return _with_items(model, origins, vectors)


def _read(asked: Sequential, folder: Path) -> tuple[Any, tuple[str, ...] | None]:
    """The model of a folder, and the ids of its items where they are beside it."""
    if not (folder / DESCRIPTION).is_file():
        return asked.load(folder), None
    ranker = load(folder)
    if ranker.restorers:
        by = ranker.restorers[-1].component
        raise ModelError(f"the model in {folder} was compressed by '{by}', and is not trained on", "give the teacher")
    if type(ranker.model) is not SequentialModel:
        raise ModelError(f"the model in {folder} was made by '{ranker.component}', not by 'sequential'")
    return ranker.model, ranker.catalogue.ids


def _assert_fits(asked: Sequential, config: Any, folder: Path) -> None:
    """Raise ModelError where the settings ask for something that the model is not."""
    if config.masked != asked.masked:
        learnt = "masked" if config.masked else "next-item"
        raise ModelError(f"the model in {folder} was made for objective = {learnt!r}")
    if config.time_bias != asked.times:
        raise ModelError(f"the model in {folder} was made for times = {str(not asked.times).lower()}")
    if asked.max_length > config.max_length:
        said = f"the model in {folder} knows {config.max_length} positions, not {asked.max_length}"
        raise ModelError(said, f"set max_length = {config.max_length}")
    if (config.transitions is None) == asked.uses_transitions:
        made = "none" if config.transitions is None else "transitions"
        raise ModelError(f"the model in {folder} was made for prior = {made!r}", f"set prior = {made!r}")
    if config.part_types is not None and not asked.by_parts:
        raise ModelError(f"the blocks of the model in {folder} are parts of layers", 'set units = "parts"')
    if config.item_table and not asked.item_table:
        raise ModelError(f"the model in {folder} has an item table: leave item_table = false out")
    has, given = list(config.vector_sizes), len(asked.vectors)
    if given and given != len(has):
        raise ModelError(f"the model in {folder} has {len(has)} tables of vectors, and {given} are given")


def _compare(
    known: Sequence[str], catalogue: Catalogue, origins: NDArray[np.int64], folder: Path, report: Reporter
) -> None:
    """Say which items are new and which leave. Raises ModelError where no item is known."""
    new = int((origins < 0).sum())
    if new == len(catalogue):
        hint = f"its ids, such as {known[0]!r}, are to be those of the interactions, such as {catalogue.ids[0]!r}"
        raise ModelError(f"the model in {folder} knows none of the {new} items", hint)
    left = len(known) - (len(catalogue) - new)
    if new or left:
        said = f"{new} of {len(catalogue)} items are new to the model, and {left} that it knows are not in the data"
        report.warn("checkpoint-items", said)


def _say_unknown(config: Any, folder: Path, new: int, report: Reporter) -> None:
    """Warn that nothing is known of new items but their ids. Raises ModelError where they have none either."""
    if not config.item_table:
        said = f"{new} items are new to the model in {folder}, which has no item table: nothing stands for them"
        hint = "give the `vectors` that it was made with, with those of the new items added"
        raise ModelError(said, hint if config.vector_sizes and not config.attributes else "train a new model")
    if config.vector_sizes or config.attributes:
        report.warn("side-information", f"{new} items that are new to the model have no attributes and no vectors")


def _new_rows(
    path: Path,
    own: NDArray[np.float32],
    places: dict[str, int],
    catalogue: Catalogue,
    origins: NDArray[np.int64],
    report: Reporter,
) -> NDArray[np.float32]:
    """Vectors of the items that are new (new items, size), on the scale of the model's own (its items, size).

    Raises:
        ModelError: The vectors of items that the model knows are others than its own.
    """
    rows, table = read_vectors(path)
    if table.shape[1] != own.shape[1]:
        raise ModelError(
            f"{path.name} has vectors of size {table.shape[1]}, and those of the model have {own.shape[1]}"
        )
    shared = [item for item in rows if item in places and own[places[item]].any()]
    given = table[[rows[item] for item in shared]].astype(np.float64)
    held = own[[places[item] for item in shared]].astype(np.float64)
    scale = np.sqrt((given**2).sum() / (held**2).sum()) if shared else 0.0  # one number for all, as `_aligned` divides
    if not scale > 0 or np.abs(given / scale - held).max() > SAME * np.abs(held).max():
        raise ModelError(f"{path.name} does not hold the vectors that the model was made with", "add to that file")
    new = [rows.get(catalogue.ids[item], -1) for item in np.flatnonzero(origins < 0)]
    found = np.array(new, dtype=np.int64)
    if lacking := int((found < 0).sum()):
        report.warn("side-information", f"{path.name} has no vector for {lacking} items that are new to the model")
    return np.where(found[:, None] >= 0, table[found] / scale, 0).astype(np.float32)


def _with_items(model: Any, origins: NDArray[np.int64], vectors: Sequence[NDArray[np.float32]]) -> torch.nn.Module:
    """The model for other items: each is what the item at its place in `origins` was, or new where that is −1."""
    state = {name: value.cpu() for name, value in model.state_dict().items() if not name.startswith("prior.")}
    config = deepcopy(model.config)
    config.transitions = None  # a table is fitted to what the data has now
    known, new = torch.from_numpy(np.maximum(origins, 0)), torch.from_numpy(origins < 0)
    config.items = len(origins)
    if config.item_table:
        first = config.first_item
        special, rows = state["item_embedding.weight"].split([first, model.config.items])
        fresh = rows.mean(dim=0) + config.initializer_range * torch.randn(len(origins), rows.shape[1])
        state["item_embedding.weight"] = torch.cat([special, torch.where(new[:, None], fresh, rows[known])])
    for place in range(len(config.vector_sizes)):
        name = f"side.vectors_{place}"
        state[name] = torch.where(new[:, None], 0.0, state[name][known])
        if vectors:
            state[name][new] = torch.from_numpy(vectors[place])
    if config.attributes:
        flat, offsets = state["side.flat"], state["side.offsets"].tolist()
        bags = [flat[offsets[item] : offsets[item + 1]] if item >= 0 else flat[:0] for item in origins.tolist()]
        state["side.flat"] = torch.cat(bags)
        state["side.offsets"] = torch.tensor(np.cumsum([0, *map(len, bags)]))
        config.attribute_pairs = len(state["side.flat"])
    grown: torch.nn.Module = SequentialModel(config)
    grown.load_state_dict(state)
    if model.prior is not None:
        grown.prior = model.prior  # of which the factor is kept
    return grown.to(model.device).eval()


def _numpy(tensor: torch.Tensor) -> NDArray[np.float32]:
    table: NDArray[np.float32] = tensor.float().cpu().numpy()
    return table
