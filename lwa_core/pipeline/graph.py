"""Stages, and the walk through them: each names its inputs, and the order follows from that.

A stage's key is the digest of its kind and version, of the component that it runs, of what is asked of it, and of the
keys of its inputs. `version` goes up whenever the core's own code gives another result for the same inputs: a key then
holds everything that a result depends on.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Generic, TypeVar, cast

import attrs

from lwa_core.errors import LwaError, StageError, StoreError, error_text
from lwa_core.pipeline.events import Bus, StageReporter
from lwa_core.pipeline.keys import component_facts
from lwa_core.plugins.code import OURS
from lwa_core.recipe.recipe import Recipe, Use
from lwa_core.store.files import digest, read_json, write_json
from lwa_core.store.results import Store
from lwa_core.training import processes

T = TypeVar("T")

Inputs = Mapping[str, "Stage[Any] | tuple[Stage[Any], ...]"]

ValueOf = Callable[["Stage[Any]"], Any]
"""Gives the result of a stage that lies before."""

WARNINGS = "stage.json"

IN_THE_CORE = "_lwa_in_the_core"
"""Mark of an exception that `core_part` let through."""

MAKE = "make"
"""What the first process tells the others when a stage is to be made together."""


@attrs.frozen(eq=False, slots=False)
class Stage(Generic[T]):
    """One step whose result the store holds under `kind` and `key`.

    Args:
        name: What progress, plans and errors call it.
        kind: Of its result: what is written and how it is read.
        version: Goes up when the core's code changes the results of this kind.
        make: Writes the result into the folder of the job.
        read: The result, from the folder that holds it.
        inputs: The stages whose results it needs, by what they are to it.
        asked: What else the result depends on, JSON-ready: settings of the core, the seed, digests of files.
        use: The component that it runs.
        expand: The stages that follow from its result, where that says which there are.
        promises: What is to be shown of them while that is not known: their names and components.
        collective: With several processes, all of them make it together.
    """

    name: str
    kind: str
    version: int
    make: Callable[[Job], None]
    read: Callable[[Path], T]
    inputs: Inputs = attrs.field(factory=dict)
    asked: Mapping[str, Any] = attrs.field(factory=dict)
    use: Use | None = None
    expand: Callable[[T, ValueOf], Sequence[Stage[Any]]] | None = None
    promises: Sequence[tuple[str, Use | None]] = ()
    collective: bool = False

    @cached_property
    def key(self) -> str:
        """Digest of all that the result depends on."""
        return digest(
            {
                "kind": self.kind,
                "version": self.version,
                "component": None if self.use is None else component_facts(self.use),
                "asked": dict(self.asked),
                "inputs": {
                    role: stage.key if isinstance(stage, Stage) else [[each.name, each.key] for each in stage]
                    for role, stage in self.inputs.items()
                },
            }
        )

    @property
    def before(self) -> list[Stage[Any]]:
        """Every input."""
        found: list[Stage[Any]] = []
        for stage in self.inputs.values():
            found += [stage] if isinstance(stage, Stage) else stage
        return found

    def stored(self, store: Store) -> T | None:
        """The result, if the store has it, whole."""
        folder = store.find(self.kind, self.key)
        return None if folder is None else self.read_from(folder)

    def read_from(self, folder: Path) -> T:
        """The result that a folder holds. Raises StoreError where its files are whole, but not what was written."""
        try:
            return self.read(folder)
        except LwaError:
            raise
        except Exception as error:
            wrong = f"{type(error).__name__}: {error}"
            hint = f"remove {folder}, and it is made again"
            raise StoreError(f"the stored result of '{self.name}' cannot be read: {wrong}", hint) from error


def given(name: str, value: T) -> Stage[T]:
    """A stage whose result is there already, in memory."""
    return Stage(name, "given", 0, lambda _: None, lambda _: value, asked={"name": name})


def all_stored(stages: Sequence[Stage[Any]], store: Store) -> bool:
    """Whether a store has the results of these stages and of all that they expand into."""
    for stage in stages:
        if not store.has(stage.kind, stage.key):
            return False
        if stage.expand is not None:
            try:
                following = stage.expand(stage.stored(store), lambda before: before.stored(store))
            except Exception:
                return False  # damaged: the run says so, and makes it again
            if not all_stored(following, store):
                return False
    return True


@attrs.frozen
class Job:
    """What a stage is made with: its inputs' results, and where its own goes."""

    stage: Stage[Any]
    folder: Path
    report: StageReporter
    run: Run

    @property
    def workspace(self) -> Path:
        """A folder that survives a kill and goes when the result is stored."""
        return self.run.store.workspace(self.stage.kind, self.stage.key)

    def __getitem__(self, role: str) -> Any:
        """The result of an input, or of each of them."""
        stage = self.stage.inputs[role]
        return self.run.value(stage) if isinstance(stage, Stage) else [self.run.value(each) for each in stage]


