"""Sizes and sha256 of the files of a folder, written beside them and compared when they are read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from os.path import isfile
from pathlib import Path
from typing import Any, TypeAlias

from lwa_core.store.files import file_digest

Checksums: TypeAlias = Mapping[str, Mapping[str, Any]]

READ = (".json", ".safetensors")
"""Endings of files that a loader may look for on its own."""


DIGITS = 12
"""Of a sha256 that is told to people."""


def fingerprint(file: Path) -> str:
    """First digits of the sha256 of a file that holds the checksums of all others."""
    return file_digest(file)[:DIGITS]


def checksums(folder: Path, *, but: str) -> Checksums:
    """Size and sha256 of every file in a folder but the one that is to hold them."""
    return {
        path.relative_to(folder).as_posix(): {"bytes": path.stat().st_size, "sha256": file_digest(path)}
        for path in sorted(_files(folder))
        if path != folder / but
    }


def difference(folder: Path, said: Any, *, holder: str, others: tuple[str, ...] = ()) -> str | None:
    """What in a folder is not as the checksums say, or None.

    Args:
        folder: The folder.
        said: What was written of it.
        holder: The file that holds the checksums.
        others: Files that others may have put there later.
    """
    if not isinstance(said, dict) or not all(_is_entry(entry) for entry in said.values()):
        return f"{holder} lists its files in another form"
    for name, entry in said.items():
        path = folder / name
        if not _is_inside(name) or not isfile(path):  # a name may be longer than any file's
            return f"{name} is missing"
        if path.stat().st_size != entry["bytes"] or file_digest(path) != entry["sha256"]:
            return f"{name} is not the file that was saved"
    known = {*said, holder, *others}
    there = (path.relative_to(folder).as_posix() for path in sorted(_files(folder)) if path.suffix in READ)
    return next((f"{name} was put there later" for name in there if name not in known), None)


def _files(folder: Path) -> Iterator[Path]:
    return (path for path in folder.rglob("*") if path.is_file())


def _is_inside(name: str) -> bool:
    return not Path(name).is_absolute() and ".." not in Path(name).parts and "\0" not in name


def _is_entry(entry: Any) -> bool:
    return isinstance(entry, dict) and type(entry.get("bytes")) is int and isinstance(entry.get("sha256"), str)
