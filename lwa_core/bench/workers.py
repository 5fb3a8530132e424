"""Work in processes of its own, a few at a time: one that is killed takes no other with it."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnContext
from typing import Any, cast

from lwa_core.errors import LwaError
from lwa_core.measuring.fresh_process import apart
from lwa_core.training.parent import end_with

PATIENCE = 2.0
"""Seconds that a process has to end in once it is told to."""


def in_processes(
    work: Callable[..., Any], tasks: Sequence[tuple[Any, ...]], jobs: int
) -> Iterator[tuple[int, Any | LwaError]]:
    """Each task's number and result, or why there is none, in the order in which they are done.

    Processes that still run when this is left, by an exception or an interruption, are ended; they end as well when
    this process is killed.

    Args:
        work: A function of a module.
        tasks: Its arguments, each time it is called.
        jobs: Processes at a time; each does one task.
    """
    context = get_context("spawn")
    with apart():
        yield from _in_processes(context, work, tasks, jobs)


def _in_processes(
    context: SpawnContext, work: Callable[..., Any], tasks: Sequence[tuple[Any, ...]], jobs: int
) -> Iterator[tuple[int, Any | LwaError]]:
    waiting = list(enumerate(tasks))
    running: dict[Any, tuple[int, Any]] = {}
    try:
        while waiting or running:
            while waiting and len(running) < jobs:
                number, task = waiting.pop(0)
                ours, theirs = context.Pipe()
                process = context.Process(target=_do, args=(theirs, os.getpid()))
                process.start()
                theirs.close()
                running[ours] = number, process
                with suppress(ConnectionError):  # it is gone already: how it ended is read below
                    ours.send((work, task))
            for ours in cast("list[Connection]", wait(list(running))):
                number, process = running.pop(ours)
                yield number, _outcome(ours, process)
    finally:
        _end([process for _, process in running.values()])


def _do(asking: Connection, parent: int) -> None:
    """In the process: what it came to, or the words of what went wrong.

    What is asked comes over the connection, not with the process: that imports what takes long, and the parent may end
    meanwhile.
    """
    end_with(parent)
    for name in ("SIGINT", "SIGHUP"):  # a terminal sends them to all of its processes; the parent ends this one
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    try:
        work, task = asking.recv()
        told = work(*task)
    except LwaError as error:
        told = LwaError(error.message, error.hint)
        told.exit_code, told.code = error.exit_code, error.code
    except BaseException as error:
        told = LwaError(f"{type(error).__name__}: {error}")
    asking.send(told)


def _outcome(asked: Connection, process: Any) -> Any | LwaError:
    try:
        told = asked.recv()
    except (EOFError, OSError):
        process.join()
        code = process.exitcode
        how = f"was ended by signal {-code}" if code < 0 else f"ended with {code}"
        return LwaError(f"its process {how}" + (" (too little memory?)" if code == -signal.SIGKILL else ""))
    process.join()
    return told


def _end(processes: Sequence[Any]) -> None:
    for process in processes:
        process.terminate()
    for process in processes:
        process.join(PATIENCE)
        if process.is_alive():
            process.kill()
            process.join()
