"""What is seen of a run while it goes: bars with the time left on a terminal, plain lines elsewhere. All on stderr."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import Any

from lwa_core.cli._terminal import echo
from lwa_core.printable import one_line
from lwa_core.types import Event, RunContext

EVERY = 15.0
"""Seconds between two lines about the progress of one stage, where there is no terminal."""


class Progress:
    """A listener for the events of a run; use it as a context manager."""

    def __init__(self) -> None:
        self._bars: Any = None
        self._task: Any = None
        self._last = 0.0

    def __enter__(self) -> Progress:
        if sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
            from rich.progress import Progress as Bars

            self._bars = Bars(
                TextColumn("{task.description}", markup=False),  # names of others may hold what rich takes for markup
                BarColumn(),
                MofNCompleteColumn(),
                TimeElapsedColumn(),
                TextColumn("left"),
                TimeRemainingColumn(),
                console=Console(stderr=True, emoji=False),
                transient=True,
            )
            self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bars is not None:
            self._bars.stop()

    def __call__(self, event: Event, run: RunContext) -> None:
        told = {
            "run-started": lambda: f"run {run.folder}",
            "stage-started": lambda: f"{event.stage} …",
            "stage-finished": lambda: f"{event.stage}: done in {event.data['seconds']:.1f} s",
            "stage-reused": lambda: f"{event.stage}: stored already",
            "message": lambda: f"{event.stage}: {event.message}",
            "warning": lambda: f"warning[{event.data['code']}]: {event.message}",
        }
        if event.kind == "progress":
            self._progress(event)
        elif event.kind in told and not (event.kind == "stage-started" and self._bars is not None):
            self._close()
            self._say(told[event.kind]())

    def _progress(self, event: Event) -> None:
        done, total = event.data["done"], event.data["total"]
        text = f"{event.stage}: {event.message}" if event.message else str(event.stage)
        if self._bars is not None:
            if self._task is None or self._bars.tasks[-1].total != total:
                self._close()
                self._task = self._bars.add_task(one_line(text), total=total)
            self._bars.update(self._task, completed=done, description=one_line(text))
        elif time.monotonic() - self._last >= EVERY:
            self._last = time.monotonic()
            self._say(f"{text}: {done} of {total}")

    def _close(self) -> None:
        if self._task is not None:
            self._bars.remove_task(self._task)
            self._task = None
        self._last = time.monotonic()

    def _say(self, line: str) -> None:
        if self._bars is not None:
            self._bars.console.print(one_line(line), markup=False, highlight=False)
        else:
            echo(one_line(line), err=True)
