"""Training windows that a compressor looks at without training."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from lwa_core import CompressionJob, ModelError

if TYPE_CHECKING:
    from lwa_core import Batch, History


def drawn(job: CompressionJob, count: int, who: str) -> list[History]:
    """At most `count` of the training windows, by the seed. Raises ModelError where there are fewer than two."""
    windows = job.windows
    if len(windows) < 2:
        raise ModelError(f"`{who}` needs two training windows at the least, one of them to be held out")
    rows = np.random.default_rng(job.seed).permutation(len(windows))[:count]
    return [windows[row] for row in rows]


def batches(job: CompressionJob, windows: Sequence[History], size: int) -> Iterator[Batch]:
    """The windows with their labels, some at a time, on the student's device."""
    device = next(job.student.model.parameters()).device
    for start in range(0, len(windows), size):
        batch = job.subject.training_batch(windows[start : start + size])
        yield {name: value.to(device) for name, value in batch.items()}
