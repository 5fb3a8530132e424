"""Files that are never seen half-written, and digests."""

from __future__ import annotations

import hashlib
import json
import os
import re
import secrets
from pathlib import Path
from typing import Any

from lwa_core.errors import StoreError
from lwa_core.json_text import BadJsonError, parse_json
from lwa_core.store.refusals import explained


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
    write_atomically(path, readable_json(value))


def readable_json(value: Any) -> bytes:
    """JSON that a person can read."""
    return (json.dumps(value, indent=2, allow_nan=False, ensure_ascii=False) + "\n").encode()


def write_atomically(path: Path, content: bytes, *, durable: bool = True) -> None:
    """Write a file so that it is never seen half-written.

    A link that stands at `path` is replaced: what it points to is never written. With `durable` the content is on the
    disk before the name is.
    """
    with explained(path):
        temporary, handle = _open_beside(path)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(content)
                file.flush()
                if durable:
                    os.fsync(handle)
            os.replace(temporary, path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise


BESIDE = re.compile(r"\.lwa-[0-9a-f]{16}")


def beside(path: Path) -> Path:
    """A name in the same folder that nobody has yet; it matches `BESIDE`."""
    return path.with_name(f".lwa-{secrets.token_hex(8)}")


def _open_beside(path: Path) -> tuple[Path, int]:
    temporary = beside(path)
    # Not by `tempfile`, whose files are for their owner alone: who may read results is for the umask to say.
    return temporary, os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)


def read_json(path: Path) -> Any:
    """Read a JSON file. Raises StoreError if it is missing or damaged."""
    try:
        return parse_json(path.read_bytes())
    except BadJsonError as error:
        raise StoreError(f"cannot read {path}:{error.line}: {error.message}") from error
    except (OSError, ValueError) as error:
        raise StoreError(f"cannot read {path}: {getattr(error, 'strerror', None) or error}") from error
