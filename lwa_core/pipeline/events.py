"""Tell everyone who listens what happens in a run."""

from __future__ import annotations

import copy
import sys
from collections.abc import Callable, Sequence
from functools import partial

import attrs
import pluggy

from lwa_core.errors import LwaError, error_text
from lwa_core.plugins.registry import Registry
from lwa_core.types import Event, RunContext

Listener = Callable[[Event, RunContext], None]


@attrs.define
class Bus:
    """Passes events to listeners and to the plugins' `lwa_event` hooks.

    A plugin that raises is told of once and not called again; it never stops the run.
    """

    registry: Registry
    run: RunContext
    listeners: Sequence[Listener] = ()
    silent: bool = False
    """Whether nobody is told of anything: another process of the run tells it."""
    _silenced: set[str] = attrs.field(factory=set)

    def emit(self, kind: str, stage: str | None = None, message: str = "", **data: object) -> None:
        """Send an event to everyone."""
        if self.silent:
            return
        event = Event(kind, stage, message, data)
        for listener in self.listeners:
            listener(event, self.run)
        for implementation in self.registry.manager.hook.lwa_event.get_hookimpls():
            if implementation.plugin_name in self._silenced:
                continue
            try:
                self._call(implementation, event)
            except KeyboardInterrupt:
                raise
            except BaseException as error:
                self._silenced.add(implementation.plugin_name)
                said = f"lwa_event of {implementation.plugin_name} failed and is not called again: {_told(error)}"
                self.emit("warning", None, said, code="event-hook")

    def _call(self, implementation: pluggy.HookImpl, event: Event) -> None:
        """Tell one plugin, which gets a copy of its own and leaves the process as it was."""
        values = {"event": attrs.evolve(event, data=copy.deepcopy(dict(event.data))), "run": self.run}
        call = partial(implementation.function, *(values[name] for name in implementation.argnames))
        if "torch" not in sys.modules:  # a light command: nothing can be disturbed yet
            call()
            return
        from lwa_core.plugins.lending.guard import untouched_process

        with untouched_process("it"):
            call()


def _told(error: BaseException) -> str:
    return error.message if isinstance(error, LwaError) else error_text(error)


@attrs.define
class StageReporter:
    """The reporter of one stage: events for those who listen, warnings kept for the stage's result."""

    bus: Bus
    stage: str
    warnings: list[dict[str, str]] = attrs.field(factory=list)

    def progress(self, done: int, total: int, message: str = "") -> None:
        self.bus.emit("progress", self.stage, message, done=done, total=total)

    def warn(self, code: str, message: str) -> None:
        self.warnings.append({"code": code, "message": message})
        self.bus.emit("warning", self.stage, message, code=code)

    def note(self, message: str) -> None:
        self.bus.emit("message", self.stage, message)
