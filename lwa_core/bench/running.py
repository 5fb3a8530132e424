"""Carry a benchmark out, its cells side by side, and write what was found beside what was found before."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from importlib.metadata import version
from importlib.util import find_spec
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import attrs

from lwa_core.bench.board import leaderboard
from lwa_core.bench.document import Bench, load_bench
from lwa_core.errors import LwaError
from lwa_core.pipeline.keys import code_digest
from lwa_core.recipe.recipe import Use, provenance
from lwa_core.store.files import file_digest, write_atomically
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
    allow_local: bool = True,
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
        allow_local: Likewise.
        say: Hears of every step.

    Raises:
        LwaError: A cell failed. The others are finished and stored first.
    """
    cells: dict[int, dict[str, Any]] = {}
    failures = []
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn"), max_tasks_per_child=1) as pool:
        asked = (str(bench.file), tuple(scorers), tuple(block), allow_local, str(store.root))
        waiting = {pool.submit(_cell, number, *asked): number for number in range(len(bench.cells))}
        for done in as_completed(waiting):
            number = waiting[done]
            title = bench.cells[number].title
            try:
                cells[number] = done.result()
                say(f"{title}: done, {len(cells)} of {len(bench.cells)}")
            except Exception as error:  # of any kind: the other cells go on
                failures.append(f"{title}: {error}")
                say(f"{title}: failed: {error}")
    if failures:
        hint = "the other cells are stored; the same command goes on from there"
        raise LwaError(f"{len(failures)} of {len(bench.cells)} cells failed: {'; '.join(failures)}", hint)
    from lwa_core.measuring.performance import machine

    measured = [cells[number] for number in range(len(bench.cells))]
    return {
        "format": 1,
        "lwa": version("lwa"),
        "bench": bench.name,
        "measured": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "machine": {**machine(), "threads": 1},
        "entries": [_made_by(use) for use in bench.entries],
        "heal": None if bench.heal is None else {"use": bench.heal.component, **_made_by(bench.heal)},
        "measure": attrs.asdict(bench.measure),
        "leaderboard": [attrs.asdict(row) for row in leaderboard(measured)],
        "cells": measured,
    }


def _made_by(use: Use) -> dict[str, Any]:
    """What an entry was: component, settings, plugin, distribution, version, digest of the code."""
    return {**provenance(use), "code_sha256": _code_sha256(use), "settings": dict(use.settings)}


def _code_sha256(use: Use) -> str | None:
    """Of the code of a component: of its package or local file, or of its own module where it is one of ours."""
    target = use.offer.component.target
    spec = find_spec(target.partition(":")[0] if isinstance(target, str) else target.__module__)
    ours = None if spec is None or spec.origin is None else file_digest(Path(spec.origin))
    return code_digest(use.offer) or ours


def save(result: dict[str, Any], folder: Path) -> Path:
    """Write a result under a name that no earlier one has; earlier ones are never touched."""
    folder.mkdir(parents=True, exist_ok=True)
    stem = f"{time.strftime('%Y-%m-%d-%H%M%S')}-{result['bench']}"
    file = folder / f"{stem}.json"
    number = 1
    while file.exists():
        number += 1
        file = folder / f"{stem}-{number}.json"
    # On one line: indented, the lists of layers alone make it several times as long. Markdown beside it is for people.
    write_atomically(file, (json.dumps(result, allow_nan=False, ensure_ascii=False) + "\n").encode())
    return file


def _cell(
    number: int, file: str, scorers: Sequence[str], block: Sequence[str], allow_local: bool, root: str
) -> dict[str, Any]:
    """In a process of its own: read the file again and measure one cell."""
    from lwa_core.bench.cell import measure_cell

    bench = load_bench(Path(file), scorers, block=block, allow_local=allow_local)
    cell = bench.cells[number]
    return measure_cell(bench, cell, Store(Path(root)), [_Lines(cell.title)])


@attrs.define
class _Lines:
    """Tells on stderr what a cell does, a line a stage."""

    title: str

    def __call__(self, event: Event, run: RunContext) -> None:
        if event.kind in ("stage-finished", "warning", "message"):
            took = f" ({event.data['seconds']:.0f} s)" if event.kind == "stage-finished" else ""
            os.write(2, f"{self.title}: {event.stage or event.message}{took}\n".encode())
