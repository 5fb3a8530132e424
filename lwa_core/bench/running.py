"""Carry a benchmark out, its cells side by side, and write what was found beside what was found before."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from importlib.metadata import version
from importlib.util import find_spec
from itertools import count
from pathlib import Path
from typing import Any

import attrs

from lwa_core.bench.board import leaderboard
from lwa_core.bench.document import Bench, load_bench
from lwa_core.bench.workers import in_processes
from lwa_core.errors import LwaError
from lwa_core.pipeline.keys import code_digest, module_of
from lwa_core.plugins.registry import Registry
from lwa_core.plugins.trust import OnlyThese
from lwa_core.printable import one_line
from lwa_core.recipe.recipe import Use, provenance
from lwa_core.store.files import beside, file_digest, write_atomically
from lwa_core.store.refusals import explained
from lwa_core.store.results import Store
from lwa_core.types import Event, RunContext

Say = Callable[[str], None]


def run_bench(
    bench: Bench,
    store: Store,
    *,
    jobs: int = 1,
    scorers: Sequence[str] = (),
    block: Sequence[str] = (),
    say: Say = lambda _: None,
) -> dict[str, Any]:
    """Measure every cell and make the leaderboard. JSON-ready.

    What the store has is not measured again, so that a benchmark that was stopped goes on with the same command. Each
    cell runs in a process of its own, on one thread.

    Args:
        bench: What to compare.
        store: Where trained models, tables and answers are kept.
        jobs: Cells at a time.
        scorers: As given to `load_bench`; every process reads the file again.
        block: Likewise.
        say: Hears of every step.

    Raises:
        LwaError: A cell failed. The others are finished and stored first.
    """
    cells: dict[int, dict[str, Any]] = {}
    failures: dict[str, LwaError] = {}
    registries = [bench.registry, *(cell.recipe.registry for cell in bench.cells)]
    asked = (str(bench.file), tuple(scorers), tuple(block), local_files(registries), str(store.root))
    for number, told in in_processes(_cell, [(number, *asked) for number in range(len(bench.cells))], jobs):
        title = bench.cells[number].title
        if isinstance(told, LwaError):  # of any kind: the other cells go on
            failures[title] = told
            say(f"{title}: failed: {told}")
        else:
            cells[number] = told
            say(f"{title}: done, {len(cells)} of {len(bench.cells)}")
    if failures:
        raise _failure(failures, len(bench.cells))
    from lwa_core.measuring.performance import machine

    measured = [cells[number] for number in range(len(bench.cells))]
    return {
        "format": 1,
        "lwa": version("lwa"),
        "bench": bench.name,
        "measured": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "machine": {**machine(), "threads": 1},
        "entries": [_made_by(use) for use in bench.entries],
        "repair": _treatment(bench.repair),
        "heal": _treatment(bench.heal),
        "measure": attrs.asdict(bench.measure),
        "leaderboard": [attrs.asdict(row) for row in leaderboard(measured)],
        "cells": measured,
    }


def local_files(registries: Iterable[Registry]) -> OnlyThese:
    """The files that this process was allowed to run: the others run the same, and nothing that changed meanwhile."""
    return OnlyThese(frozenset(str(info.digest) for registry in registries for info in registry.local_files))


def _treatment(use: Use | None) -> dict[str, Any] | None:
    """What was done to the cut models, if anything was."""
    return None if use is None else {"use": use.component, **_made_by(use)}


def _made_by(use: Use) -> dict[str, Any]:
    """What an entry was: component, settings, plugin, distribution, version, digest of the code."""
    return {**provenance(use), "code_sha256": _code_sha256(use), "settings": dict(use.settings)}


def _code_sha256(use: Use) -> str | None:
    """Of the code of a component: of its package or local file, or of its own module where it is one of ours."""
    spec = find_spec(module_of(use.offer))
    ours = None if spec is None or spec.origin is None else file_digest(Path(spec.origin))
    return code_digest(use.offer) or ours


def _failure(failures: dict[str, LwaError], cells: int) -> LwaError:
    """Of several cells, by title; of the class of each, where they are of one."""
    said = "; ".join(f"{title}: {error}" for title, error in failures.items())
    hint = "the other cells are stored; the same command goes on from there"
    failure = LwaError(f"{len(failures)} of {cells} cells failed: {said}", hint)
    if len({error.exit_code for error in failures.values()}) == 1:
        first = next(iter(failures.values()))
        failure.exit_code, failure.code = first.exit_code, first.code
    return failure


def save(result: dict[str, Any], markdown: str, folder: Path) -> Path:
    """Write a result, and Markdown for people, under a name that nothing has yet; gives the path of the JSON.

    Raises:
        StoreError: They cannot be written.
    """
    # On one line: indented, the lists of layers alone make it several times as long.
    told = (json.dumps(result, allow_nan=False, ensure_ascii=False) + "\n").encode()
    with explained(folder):
        folder.mkdir(parents=True, exist_ok=True)
        file = _write_new(folder, f"{time.strftime('%Y-%m-%d-%H%M%S')}-{result['bench']}", told)
        write_atomically(file.with_suffix(".md"), markdown.encode())
    return file


def _write_new(folder: Path, stem: str, content: bytes) -> Path:
    """Write a file under the first name that is free, whole; another process may look for one at the same time."""
    temporary = beside(folder / stem)
    write_atomically(temporary, content)
    try:
        for number in count(1):
            file = folder / f"{stem if number == 1 else f'{stem}-{number}'}.json"
            if any(os.path.lexists(one) for one in (file, file.with_suffix(".md"))):
                continue
            with suppress(FileExistsError):
                _put_new(temporary, file)
                return file
    finally:
        temporary.unlink(missing_ok=True)
    raise AssertionError  # numbers do not end


def _put_new(source: Path, file: Path) -> None:
    """Give a file another name, which nothing may have. Raises FileExistsError."""
    try:
        os.link(source, file)
    except FileExistsError:
        raise
    except OSError:  # this file system has no hard links
        os.rename(source, file)


def _cell(
    number: int, file: str, scorers: Sequence[str], block: Sequence[str], allow_local: OnlyThese, root: str
) -> dict[str, Any]:
    """In a process of its own: read the file again and measure one cell."""
    from lwa_core.bench.cell import measure_cell

    bench = load_bench(Path(file), scorers, block=block, allow_local=allow_local)
    cell = bench.cells[number]
    return measure_cell(bench, cell, Store(Path(root)), [Told(cell.title)])


@attrs.define
class Told:
    """Tells on stderr what a cell does, a line a stage."""

    title: str

    def __call__(self, event: Event, run: RunContext) -> None:
        where = f"{event.stage}: " if event.stage else ""
        told = {
            "stage-finished": lambda: f"{event.stage} ({event.data['seconds']:.0f} s)",
            "warning": lambda: f"warning[{event.data['code']}]: {where}{event.message}",
            "message": lambda: f"{where}{event.message}",
        }
        if event.kind in told:
            line = one_line(f"{self.title}: {told[event.kind]()}")
            with suppress(OSError):  # nobody may read it any more
                os.write(2, f"{line}\n".encode())  # at once: lines of others stay whole
