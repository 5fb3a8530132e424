"""The event log: `events.jsonl` in the run folder, one line an event."""

from __future__ import annotations

import json
import time

from lwa_core import Event, RunContext


def append(event: Event, run: RunContext) -> None:
    """Add one line. Progress is left out: it is for the eye, and there is much of it."""
    if event.kind == "progress":
        return
    line = {"time": round(time.time(), 3), "kind": event.kind, "stage": event.stage, "message": event.message}
    with (run.folder / "events.jsonl").open("a", encoding="utf-8") as file:
        file.write(json.dumps({**line, **event.data}) + "\n")
