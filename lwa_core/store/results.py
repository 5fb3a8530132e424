"""Content-addressed results: a folder that is present is complete.

    results/KIND/KEY/    the files of one result, and manifest.json with the sha256 of each
    work/KIND/KEY/       what an unfinished stage needs to go on (training checkpoints)
    locks/               one lock a key, so that two runs never compute the same thing at once

The folders are those of the store. A result is written to a temporary folder on the same file system, its files and
manifest are fsynced, then the folder is renamed. A kill at any moment leaves either no result or a whole one.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import attrs

from lwa_core.store.files import explained, file_digest, write_json

MANIFEST = "manifest.json"


def seal(folder: Path, facts: Mapping[str, Any] | None = None) -> None:
    """Write the manifest of a finished folder: size and sha256 of every file, all on disk before the manifest is."""
    files = {}
    for path in sorted(p for p in folder.rglob("*") if p.is_file() and p.name != MANIFEST):
        with path.open("rb") as file:
            os.fsync(file.fileno())
        files[path.relative_to(folder).as_posix()] = {"bytes": path.stat().st_size, "sha256": file_digest(path)}
    write_json(folder / MANIFEST, {**(facts or {}), "files": files})


def damage(folder: Path) -> str | None:
    """What is wrong with a sealed folder, or None: every file there, with the size and sha256 of the manifest."""
    try:
        manifest = json.loads((folder / MANIFEST).read_text("utf-8"))
        for name, expected in manifest["files"].items():
            path = folder / name
            if not path.is_file():
                return f"{name} is missing"
            if path.stat().st_size != expected["bytes"] or file_digest(path) != expected["sha256"]:
                return f"{name} does not match its checksum"
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        return f"no readable manifest ({error})"
    return None


@attrs.frozen
class Store:
    """Results by kind and key, under one folder."""

    root: Path

    def path(self, kind: str, key: str) -> Path:
        return self.root / "results" / kind / key

    def has(self, kind: str, key: str) -> bool:
        """Whether a result is there (its checksums are looked at when it is used)."""
        return (self.path(kind, key) / MANIFEST).is_file()

    def workspace(self, kind: str, key: str) -> Path:
        """The folder of an unfinished stage; it survives a kill and goes when the result is stored."""
        path = self.root / "work" / kind / key
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
        on_wait: Callable[[], None] | None = None,
    ) -> tuple[Path, bool]:
        """The folder of a result, made by `make(folder)` if it is not there; and whether it was there already.

        A stored result that fails its checksums is reported through `on_damage`, set aside and made again. While
        another process makes the same result, this one waits (`on_wait` is called once).
        """
        target = self.path(kind, key)
        with self._lock(kind, key, on_wait):
            if self.has(kind, key):
                wrong = damage(target)
                if wrong is None:
                    return target, True
                if on_damage is not None:
                    on_damage(f"stored result {kind}/{key[:12]} is damaged ({wrong}); it is made again")
                with explained(target):
                    shutil.rmtree(target)
            with explained(target):
                target.parent.mkdir(parents=True, exist_ok=True)
                # Left by a process that was killed: whoever holds the lock is the only one at work on this key.
                for leftover in [target, *target.parent.glob(f".{key[:12]}-*")]:
                    if leftover.exists():
                        shutil.rmtree(leftover)
                temporary = Path(tempfile.mkdtemp(prefix=f".{key[:12]}-", dir=target.parent))
            try:
                with _no_space_explained(target):
                    make(temporary)
                with explained(target):
                    seal(temporary, {"kind": kind, "key": key, **(facts or {})})
                    os.chmod(temporary, 0o755)
                    os.replace(temporary, target)
                    _fsync_folder(target.parent)
            except BaseException:
                shutil.rmtree(temporary, ignore_errors=True)
                raise
            shutil.rmtree(self.root / "work" / kind / key, ignore_errors=True)
            return target, False

    @contextmanager
    def _lock(self, kind: str, key: str, on_wait: Callable[[], None] | None) -> Iterator[None]:
        import filelock  # no command that only looks needs it, and it takes longer to load than they have

        folder = self.root / "locks"
        with explained(folder):
            folder.mkdir(parents=True, exist_ok=True)
            lock = filelock.FileLock(folder / f"{kind}-{key}.lock")
            try:
                lock.acquire(timeout=0)
            except filelock.Timeout:
                if on_wait is not None:
                    on_wait()
                lock.acquire()
        try:
            yield
        finally:
            lock.release()


@contextmanager
def _no_space_explained(path: Path) -> Iterator[None]:
    """Inside a stage only a full disk is the store's business; other OSErrors are the stage's own."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            with explained(path):
                raise
        raise


def _fsync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
