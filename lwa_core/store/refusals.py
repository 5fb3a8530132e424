"""What a file system refuses, whichever library was writing: recognised, and put in words."""

from __future__ import annotations

import errno
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lwa_core.errors import StoreError

SHORTAGES = {
    errno.ENOSPC: "no space left",
    errno.EDQUOT: "the disk quota is used up",
    errno.EFBIG: "a file is larger than this system allows (ulimit -f says how large one may be)",
}

FORBIDDEN = (errno.EACCES, errno.EPERM, errno.EROFS)

CUT_SHORT = re.compile(
    r"inline_container\.cc.*(unexpected pos|failed writing|write failed)"  # torch.save keeps the reason to itself
    r"|^\d+ requested and \d+ written$",  # and so does numpy.save
    re.DOTALL,
)

RUST_CODE = re.compile(r"\(os error (\d+)\)")


def shortage(error: BaseException) -> str | None:
    """Why the disk took no more, if that is what an error or anything that led to it is about.

    Libraries that write in C++ or Rust give no errno: the text says it, or just that less was written than asked for.
    """
    return next(filter(None, map(_own_shortage, _chain(error))), None)


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turn what the file system refuses into a StoreError that says what to do."""
    try:
        with shortage_explained(path):
            yield
    except OSError as error:
        if error.errno in FORBIDDEN:
            raise StoreError(f"no permission to write {path}", "choose another folder with --store") from error
        raise StoreError(f"cannot write {path}: {error.strerror or error}") from error


@contextmanager
def shortage_explained(path: Path) -> Iterator[None]:
    """Inside a stage only a full disk is the store's business; other errors are the stage's own."""
    try:
        yield
    except StoreError:
        raise
    except Exception as error:
        if (explanation := shortage_error(error, path)) is not None:
            raise explanation from error
        raise


def shortage_error(error: Exception, path: Path | None = None) -> StoreError | None:
    """What to raise where a disk took no more.

    Args:
        error: What went wrong.
        path: What was to be written, as far as that is known; an error that names a file knows better.
    """
    wrong = shortage(error)
    if wrong is None:
        return None
    place = _written(error) or path
    if place is None:
        return StoreError(f"{wrong}: the output cannot be written", "free some space")
    return StoreError(f"{wrong}: cannot write {place}", _hint(place, path or place))


def _hint(place: Path, path: Path) -> str:
    temporary = tempfile.tempdir  # None where nothing asked for one yet: looking for one writes a file
    if temporary and place.is_relative_to(temporary) and not path.is_relative_to(temporary):
        return f"free some space in {temporary}, or let TMPDIR name another folder; what is finished is kept"
    return (
        f"{_free(place)}free some space (in a store: folders under results that you no longer need, and *.was-*) "
        "or choose another store with --store; what is finished is kept"
    )


def _free(place: Path) -> str:
    there = next((folder for folder in place.parents if folder.is_dir()), None)
    return "" if there is None else f"{shutil.disk_usage(there).free / 1e6:.1f} MB are free there: "


def _written(error: BaseException) -> Path | None:
    """The file that could not be written, where an error names it."""
    names = [each.filename for each in _chain(error) if isinstance(each, OSError) and isinstance(each.filename, str)]
    return Path(names[0]) if names else None


def _chain(error: BaseException) -> list[BaseException]:
    """An error and all that led to it."""
    found: list[BaseException] = []
    waiting: list[BaseException | None] = [error]
    while waiting:
        one = waiting.pop()
        if one is not None and one not in found:
            found.append(one)
            waiting += [one.__context__, one.__cause__]
    return found


def _own_shortage(error: BaseException) -> str | None:
    if isinstance(error, OSError) and error.errno in SHORTAGES:
        return SHORTAGES[error.errno]
    text = str(error)
    said = {int(code) for code in RUST_CODE.findall(text)}
    for code, words in SHORTAGES.items():
        if code in said or os.strerror(code) in text:
            return words
    return "less was written than was to be" if CUT_SHORT.search(text) else None
