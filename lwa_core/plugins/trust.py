"""Which Python files that a recipe names may be run: those whose content somebody has allowed, and remembered here.

What is remembered is the sha256 of a file's bytes, and those very bytes are run: a changed file is another one. A file
that a recipe names is run alone, and nothing beside it can be imported by its name, so that its own digest tells what
runs.
"""

from __future__ import annotations

import json
import os
import re
import stat
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

import attrs

Allowing: TypeAlias = bool | Callable[[Path, str], bool]
"""Whether local files may be run: all, none, or what is said of a file and the sha256 of its content."""

LINE = re.compile(r"([0-9a-f]{64}) ")


@attrs.frozen
class OnlyThese:
    """Allows the files whose digests were allowed before: what another process is told."""

    digests: frozenset[str]

    def __call__(self, file: Path, digest: str) -> bool:
        return digest in self.digests


def trust_file() -> Path | None:
    """Where this user's allowed digests are kept; None where the user has no home folder."""
    try:
        state = os.environ.get("XDG_STATE_HOME") or str(Path.home() / ".local" / "state")
    except RuntimeError:
        return None
    return Path(state) / "lwa" / "trusted-files" if os.path.isabs(state) else None


def trusted() -> frozenset[str]:
    """The digests that this user allowed. Lines that are damaged, and a file that others could write, say nothing."""
    file = trust_file()
    if file is None:
        return frozenset()
    try:
        with os.fdopen(os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as opened:
            if not _is_own(os.fstat(opened.fileno())):
                return frozenset()
            text = opened.read().decode("utf-8", "replace")
    except OSError:
        return frozenset()
    return frozenset(found[1] for line in text.split("\n") if (found := LINE.match(line)))


def remember(file: Path, digest: str) -> bool:
    """Keep an allowed digest, with the path for people to read. Gives whether it could be kept.

    One write at the end of the file: several processes may do so at a time.
    """
    kept = trust_file()
    if kept is None:
        return False
    try:
        kept.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        opened = os.open(kept, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK, 0o600)
        try:
            found = os.fstat(opened)
            if not _is_own(found):
                return False
            # After a line that was cut off, as by a full disk, a new one begins.
            cut = found.st_size > 0 and os.pread(opened, 1, found.st_size - 1) != b"\n"
            os.write(opened, f"{chr(10) * cut}{digest} {json.dumps(str(file))}\n".encode())
        finally:
            os.close(opened)
    except (OSError, ValueError):
        return False
    return True


def _is_own(found: os.stat_result) -> bool:
    """A plain file of this user that nobody else may write."""
    mine = found.st_uid == os.geteuid()
    return stat.S_ISREG(found.st_mode) and mine and not found.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
