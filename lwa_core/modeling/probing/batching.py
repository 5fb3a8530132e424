"""Which examples may share a micro-batch: seen by asking some alone and together.

Some families let padding leak into the answers (Fourier transforms and convolutions over time, landmarks made of all
positions), others let the examples of a batch influence each other. Neither is said anywhere, and both give figures
that look right and change with the size of the batch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from enum import Enum
from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray

from lwa_core.errors import ModelError

Rows: TypeAlias = NDArray[np.int64]
Ask: TypeAlias = Callable[[Rows], torch.Tensor]

TOLERANCE = 1e-4
"""Share of the largest answer by which rounding may move answers of float32."""


class Batching(Enum):
    """Which examples a micro-batch may hold; the value says why not any."""

    ANY = ""
    EQUAL_LENGTHS = "padding changes its answers, so a micro-batch holds examples of one length"
    ALONE = "examples of a micro-batch change each other's answers, so each is asked alone"


def batching_of(ask: Ask, lengths: Sequence[int], name: str, precision: torch.dtype) -> Batching:
    """Which examples may be asked together.

    The shortest, the middle and the longest example are asked alone and together; where that is not the same, two of
    equal length are.

    Args:
        ask: Answers of some examples (rows, ...), asked in one micro-batch.
        lengths: Of every example (examples,).
        name: Of the model, for messages.
        precision: Of its states.

    Raises:
        ModelError: It gives another answer each time.
    """
    order = np.argsort(lengths, kind="stable")
    some = order[sorted({0, len(order) // 2, len(order) - 1})]
    alone = {int(row): _asked(ask, [row]) for row in some}
    longest = int(some[-1])
    if not alike(alone[longest], _asked(ask, [longest]), precision):
        said = f"{name} answers the same question differently each time"
        raise ModelError(said, "a model that draws random numbers, or remembers, cannot be scored or measured")
    if len(some) == 1 or _agree(ask, alone, some, precision):
        return Batching.ANY
    known = np.asarray(lengths)[order]
    twins = np.flatnonzero(known[1:] == known[:-1])
    if not len(twins):
        return Batching.EQUAL_LENGTHS
    pair = order[twins[-1] : twins[-1] + 2]
    equal = _agree(ask, {int(row): _asked(ask, [row]) for row in pair}, pair, precision)
    return Batching.EQUAL_LENGTHS if equal else Batching.ALONE


def chunked(order: Rows, lengths: Sequence[int], size: int, batching: Batching) -> Iterator[Rows]:
    """Rows in their order, at most `size` of them at once, and only such as may be asked together."""
    if batching is Batching.ALONE:
        size = 1
    runs = [order]
    if batching is Batching.EQUAL_LENGTHS:
        known = np.asarray(lengths)[order]
        runs = np.split(order, np.flatnonzero(known[1:] != known[:-1]) + 1)
    for run in runs:
        for start in range(0, len(run), size):
            yield run[start : start + size]


def alike(one: torch.Tensor, other: torch.Tensor, precision: torch.dtype) -> bool:
    """Whether answers are the same but for rounding; one that is not finite is like itself alone."""
    if one.shape != other.shape:
        return False
    largest = float(one.nan_to_num(0.0, 0.0, 0.0).abs().max()) if one.numel() else 0.0
    most = max(TOLERANCE, 4 * torch.finfo(precision).eps) * largest
    return torch.allclose(one.double(), other.double(), rtol=0.0, atol=most, equal_nan=True)


def _agree(ask: Ask, alone: dict[int, torch.Tensor], rows: Rows, precision: torch.dtype) -> bool:
    together = _asked(ask, rows)
    pairs = ((alone[int(row)], together[place : place + 1]) for place, row in enumerate(rows))
    return all(alike(one, other, precision) for one, other in pairs)


def _asked(ask: Ask, rows: Sequence[int] | Rows) -> torch.Tensor:
    with torch.no_grad():
        return ask(np.asarray(rows, dtype=np.int64)).detach()
