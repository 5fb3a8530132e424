"""Whatever answers requests, as it is timed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from lwa_core.measuring.performance import Timed
from lwa_core.recommendation.answering import Answering
from lwa_core.runtime.served import Served


def timed_bundle(served: Served) -> Timed:
    """Answers many requests, and the session with the product by the item table alone."""
    return timed(served, lambda sent: partial(served.scores, served.histories_of(sent)))


def timed(answering: Answering, network: Callable[[Sequence[Mapping[str, Any]]], Callable[[], object]]) -> Timed:
    """What answers many requests, as they are sent; `network` makes them ready, and gives what it alone then does."""

    def answer(sent: Sequence[Mapping[str, Any]]) -> object:
        times = [each["times"] for each in sent] if answering.uses_times else None
        return answering.recommend_many([each["history"] for each in sent], 10, times, time_unit="ms")

    return Timed(answer, network)
