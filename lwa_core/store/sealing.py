"""Sealed folders: a manifest says which files there are, and for what; a folder that is not as it says is damaged."""

from __future__ import annotations

import errno
import json
import os
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from lwa_core.errors import StoreError
from lwa_core.store.files import file_digest, read_json, write_json

MANIFEST = "manifest.json"

UNREADABLE = (errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ELOOP, errno.EIO, errno.EINVAL, errno.ENAMETOOLONG)
"""Errors that say that what a folder is to hold is not there; others say nothing of the folder."""

LARGEST_MANIFEST = 2**26
"""Bytes; a manifest takes some hundred for each file."""


def seal(folder: Path, facts: Mapping[str, Any] | None = None) -> None:
    """Write the manifest of a finished folder: size and sha256 of every file, all on disk before the manifest is.

    Args:
        folder: Whose files are to be sealed.
        facts: What else the manifest says: what `damage` is to find there.

    Raises:
        ValueError: Something in the folder is no file of its own: a link, a socket.
    """
    files = {}
    for name, path, found in _inside(folder):
        if name == MANIFEST:
            continue
        if not stat.S_ISREG(found.st_mode):
            raise ValueError(f"{shown(name)} is no file: a result holds files of its own, and no links")
        with path.open("rb") as file:
            os.fsync(file.fileno())
        files[name] = {"bytes": found.st_size, "sha256": file_digest(path)}
    write_json(folder / MANIFEST, {**(facts or {}), "files": files})
    for name in files:
        adopt_mode(folder / name, folder / MANIFEST)


def adopt_mode(file: Path, other: Path) -> None:
    """Let those read a file who may read another one: some libraries write for their user alone, whatever the umask."""
    file.chmod(stat.S_IMODE(other.stat().st_mode))


def damage(folder: Path, facts: Mapping[str, Any] | None = None, *, contents: bool = True) -> str | None:
    """What is wrong with a sealed folder, or None where it holds just what it is to hold.

    Args:
        folder: What was sealed.
        facts: What its manifest has to say, as it was sealed with.
        contents: Whether files are read for their sha256, or only their names and sizes are looked at.

    Raises:
        StoreError: It cannot be told: this process may not read it, or has too many files open.
    """
    try:
        if not stat.S_ISDIR(folder.lstat().st_mode):
            return "it is no folder"
        wrong, expected = _manifest(folder, facts or {})
        return wrong or _difference(folder, expected, contents)
    except OSError as error:
        if error.errno not in UNREADABLE:
            raise StoreError(f"cannot read {folder}: {error.strerror}", "choose another store with --store") from error
        return f"it cannot be read ({error.strerror})"
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        return f"no readable manifest ({type(error).__name__}: {str(error)[:200]})"


def files_of(folder: Path) -> dict[str, Any]:
    """What the manifest of a sealed folder says of its files: `bytes` and `sha256`, by name. Raises StoreError."""
    return dict(read_json(folder / MANIFEST)["files"])


def shown(name: str) -> str:
    """A file's name, for people."""
    return name if name.isprintable() else ascii(name)


def _manifest(folder: Path, facts: Mapping[str, Any]) -> tuple[str | None, dict[str, Any]]:
    """What is wrong with the manifest, and the files that it names."""
    file = folder / MANIFEST
    found = file.lstat()
    if not stat.S_ISREG(found.st_mode) or found.st_size > LARGEST_MANIFEST:
        return "its manifest is no file of that kind", {}
    told = json.loads(file.read_text("utf-8"))
    for name, value in facts.items():
        if told[name] != value:
            return f"its manifest belongs to another {name}", {}
    return None, dict(told["files"])


def _difference(folder: Path, expected: dict[str, Any], contents: bool) -> str | None:
    """How a folder differs from the files that it is to hold."""
    there = {name: (path, found) for name, path, found in _inside(folder) if name != MANIFEST}
    for name in sorted(there.keys() - expected.keys()):
        return f"{shown(name)} does not belong there"
    for name, told in expected.items():
        if name not in there:
            return f"{shown(name)} is missing"
        path, found = there[name]
        if not stat.S_ISREG(found.st_mode):
            return f"{shown(name)} is no file"
        if found.st_size != told["bytes"] or (contents and file_digest(path) != told["sha256"]):
            return f"{shown(name)} does not match its checksum"
    return None


def _inside(folder: Path, prefix: str = "") -> Iterator[tuple[str, Path, os.stat_result]]:
    """Everything in a folder but folders, by name: links are not followed."""
    for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
        name = f"{prefix}{entry.name}"
        if entry.is_dir(follow_symlinks=False):
            yield from _inside(Path(entry.path), f"{name}/")
        else:
            yield name, Path(entry.path), entry.stat(follow_symlinks=False)
