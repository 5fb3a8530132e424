"""Several processes of one run, as torchrun starts them: who comes first, and what they tell each other.

With one process nothing here does anything. Between processes only JSON and gradients travel. The group is torch's, but
not its default one: libraries are not to know of it, as transformers would then save in the first process alone, and
accelerate would wrap models.

Whatever they do together inside `together` begins with all of them saying whether they are well (`agree`), so that a
failure of one ends all at the same place, and nobody waits for somebody who does not come.

Imports torch only where there are several: a run whose results are all stored needs none.
"""

from __future__ import annotations

import json
import os
import signal
import threading
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar

import attrs

from lwa_core.errors import LwaError, StageError
from lwa_core.training.parent import end_with

if TYPE_CHECKING:
    import torch

T = TypeVar("T")

LONGEST = timedelta(hours=72)
"""The others wait so long at most while the first process does something alone."""

BUCKET = 2**23
"""Numbers of gradients that are summed up at once: 32 MB in float32."""

KNOWN_BY = ("WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")
"""Variables by which accelerate would see several processes, and wrap models and split batches in its own way."""


@attrs.define
class _Crowd:
    rank: int
    world: int = 1
    joined: bool = False
    lost: bool = False
    talk: Any = None  # the group of all, for small tensors on the CPU
    sum: Any = None  # and the one for what lies where models are


_crowd = _Crowd(int(os.environ.get("RANK", "0")))


class LostProcessError(LwaError):
    """Another process of the run is gone."""

    exit_code = StageError.exit_code
    code = StageError.code

    def __init__(self) -> None:
        super().__init__("another process of this run ended, killed or out of memory", "torchrun says which one, below")


class ElsewhereError(LwaError):
    """It was another process that failed."""


class RelayedError(StageError):
    """The first process failed, and has said so."""

    def __init__(self, told: dict[str, Any]) -> None:
        super().__init__(told["message"], told["hint"])
        self.exit_code = told["exit_code"]


def is_first() -> bool:
    """Whether this is the process that stores, tells and writes."""
    return _crowd.rank == 0


def leads() -> bool:
    """Whether this process carries stages out: the first one does, and any that is by itself."""
    return is_first() or world() == 1


def is_said(error: Exception) -> bool:
    """Whether the first process says this itself: what is wrong before they join is wrong for all of them."""
    return not is_first() and isinstance(error, LwaError) and (isinstance(error, RelayedError) or not _crowd.joined)


def world() -> int:
    """How many processes work together now."""
    return _crowd.world


def rank() -> int:
    """Which of them this is, from 0."""
    return _crowd.rank


def own_gpu() -> int | None:
    """The GPU of this machine that torchrun meant for this process; None without torchrun."""
    own = os.environ.get("LOCAL_RANK")
    return None if own is None else int(own)


@contextmanager
def joined() -> Iterator[None]:
    """Inside, the processes that torchrun started work together; without torchrun there is one.

    Where models are on GPUs gradients travel by NCCL, and all else by gloo.
    """
    if world() > 1 or int(os.environ.get("WORLD_SIZE", "1")) < 2 or "RANK" not in os.environ:
        yield
        return
    from torch import distributed
    from torch.distributed.distributed_c10d import PrefixStore
    from torch.distributed.rendezvous import rendezvous

    from lwa_core.modeling.devices import device

    if "TORCHELASTIC_RUN_ID" in os.environ:  # else whoever started it may well be gone, as a shell is
        end_with(os.getppid())
    with _reached():
        store, rank, count = next(iter(rendezvous("env://", timeout=LONGEST)))
        _crowd.rank, _crowd.world, _crowd.joined = rank, count, True
        talk = distributed.ProcessGroupGloo(PrefixStore("lwa-talk", store), rank, count, LONGEST)
        _crowd.talk = _crowd.sum = talk
        if device().type == "cuda":
            options = distributed.ProcessGroupNCCL.Options()
            options._timeout = LONGEST
            _crowd.sum = distributed.ProcessGroupNCCL(PrefixStore("lwa-sum", store), rank, count, options)
    hidden = {name: os.environ.pop(name) for name in KNOWN_BY if name in os.environ}
    in_main = threading.current_thread() is threading.main_thread()
    before = signal.signal(signal.SIGTERM, _told_to_end) if in_main else None
    try:
        yield
        agree()
    except BaseException:
        _crowd.lost = True
        raise
    finally:
        os.environ.update(hidden)
        _crowd.world, _crowd.talk, _crowd.sum = 1, None, None
        if in_main and not _crowd.lost:  # else it ends by itself, and torchrun's signal must not cut off what it says
            signal.signal(signal.SIGTERM, before)


def together(work: Callable[[], None]) -> None:
    """Do what every process does at once. Where it fails on one, it fails on all.

    Raises:
        LwaError: What went wrong elsewhere. What goes wrong here is raised as it is.
    """
    if world() == 1:
        work()
        return
    own: Exception | None = None
    try:
        work()
        agree()
    except LostProcessError:
        raise
    except ElsewhereError:
        pass
    except Exception as error:
        own = error
        _say_failed()
    failures = [_broadcast(_told(own), source) for source in range(world())]
    if own is not None:
        raise own
    for number, told in enumerate(failures):
        if told is not None:
            failure = LwaError(f"process {number}: {told['message']}", told["hint"])
            failure.exit_code = told["exit_code"]
            raise failure


