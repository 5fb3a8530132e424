"""A folder where lwa writes beside others: it replaces and removes what it wrote itself, and nothing else.

What it wrote is in `.lwa-files.json`, by sha256. Whatever else stands where a file is to be (a link, a folder, a file
that somebody made or changed) is renamed, and no link is followed.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import attrs

from lwa_core.errors import StoreError
from lwa_core.store.files import BESIDE, beside, file_digest, read_json, readable_json, write_atomically
from lwa_core.store.locks import locked
from lwa_core.store.places import set_aside
from lwa_core.store.refusals import explained
from lwa_core.store.sealing import files_of

RECORD = ".lwa-files.json"

Say = Callable[[str], None]


def quiet(_: str) -> None:
    """Say nothing."""


@attrs.frozen
class Content:
    """What a file is to hold: bytes, or the file that has them already."""

    source: bytes | Path
    sha256: str

    @classmethod
    def of(cls, content: bytes) -> Content:
        return cls(content, hashlib.sha256(content).hexdigest())

    def is_at(self, place: Path) -> bool:
        """Whether a place holds it. No link is followed."""
        if not _is_file(place):
            return False
        if isinstance(self.source, Path) and place.samefile(self.source):
            return True
        return file_digest(place) == self.sha256

    def write(self, place: Path) -> None:
        """Put it in place whole: as a hard link to where it is already, if the file system can do that."""
        if isinstance(self.source, bytes):
            write_atomically(place, self.source)
            return
        temporary = beside(place)
        try:
            _link(self.source, temporary)
            os.replace(temporary, place)
        finally:
            temporary.unlink(missing_ok=True)


def sealed_contents(folder: Path, part: str) -> dict[str, Content]:
    """The files below `part` of a sealed folder, by their names there. Raises StoreError."""
    inside = {name: told for name, told in files_of(folder).items() if name.startswith(f"{part}/")}
    return {name.removeprefix(f"{part}/"): Content(folder / name, told["sha256"]) for name, told in inside.items()}


@attrs.frozen
class SharedFolder:
    """A folder where lwa writes beside others.

    Args:
        root: It is made where it is missing.
        say: Told of everything that stood in the way.
    """

    root: Path
    say: Say = quiet

    def holds(self, files: Mapping[str, Content]) -> bool:
        """Whether all these files are in their places."""
        return all(self._is_plain(name) and content.is_at(self.root / name) for name, content in files.items())

    def put(self, files: Mapping[str, Content], whole: Sequence[str] = ()) -> None:
        """Write files, by their paths in the folder with `/`.

        Several processes may do it at once.

        Args:
            files: What is to be there.
            whole: Folders in the folder, of which nothing else that lwa wrote is to stay.

        Raises:
            StoreError: The folder cannot be written.
        """
        with explained(self.root):
            self.root.mkdir(parents=True, exist_ok=True)
            with locked(self.root, ".lwa"):
                ours = self._record()
                inside = tuple(f"{name}/" for name in whole)
                stale = [name for name in ours if name.startswith(inside) and name not in files]
                # A kill between the two leaves the file of before or the new one: both are known to be lwa's.
                self._note({**ours, **{name: [*ours.get(name, [])[-1:], c.sha256] for name, c in files.items()}})
                self._sweep({self.root, *(parent for name in files for parent in self._parents(name))})
                for name, content in files.items():
                    self._put(name, content, ours.get(name, []))
                for name in stale:
                    self._remove(name, ours.pop(name))
                self._note({**ours, **{name: [content.sha256] for name, content in files.items()}})

    def remove(self, name: str) -> None:
        """Remove a file, if it is there as lwa wrote it. Raises StoreError."""
        with explained(self.root), locked(self.root, ".lwa"):
            ours = self._record()
            self._remove(name, ours.pop(name, []))
            self._note(ours)

    def _sweep(self, folders: set[Path]) -> None:
        """Remove what processes left that were killed while they wrote a file: whoever holds the lock is alone here."""
        for folder in folders:
            if folder.is_dir() and not folder.is_symlink():
                for path in folder.iterdir():
                    if BESIDE.fullmatch(path.name) and _is_file(path):
                        path.unlink()

    def _put(self, name: str, content: Content, ours: list[str]) -> None:
        self._make_parents(name)
        place = self.root / name
        if content.is_at(place):
            return
        if os.path.lexists(place) and not _is_one_of(place, ours):
            self._set_aside(place)
        content.write(place)

    def _make_parents(self, name: str) -> None:
        for parent in self._parents(name):
            if parent.is_symlink() or (parent.exists() and not parent.is_dir()):
                self._set_aside(parent)
            parent.mkdir(exist_ok=True)

    def _remove(self, name: str, ours: list[str]) -> None:
        place = self.root / name
        if not self._is_plain(name) or not _is_one_of(place, ours):
            return
        place.unlink()
        for parent in reversed(self._parents(name)):
            if not any(parent.iterdir()):
                parent.rmdir()

    def _set_aside(self, place: Path) -> None:
        self.say(f"{place} is not as lwa wrote it; it is kept as {set_aside(place).name}")

    def _parents(self, name: str) -> list[Path]:
        """The folders that lead to a file, from the outside in."""
        parts = PurePosixPath(name).parts
        return [self.root.joinpath(*parts[:depth]) for depth in range(1, len(parts))]

    def _is_plain(self, name: str) -> bool:
        """Whether the way to a file stays inside and takes no link."""
        inside = not PurePosixPath(name).is_absolute() and ".." not in PurePosixPath(name).parts
        return inside and not any(parent.is_symlink() or not parent.is_dir() for parent in self._parents(name))

    def _record(self) -> dict[str, list[str]]:
        """What lwa wrote here: the digests that each file may have. Nothing, where that cannot be read."""
        file = self.root / RECORD
        try:
            told: Any = read_json(file) if _is_file(file) else {}
            return {str(name): [str(digest) for digest in digests] for name, digests in told["files"].items()}
        except (StoreError, KeyError, TypeError, AttributeError):
            return {}

    def _note(self, ours: Mapping[str, list[str]]) -> None:
        if ours != self._record():
            if os.path.lexists(self.root / RECORD) and not _is_file(self.root / RECORD):
                self._set_aside(self.root / RECORD)
            told = readable_json({"format": 1, "files": dict(sorted(ours.items()))})
            write_atomically(self.root / RECORD, told, durable=False)


def _is_file(place: Path) -> bool:
    """Whether a place holds a file of its own: no link, folder or pipe."""
    try:
        return stat.S_ISREG(place.lstat().st_mode)
    except OSError:
        return False


def _is_one_of(place: Path, digests: list[str]) -> bool:
    """Whether a place holds a file with one of these contents."""
    return _is_file(place) and file_digest(place) in digests


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)
