"""From the times of single requests to figures, and to what speaks against believing them.

The models take turns, request by request, so that what slows the machine down for a while slows all of them. A ratio is
taken block by block of consecutive requests, and its interval is over the blocks: it holds what came and went between
them, which an interval over the requests would not.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from typing import TypeAlias

import attrs
import numpy as np
from numpy.typing import NDArray

Milliseconds: TypeAlias = NDArray[np.float64]

BLOCKS = 20
FEWEST_BLOCKS = 5
"""Of fewer there is no interval."""

FEWEST_REQUESTS = 20
LEAST_SHARE = 0.8
MOST_LOAD = 1.25
"""Of the machine's load a processor; above it others are waiting."""

MOST_DRIFT = 1.5
MOST_NOISE = 5
"""Standard errors within which levels are of one machine."""

ALIKE = 1.05
"""Two models of one architecture may differ by as much: by where their weights lie in memory."""


@attrs.frozen(eq=False)
class Times:
    """What the requests took one model, in the order in which they were asked, in milliseconds (requests,).

    Args:
        wall: Each whole answer, from what is sent to what comes back.
        cpu: The processor's time of all threads of the process during it.
        network: The network alone, on the same request made ready.
    """

    wall: Milliseconds
    cpu: Milliseconds
    network: Milliseconds


def block_medians(times: Milliseconds) -> Milliseconds:
    """The median of each of at most `BLOCKS` blocks of consecutive requests."""
    parts = np.array_split(times, min(BLOCKS, len(times)))
    return np.array([np.median(part) for part in parts])


def over_blocks(values: NDArray[np.float64]) -> tuple[float, float | None, float | None]:
    """The mean of one value a block with its 95 % Student-t interval; no interval of fewer than `FEWEST_BLOCKS`."""
    from scipy.special import stdtrit

    mean, count = float(values.mean()), len(values)
    if count < FEWEST_BLOCKS:
        return mean, None, None
    half = float(stdtrit(count - 1, 0.975) * values.std(ddof=1) / np.sqrt(count))
    return mean, mean - half, mean + half


Ratio: TypeAlias = "tuple[float, float | None, float | None]"
"""A ratio with its interval, which may be lacking."""


def log_ratios(own: Milliseconds, first: Milliseconds) -> NDArray[np.float64]:
    """Of each block the logarithm of the ratio of its medians."""
    tiny = np.finfo(np.float64).tiny  # a clock may be too coarse to see a request at all
    return np.log(np.maximum(block_medians(own), tiny) / np.maximum(block_medians(first), tiny))


def ratio(own: Sequence[Milliseconds], first: Milliseconds) -> Ratio:
    """How many times as long as `first` one architecture takes: the geometric mean over blocks and its models.

    Args:
        own: The times of every model of this architecture: they are of one ratio, which the interval holds for all.
        first: The times of the model that it is compared with, for the same requests.
    """
    each = np.stack([log_ratios(times, first) for times in own])  # (models, blocks)
    mean, low, high = over_blocks(each.mean(axis=0))
    if low is None or high is None:
        return float(np.exp(mean)), None, None
    means = each.mean(axis=1)
    return float(np.exp(mean)), float(np.exp(min(low, means.min()))), float(np.exp(max(high, means.max())))


def difference(own: Milliseconds, other: Milliseconds) -> Ratio:
    """How much longer one takes than the other for the same requests, in milliseconds."""
    return over_blocks(block_medians(own - other))


def twins(architectures: Mapping[str, str]) -> dict[str, tuple[str, ...]]:
    """By model the others of the same architecture; where that is not known there are none."""
    return {
        name: tuple(other for other, its in architectures.items() if its and its == own and other != name)
        for name, own in architectures.items()
    }


def cpu_share(times: Mapping[str, Times]) -> float:
    """Processor time over wall time of all requests: 1 where one thread never waited."""
    wall = sum(float(each.wall.sum()) for each in times.values())
    return sum(float(each.cpu.sum()) for each in times.values()) / wall if wall else 1.0


def doubts(
    times: Mapping[str, Times],
    architectures: Mapping[str, str],
    *,
    load: Sequence[float | None],
    processors: int,
    on_cpu: bool,
) -> list[str]:
    """What speaks against believing the times, in words; empty where nothing does.

    Args:
        times: By model; the first is what the others are compared with.
        architectures: By model what two models of equal layers, sizes and number types share.
        load: Of the machine over the last minute, before and after; None where the system does not tell.
        processors: That this process may use.
        on_cpu: Whether the models run on the processor, so that its time is theirs.
    """
    return [
        *_few(times),
        *(_waiting(times) if on_cpu else ()),
        *_loaded(load, processors),
        *_drifting(times),
        *_unlike(times, architectures),
    ]


def _few(times: Mapping[str, Times]) -> Iterator[str]:
    count = min(len(each.wall) for each in times.values())
    if count < FEWEST_REQUESTS:
        yield f"only {count} request{'s were' if count > 1 else ' was'} timed a model"


def _waiting(times: Mapping[str, Times]) -> Iterator[str]:
    share = cpu_share(times)
    if share < LEAST_SHARE:
        yield f"the process had a processor for only {100 * share:.0f} % of the time that its answers took"


def _loaded(load: Sequence[float | None], processors: int) -> Iterator[str]:
    known = [value for value in load if value is not None]
    if known and max(known) > MOST_LOAD * processors:
        yield (f"the load of the machine was {max(known):.1f} on {processors} processor{'s' if processors > 1 else ''}")


def _drifting(times: Mapping[str, Times]) -> Iterator[str]:
    name, first = next(iter(times.items()))
    if len(first.wall) < FEWEST_REQUESTS:
        return
    parts = np.array_split(first.wall, 4)
    levels = np.array([np.log(part).mean() for part in parts])
    # Requests differ too: of few long ones a quarter of the requests may hold more than another.
    noise = float(np.sqrt(np.mean([np.log(part).var(ddof=1) / len(part) for part in parts])))
    if np.ptp(levels) > max(np.log(MOST_DRIFT), MOST_NOISE * noise):
        low, high = np.exp(levels.min()), np.exp(levels.max())
        yield f"a request of {name} took {low:.3g} ms in one quarter of the rounds and {high:.3g} ms in another"


def _unlike(times: Mapping[str, Times], architectures: Mapping[str, str]) -> Iterator[str]:
    """Models of one architecture whose ratio is shown to be another than 1."""
    for one, other in combinations(times, 2):
        if not architectures.get(one) or architectures.get(one) != architectures.get(other):
            continue
        mean, low, high = ratio([times[one].wall], times[other].wall)
        if low is not None and high is not None and (low > ALIKE or high < 1 / ALIKE):
            yield (
                f"{one} and {other} are of one architecture, and yet the first took {mean:.2f} ({low:.2f} to "
                f"{high:.2f}) times as long"
            )