@attrs.define(eq=False)
class Run:
    """Walks through stages: what the store has is read, what it lacks is made.

    With several processes all walk alike: the first one holds the lock, makes and stores, and the others wait for it,
    help with collective stages, and read.

    Args:
        recipe: Whose stages they are, for messages.
        store: Where results lie.
        bus: Hears of what happens.
    """

    recipe: Recipe
    store: Store
    bus: Bus
    warnings: list[dict[str, str]] = attrs.field(factory=list)
    timings: list[dict[str, Any]] = attrs.field(factory=list)
    shared: dict[str, Any] = attrs.field(factory=dict)
    """What stages of one run leave for each other in memory; a stage that does not find it makes it again."""
    _paths: dict[str, Path] = attrs.field(factory=dict)
    _values: dict[str, Any] = attrs.field(factory=dict)

    def say(self, message: str) -> None:
        """Warn of what stood in the way of a file of the run folder: it is no matter of any stage's result."""
        self.bus.emit("warning", None, message, code="set-aside")

    def walk(self, stages: Sequence[Stage[Any]]) -> None:
        """Every stage after its inputs, else as listed; what a stage expands into comes right after it."""
        for stage in stages:
            self.path(stage)
            if stage.expand is not None:
                self.walk(stage.expand(self.value(stage), self.value))

    def value(self, stage: Stage[T]) -> T:
        """The result of a stage, read once."""
        if stage.key not in self._values:
            self._values[stage.key] = stage.read_from(self.path(stage))
        return cast(T, self._values[stage.key])

    def path(self, stage: Stage[Any]) -> Path:
        """The folder of a stage's result, made if the store does not have it. Its inputs come first."""
        if stage.key not in self._paths:
            for before in stage.before:
                self.path(before)
            self._paths[stage.key] = self._carry_out(stage) if processes.leads() else self._follow(stage)
        return self._paths[stage.key]

    def is_stored(self, stage: Stage[Any]) -> bool:
        """Whether the result is there already."""
        return stage.key in self._paths or self.store.has(stage.kind, stage.key)

    def _carry_out(self, stage: Stage[Any]) -> Path:
        report = StageReporter(self.bus, stage.name)
        started = time.perf_counter()

        def compute(folder: Path) -> None:
            self.bus.emit("stage-started", stage.name)
            self._make(stage, folder, report)
            write_json(folder / WARNINGS, {"warnings": report.warnings})

        with processes.telling():
            path, reused = self._guarded(stage, compute, report)
        seconds = round(time.perf_counter() - started, 3)
        self.bus.emit("stage-reused" if reused else "stage-finished", stage.name, seconds=seconds)
        self.timings.append({"stage": stage.name, "seconds": seconds, "reused": reused})
        kept = read_json(path / WARNINGS)["warnings"]
        self.warnings += [{**warning, "stage": stage.name} for warning in kept]
        return path

    def _make(self, stage: Stage[Any], folder: Path, report: StageReporter) -> None:
        """Make a result, with the other processes where the stage is collective."""
        job = Job(stage, folder, report, self)
        if stage.collective:
            processes.tell(MAKE)
            processes.together(partial(self._apart, stage, job))
        else:
            with processes.alone():
                self._apart(stage, job)

    def _apart(self, stage: Stage[Any], job: Job) -> None:
        """Make a result, and leave what all stages of the process share as it was, whatever its component does."""
        from lwa_core.plugins.lending.guard import own_process_state

        who = f"stage '{stage.name}'" if stage.use is None else stage.use.who
        with own_process_state(who, self.recipe.seed):
            stage.make(job)

    def _follow(self, stage: Stage[Any]) -> Path:
        """What the other processes do while the first one carries a stage out: help where it says so, then read."""
        report = StageReporter(self.bus, stage.name)
        try:
            while processes.hear() == MAKE:
                with tempfile.TemporaryDirectory(prefix="lwa-") as scratch, processes.failing_with_the_first():
                    processes.together(partial(self._apart, stage, Job(stage, Path(scratch), report, self)))
        except processes.LostProcessError as error:
            raise self._failure(stage, error) from error
        return self.store.path(stage.kind, stage.key)

    def _guarded(self, stage: Stage[Any], compute: Callable[[Path], None], report: StageReporter) -> tuple[Path, bool]:
        try:
            return self.store.get_or_make(
                stage.kind,
                stage.key,
                compute,
                facts={"stage": stage.name},
                on_damage=report.note,
                on_wait=lambda holder: report.note(f"waiting for {holder}, which is making the same result"),
            )
        except (KeyboardInterrupt, StageError, StoreError):  # of a stage asked for, too: said once
            raise
        except BaseException as error:  # `sys.exit` of a component does not end the run as if all were done
            raise self._failure(stage, error) from error

    def _failure(self, stage: Stage[Any], error: BaseException) -> StageError:
        """Which stage, which line of the recipe, whose component, and how to go on."""
        where = self.recipe.place(stage.use)
        who = "" if stage.use is None else f"{stage.use.kind} '{stage.use.component}' of {stage.use.offer.provider}: "
        what, hint = cause_of(error)
        ours = stage.use is None or stage.use.offer.provider.distribution == OURS
        lost = isinstance(error, processes.LostProcessError)  # no fault of whose turn it was
        if isinstance(error, LwaError) and (ours or lost or str(stage.use.offer.provider) in what):  # type: ignore[union-attr]
            who = ""
        if getattr(error, IN_THE_CORE, False):
            who = ""
        rest = f"{len(self._paths)} stages before it are stored; the same command goes on from there"
        failure = StageError(f"stage '{stage.name}'{where} failed: {who}{what}", f"{hint}; {rest}" if hint else rest)
        if isinstance(error, LwaError):
            failure.exit_code = error.exit_code
        return failure


@contextmanager
def core_part() -> Iterator[None]:
    """What breaks in here is the core's own, in a stage that runs a component: the component is not blamed for it."""
    try:
        yield
    except LwaError:  # in words, which may well be about what the component gave
        raise
    except Exception as error:
        setattr(error, IN_THE_CORE, True)
        raise


def cause_of(error: BaseException) -> tuple[str, str | None]:
    """What went wrong, in words, and what to do."""
    import torch

    if isinstance(error, torch.OutOfMemoryError):
        return "the GPU has too little memory", "lower a batch size"
    if isinstance(error, LwaError):
        return error.message, error.hint
    return error_text(error), "LWA_TRACEBACK=1 shows where"
