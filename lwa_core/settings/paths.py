"""Paths as people write them: relative to a folder, with `~`, and refused where no file system could hold them."""

from __future__ import annotations

import os
from pathlib import Path

LONGEST_NAME = 255
LONGEST_PATH = 4095
"""Bytes that Linux allows for a name and for a path; macOS allows fewer for a path."""


def resolved_path(written: str | Path, base: Path) -> Path:
    """A path that counts from `base` where it is relative; `~` and `~user` are home folders.

    Raises:
        ValueError: It cannot be the path of anything, in words that follow its name: "holds a NUL character".
    """
    if "\0" in str(written):
        raise ValueError("holds a NUL character, which no path can")
    try:
        path = base / Path(written).expanduser()
    except RuntimeError:
        raise ValueError("begins with the home folder of a user who is not known here") from None
    try:
        sizes = [len(os.fsencode(part)) for part in path.parts]
    except UnicodeEncodeError:
        raise ValueError("holds a lone surrogate, which no path can") from None
    if max(sizes, default=0) > LONGEST_NAME or sum(sizes) + len(sizes) > LONGEST_PATH:
        raise ValueError("is longer than a path can be")
    return path
