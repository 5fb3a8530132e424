"""Files that are never seen half-written, and digests."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lwa_core.errors import StoreError
from lwa_core.json_text import BadJsonError, parse_json


def canonical_json(value: Any) -> str:
    """One spelling for equal values: sorted keys, no spaces, no NaN."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False, ensure_ascii=True)


def digest(value: Any) -> str:
    """sha256 of the canonical JSON of `value`."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()


def file_digest(path: Path) -> str:
    """sha256 of a file's bytes."""
    sha = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            sha.update(block)
    return sha.hexdigest()


def write_json(path: Path, value: Any) -> None:
    """Write JSON that a person can read, through a temporary file and a rename."""
    text = json.dumps(value, indent=2, allow_nan=False, ensure_ascii=False) + "\n"
    write_atomically(path, text.encode())


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file so that it is never seen half-written."""
    with explained(path), tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as file:
        try:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
            os.chmod(file.name, 0o644)
            os.replace(file.name, path)
        except BaseException:
            Path(file.name).unlink(missing_ok=True)
            raise


def read_json(path: Path) -> Any:
    """Read a JSON file. Raises StoreError if it is missing or damaged."""
    try:
        return parse_json(path.read_bytes())
    except BadJsonError as error:
        raise StoreError(f"cannot read {path}:{error.line}: {error.message}") from error
    except (OSError, ValueError) as error:
        raise StoreError(f"cannot read {path}: {getattr(error, 'strerror', None) or error}") from error


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turn what the file system refuses into a StoreError that says what to do."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            hint = "free some space or choose another store with --store; what is finished is kept"
            raise StoreError(f"no space left to write {path}", hint) from error
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise StoreError(f"no permission to write {path}", "choose another folder with --store") from error
        raise StoreError(f"cannot write {path}: {error}") from error