def agree(*figures: float) -> list[float]:
    """The sums of the processes' figures, two at most, once all of them say that they are well.

    Raises:
        ElsewhereError: One of them is not.
        LostProcessError: One of them is gone.
    """
    return _agree(0.0, *figures)[: len(figures)]


def wait() -> None:
    """Until all are here."""
    if world() > 1:
        agree()


def from_first(make: Callable[[], T]) -> T:
    """What the first process makes, JSON-ready, for all."""
    if world() == 1:
        return make()
    made = make() if is_first() else None
    agree()
    value: T = _broadcast(made)
    return value


def tell(value: Any) -> None:
    """From the first process to those that `hear`. JSON-ready."""
    if world() > 1 and not _crowd.lost:
        _broadcast({"value": value})


@contextmanager
def telling() -> Iterator[None]:
    """Tell the others how it went: they hear None, or fail with the same exit code."""
    try:
        yield
    except LwaError as error:
        if world() > 1 and not _crowd.lost:
            _broadcast(_told(error))
            _crowd.lost = True
        raise
    tell(None)


def hear() -> Any:
    """What the first process tells. Raises RelayedError where it failed."""
    told = _broadcast(None)
    if "value" in told:
        return told["value"]
    _crowd.lost = True
    raise RelayedError(told)


@contextmanager
def failing_with_the_first() -> Iterator[None]:
    """Inside, a failure is not this process's to tell: the first one has heard of it, and tells everybody."""
    try:
        yield
    except LostProcessError:
        raise
    except Exception as error:
        if os.environ.get("LWA_TRACEBACK"):
            traceback.print_exception(error)


@contextmanager
def alone() -> Iterator[None]:
    """Inside, this process works by itself; the others wait."""
    before, _crowd.world = _crowd.world, 1
    try:
        yield
    finally:
        _crowd.world = before


def start_alike(parameters: Iterable[torch.nn.Parameter]) -> None:
    """Give every process the first one's weights."""
    if world() == 1:
        return
    agree()
    for parameter in parameters:
        with _reached():
            whole = parameter.data.contiguous()
            _crowd.sum.broadcast(whole, 0).wait()
            parameter.data.copy_(whole)


def sum_gradients(parameters: Sequence[torch.nn.Parameter], scale: float) -> None:
    """Put `scale` times the sum of all processes' gradients into each. One that has none anywhere gets none."""
    import torch

    there = torch.tensor([parameter.grad is not None for parameter in parameters], dtype=torch.float32)
    with _reached():
        _crowd.talk.allreduce(there).wait()
    for bucket in _buckets([each for each, count in zip(parameters, there.tolist(), strict=True) if count]):
        flat = torch.cat([(torch.zeros_like(p) if p.grad is None else p.grad).flatten() for p in bucket])
        with _reached():
            _crowd.sum.allreduce(flat).wait()
        flat *= scale
        for parameter, part in zip(bucket, flat.split([p.numel() for p in bucket]), strict=True):
            parameter.grad = part.view_as(parameter)


def _buckets(parameters: Sequence[torch.nn.Parameter]) -> Iterator[list[torch.nn.Parameter]]:
    bucket: list[torch.nn.Parameter] = []
    for parameter in parameters:
        if bucket and (sum(p.numel() for p in bucket) > BUCKET or parameter.dtype != bucket[0].dtype):
            yield bucket
            bucket = []
        bucket.append(parameter)
    if bucket:
        yield bucket


def _agree(failed: float, *figures: float) -> list[float]:
    import torch

    said = torch.zeros(3, dtype=torch.double)  # the same size always: what a process waits for may be a failure
    said[: 1 + len(figures)] = torch.tensor([failed, *figures], dtype=torch.double)
    with _reached():
        _crowd.talk.allreduce(said).wait()
    if said[0] and not failed:
        raise ElsewhereError("another process failed")
    return list(said[1:].tolist())


def _say_failed() -> None:
    _agree(1.0)


def _told(error: Exception | None) -> dict[str, Any] | None:
    if error is None:
        return None
    if isinstance(error, LwaError):
        return {"message": error.message, "hint": error.hint, "exit_code": error.exit_code}
    return {"message": f"{type(error).__name__}: {error}", "hint": None, "exit_code": StageError.exit_code}


def _broadcast(value: Any, source: int = 0) -> Any:
    """A JSON-ready value of one process for all: first its length, then its bytes."""
    import torch

    mine = _crowd.rank == source
    text = bytearray(json.dumps(value).encode()) if mine else bytearray()
    length = torch.tensor([len(text)])
    with _reached():
        _crowd.talk.broadcast(length, source).wait()
        content = torch.frombuffer(text, dtype=torch.uint8) if mine else torch.zeros(int(length), dtype=torch.uint8)
        _crowd.talk.broadcast(content, source).wait()
    return json.loads(bytes(content.tolist()))


@contextmanager
def _reached() -> Iterator[None]:
    """Inside, torch raises a RuntimeError of some kind only where another process cannot be reached any more."""
    try:
        yield
    except RuntimeError as error:
        _crowd.lost = True
        raise LostProcessError from error


def _told_to_end(*_: Any) -> None:
    """Torchrun ends all processes once one of them is gone; what knows why it ends goes on to say so."""
    if not _crowd.lost:
        _crowd.lost = True
        raise LostProcessError
