"""Prepared data on disk: arrays as safetensors, the rest as JSON."""

from __future__ import annotations

from pathlib import Path

import attrs

from lwa_core.data.dataset import Catalogue, Examples, PreparedData, Step
from lwa_core.errors import StoreError
from lwa_core.store.files import read_json, write_json
from lwa_core.store.refusals import explained

ARRAYS = "arrays.safetensors"
ACCOUNT = "data.json"
USES = ("validation", "calibration", "test")


def save_prepared(data: PreparedData, folder: Path) -> None:
    """Write prepared data to `folder`, which is made where it is missing. Raises StoreError."""
    from safetensors.numpy import save_file

    arrays = {"items": data.items, "offsets": data.offsets, "train_ends": data.train_ends}
    if data.times is not None:
        arrays["times"] = data.times
    for use in USES:
        examples: Examples = getattr(data, use)
        arrays |= {f"{use}.users": examples.users, f"{use}.positions": examples.positions}
    with explained(folder):
        folder.mkdir(parents=True, exist_ok=True)
        save_file(arrays, folder / ARRAYS)
    account = {
        "catalogue": attrs.asdict(data.catalogue),
        "user_ids": data.user_ids,
        "steps": [attrs.asdict(step) for step in data.steps],
        "facts": data.facts,
    }
    write_json(folder / ACCOUNT, account)


def load_prepared(folder: Path) -> PreparedData:
    """Read what `save_prepared` wrote. Raises StoreError if it is missing or damaged."""
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    account = read_json(folder / ACCOUNT)
    try:
        arrays = load_file(folder / ARRAYS)
        uses = {use: Examples(arrays[f"{use}.users"], arrays[f"{use}.positions"]) for use in USES}
        return PreparedData(
            _catalogue(account["catalogue"]),
            tuple(account["user_ids"]),
            arrays["items"],
            arrays["offsets"],
            arrays["train_ends"],
            **uses,
            steps=tuple(Step(**step) for step in account["steps"]),
            facts=account["facts"],
            times=arrays.get("times"),
        )
    except (OSError, SafetensorError, KeyError, TypeError) as error:
        hint = "delete the folder; it is made again"
        raise StoreError(f"cannot read the prepared data in {folder}: {error!r}", hint) from error


def _catalogue(saved: dict[str, list[str] | list[list[str]] | None]) -> Catalogue:
    ids, titles, categories = saved["ids"], saved["titles"], saved["categories"]
    assert ids is not None
    return Catalogue(
        tuple(map(str, ids)),
        None if titles is None else tuple(map(str, titles)),
        None if categories is None else tuple(tuple(names) for names in categories),
    )
