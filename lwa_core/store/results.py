"""Content-addressed results: a folder that is present is complete.

    results/KIND/KEY/    the files of one result, and manifest.json with the sha256 of each
    work/KIND/KEY/       what an unfinished stage needs to go on (training checkpoints)
    locks/               one lock a key, so that two runs never compute the same thing at once

The folders are those of the store. A result is written to a temporary folder on the same file system, its files and
manifest are fsynced, then the folder is renamed. A kill at any moment leaves either no result or a whole one.

A folder is a result where it holds the files that its manifest names and no others, and the manifest was written for
this kind and key. Anything else is renamed, never removed: it may hold what somebody else put there.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import attrs

from lwa_core.store.locks import locked
from lwa_core.store.places import below, set_aside
from lwa_core.store.refusals import explained, shortage_explained
from lwa_core.store.sealing import damage, seal


@attrs.frozen
class Store:
    """Results by kind and key, under one folder."""

    root: Path

    def path(self, kind: str, key: str) -> Path:
        return self.root / "results" / kind / key

    def has(self, kind: str, key: str) -> bool:
        """Whether a result is there, by its names and sizes (its checksums are looked at when it is used)."""
        return damage(self.path(kind, key), {"kind": kind, "key": key}, contents=False) is None

    def find(self, kind: str, key: str) -> Path | None:
        """The folder of a result, if it is there and whole."""
        path = self.path(kind, key)
        return path if damage(path, {"kind": kind, "key": key}) is None else None

    def workspace(self, kind: str, key: str) -> Path:
        """The folder of an unfinished stage; it survives a kill and goes when the result is stored."""
        path = below(self.root, "work", kind, key)
        with explained(path):
            path.mkdir(parents=True, exist_ok=True)
        return path

    def get_or_make(
        self,
        kind: str,
        key: str,
        make: Callable[[Path], None],
        *,
        facts: Mapping[str, Any] | None = None,
        on_damage: Callable[[str], None] | None = None,
        on_wait: Callable[[str], None] | None = None,
    ) -> tuple[Path, bool]:
        """The folder of a result, made by `make(folder)` if it is not there; and whether it was there already.

        A stored result that is damaged is reported through `on_damage`, set aside and made again. While another process
        makes the same result, this one waits (`on_wait` is told once who that is).

        Raises:
            StoreError: The disk is full, or the store cannot be written.
        """
        below(self.root, "results", kind)
        target, sealed = self.path(kind, key), {"kind": kind, "key": key}
        with locked(below(self.root, "locks"), f"{kind}-{key}", on_wait):
            if os.path.lexists(target):
                wrong = damage(target, sealed)
                if wrong is None:
                    self._forget_work(kind, key)  # a process may have been killed before it did
                    return target, True
                with explained(target):
                    aside = set_aside(target)
                if on_damage is not None:
                    what = f"stored result {kind}/{key[:12]} is damaged ({wrong})"
                    on_damage(f"{what}; it is made again, and what was there is kept in {aside}")
            self._make(target, make, {**(facts or {}), **sealed})
            self._forget_work(kind, key)
            return target, False

    def _make(self, target: Path, make: Callable[[Path], None], facts: Mapping[str, Any]) -> None:
        with explained(target):
            temporary = _fresh_folder(target)
        try:
            with shortage_explained(target):
                make(temporary)
                seal(temporary, facts)
            with explained(target):
                os.replace(temporary, target)
                _fsync_folder(target.parent)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise

    def _forget_work(self, kind: str, key: str) -> None:
        place = self.root / "work" / kind / key
        if not any(path.is_symlink() for path in (place, *place.parents[:2])):
            shutil.rmtree(place, ignore_errors=True)


def _fresh_folder(target: Path) -> Path:
    """An empty folder beside a result that is to be made; those that killed processes left for it are removed.

    Whoever holds the lock of a key is the only one at work on it: the name is made of the whole key.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    prefix = f".{hashlib.sha256(target.name.encode()).hexdigest()[:24]}-"
    for leftover in target.parent.glob(f"{prefix}*"):
        if leftover.is_dir() and not leftover.is_symlink():
            shutil.rmtree(leftover)
    temporary = target.with_name(prefix + secrets.token_hex(8))
    temporary.mkdir()
    return temporary


def _fsync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
