"""A bundle as it is timed beside models."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from lwa_core.data.moments import AUTO
from lwa_core.measuring.performance import Timed
from lwa_core.recommendation.requests import read_history
from lwa_core.runtime.served import Served


def timed_bundle(served: Served) -> Timed:
    """Answers many requests, and the session with the product by the item table alone."""

    def answer(sent: Sequence[Mapping[str, Any]]) -> object:
        times = [each["times"] for each in sent] if served.uses_times else None
        return served.recommend_many([each["history"] for each in sent], 10, times, time_unit="ms")

    def network(sent: Sequence[Mapping[str, Any]]) -> Callable[[], object]:
        histories = [
            read_history(
                each["history"],
                served.index,
                each.get("times") if served.uses_times else None,
                each.get("time_unit") or AUTO,
            )[0]
            for each in sent
        ]
        return partial(served.scores, histories)

    return Timed(answer, network)
