"""The event log: `events.jsonl` in the run folder, one line an event."""

from __future__ import annotations

import json
import time
from pathlib import Path

from lwa_core import Event, RunContext


def append(event: Event, run: RunContext) -> None:
    """Add one line. Progress is left out: it is for the eye, and there is much of it."""
    if event.kind == "progress":
        return
    line = {"time": round(time.time(), 3), "kind": event.kind, "stage": event.stage, "message": event.message}
    with _own(run.folder / "events.jsonl").open("a", encoding="utf-8") as file:
        file.write(json.dumps({**line, **event.data}) + "\n")


def _own(file: Path) -> Path:
    """The file, which must be one that no other place shares: what is appended would show there as well."""
    if file.is_symlink() or (file.exists() and not file.is_file()):
        raise OSError(f"{file} is no file of its own")
    if file.exists() and file.stat().st_nlink > 1:  # as a backup made of hard links leaves it
        content = file.read_bytes()
        file.unlink()
        file.write_bytes(content)
    return file
