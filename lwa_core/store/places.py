"""Places that others may have been at: lwa never follows a link that it did not make, nor removes what stands there."""

from __future__ import annotations

import os
from itertools import count
from pathlib import Path

from lwa_core.errors import StoreError
from lwa_core.store.refusals import explained


def below(root: Path, *parts: str) -> Path:
    """A path below a folder. The folder itself may be a link, what lies below it may not.

    Raises:
        StoreError: One of the parts is a link, or no folder.
    """
    if "\0" in str(root):
        raise StoreError(f"{str(root)!r} is no path", "choose another folder with --store")
    path = root
    with explained(root):
        if root.is_symlink() and not root.exists():
            raise StoreError(f"{root} is a link that leads nowhere", "choose another folder with --store")
        for part in parts:
            path = path / part
            if path.is_symlink():
                raise StoreError(f"{path} is a link, and lwa follows none inside a store", _HINT)
            if path.exists() and not path.is_dir():
                raise StoreError(f"{path} is not a folder", "move it away, or choose another folder with --store")
    return path


_HINT = "move it away, or let --store name the folder where all of the store is to be"


def assert_writable(folder: Path) -> None:
    """Raise StoreError where a folder can be neither written nor made: before the work whose results it is to hold."""
    with explained(folder):
        there = next(place for place in (folder.absolute(), *folder.absolute().parents) if os.path.lexists(place))
        if not there.is_dir():
            raise StoreError(f"{there} is not a folder", "name another one")
        if not os.access(there, os.W_OK | os.X_OK):
            raise StoreError(f"no permission to write {there}", "name another folder")


def set_aside(path: Path) -> Path:
    """Rename what stands in the way, be it a file, a folder or a link; nothing that it holds or points to is touched.

    Gives the new path: the old one with `.was-1` after it, or the next number that is free. Raises OSError.
    """
    for number in count(1):
        aside = path.with_name(f"{path.name}.was-{number}")
        if not os.path.lexists(aside):
            break
    os.rename(path, aside)
    return aside
