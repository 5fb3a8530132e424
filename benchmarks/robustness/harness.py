"""Give a program many strange inputs, and keep each one that it answers with anything but words of its own.

An input is made from a seed and a number alone, so that a failure can be had again. What counts as a failure: an
exception that is no `LwaError`; an error without a word or with a traceback in it; an input that takes longer than the
limit; memory that grows by more than the limit.
"""

import argparse
import contextlib
import math
import platform
import random
import resource
import signal
import sys
import tempfile
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import attrs

from lwa_core import LwaError

MEMORY = Path("/dev/shm")
"""Where Linux keeps files in memory: inputs are written there."""


class TooLongError(BaseException):
    """The time limit of one input: no `except Exception` of the program may catch it."""


@attrs.frozen
class Limits:
    """For one input, and `end` (of the monotonic clock) for all."""

    seconds: float = 20.0
    megabytes: float = 1500.0
    end: float = math.inf


@attrs.frozen
class Fuzz:
    """A kind of input and what is done with it.

    Args:
        make: A random generator -> an input (bytes or text) with how many units it counts for.
        attempt: Does with an input and a folder of its own what the program does; raises what the program raises.
        unit: What is counted.
        open: Called once in each process.
    """

    make: object
    attempt: object
    unit: str
    open: object = None


@contextlib.contextmanager
def time_limit(seconds):
    def stop(*_):
        raise TooLongError(f"more than {seconds} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def highest_memory():
    """Highest resident memory of this process so far, in megabytes."""
    kilobytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return kilobytes / 1024 / (1024 if sys.platform == "darwin" else 1)


def outcome(fuzz, made, folder, limits):
    """`(name, None)` of an answer in the program's own words, `(name, why)` of a failure."""
    before = highest_memory()
    try:
        with time_limit(limits.seconds):
            name = fuzz.attempt(made, folder) or "accepted"
    except LwaError as error:
        name = getattr(error, "code", type(error).__name__)
        words = str(error)
        if not error.message.strip() or "Traceback (most recent" in words or "Panic" in words:
            return name, f"no words of its own: {words[:200]!r}"
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        place = error.__traceback__
        while place.tb_next is not None:
            place = place.tb_next
        where = f"{Path(place.tb_frame.f_code.co_filename).name}:{place.tb_lineno}"
        return "failure", f"{type(error).__name__} at {where}: {' '.join(str(error).split())[:200]}"
    if highest_memory() - before > limits.megabytes:
        return "failure", f"memory grew by {highest_memory() - before:.0f} MB"
    return name, None


def smaller(fuzz, made, folder, limits, seconds=20.0):
    """The input with all that can be left out left out, so that it still fails in the same place."""

    def sort(candidate):
        why = outcome(fuzz, candidate, folder, limits)[1]
        return None if why is None else why.split(":")[0] + why.partition(" at ")[2].partition(":")[0]

    wanted, end = sort(made), time.monotonic() + seconds
    step = len(made) // 2
    while step and time.monotonic() < end:
        place = 0
        while place < len(made) and time.monotonic() < end:
            candidate = made[:place] + made[place + step :]
            if candidate and sort(candidate) == wanted:
                made = candidate
            else:
                place += step
        step //= 2
    return made


def worker(module, start, count, seed, step, failures, limits):
    """Inputs `start`, `start + step`, ... until `count` units were tried."""
    fuzz = __import__(module).FUZZ
    if fuzz.open is not None:
        fuzz.open()
    Path(failures).mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None) as folder:
        return _tried(fuzz, module, start, count, seed, step, Path(failures), limits, Path(folder))


def _tried(fuzz, module, start, count, seed, step, failures, limits, folder):
    outcomes, reasons, units, number = Counter(), Counter(), 0, start
    said = time.monotonic()
    slowest = 0.0
    while units < count and time.monotonic() < limits.end:
        made, size = fuzz.make(random.Random(f"{seed}:{number}"))
        begin = time.monotonic()
        name, why = outcome(fuzz, made, folder, limits)
        slowest = max(slowest, time.monotonic() - begin)
        outcomes[name] += 1
        if why is not None:
            reasons[why.partition(": ")[0]] += 1
            if reasons[why.partition(": ")[0]] <= 3:
                least = smaller(fuzz, made, folder, limits)
                stem = failures / f"{module}-{seed}-{number}"
                stem.with_suffix(".input").write_bytes(
                    least if isinstance(least, bytes) else repr(least).encode("utf-8", "backslashreplace")
                )
                stem.with_suffix(".txt").write_text(why + "\n", "utf-8", "backslashreplace")
                print(f"input {number}: {why}", file=sys.stderr, flush=True)
        units += size
        number += step
        if time.monotonic() - said > 60:
            said = time.monotonic()
            print(f"{units} {fuzz.unit}, {sum(reasons.values())} failures", file=sys.stderr, flush=True)
    return outcomes, reasons, units, slowest, highest_memory()


def main(module, doc, count):
    """The command line of one kind of input: prints what came out, and exits with 1 where something failed."""
    parser = argparse.ArgumentParser(description=doc)
    fuzz = __import__(module).FUZZ
    parser.add_argument("--count", type=int, default=count, help=f"how many {fuzz.unit}")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=Limits().seconds, help="limit for one input")
    parser.add_argument("--minutes", type=float, default=math.inf, help="stop after so long, whatever the count")
    parser.add_argument("--failures", default="failures", help="folder for inputs that fail, made as small as can be")
    parser.add_argument("--save", action="store_true", help="add the figures to results/")
    asked = parser.parse_args()
    begin = time.monotonic()
    limits = Limits(seconds=asked.seconds, end=begin + 60 * asked.minutes)
    share = -(-asked.count // asked.workers)
    jobs = [(module, start, share, asked.seed, asked.workers, asked.failures, limits) for start in range(asked.workers)]
    if asked.workers == 1:
        parts = [worker(*jobs[0])]
    else:
        with ProcessPoolExecutor(asked.workers, mp_context=get_context("spawn")) as pool:
            parts = [future.result() for future in [pool.submit(worker, *job) for job in jobs]]
    outcomes = sum((part[0] for part in parts), Counter())
    reasons = sum((part[1] for part in parts), Counter())
    lines = [
        f"command: python benchmarks/robustness/{module}.py {' '.join(sys.argv[1:])}".rstrip(),
        f"python {platform.python_version()}, {asked.workers} worker(s), {time.monotonic() - begin:.0f} s",
        f"{fuzz.unit}: {sum(part[2] for part in parts):,} in {sum(outcomes.values()):,} inputs",
        f"slowest input: {max(part[3] for part in parts):.2f} s",
        f"highest memory: {max(part[4] for part in parts):.0f} MB",
        *(f"  {name:<28} {number:>10,}" for name, number in outcomes.most_common()),
        f"failures: {sum(reasons.values())}",
        *(f"  {why}: {number}" for why, number in reasons.most_common()),
    ]
    print("\n".join(lines))
    if asked.save:
        file = Path(__file__).parent / "results" / f"{time.strftime('%Y-%m-%d')}-{module}.txt"
        file.write_text("\n".join(lines) + "\n", "utf-8")
    sys.exit(1 if reasons else 0)
