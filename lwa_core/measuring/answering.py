"""Run in a fresh process: open a bundle or load a model, answer requests, and say what that took.

python -m lwa_core.measuring.answering FOLDER REQUESTS.json COUNT THREADS [PARENT]

Prints a line once the first request is answered, from which the one who started it knows the cold start, and a line of
JSON at the end. A bundle is opened without torch.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from lwa_core.errors import LwaError
from lwa_core.measuring.process_memory import peak, reset_peak, resident
from lwa_core.runtime.description import DESCRIPTION
from lwa_core.training.parent import end_with

ANSWERED = "answered"
K = 10

Answer = Callable[[Mapping[str, Any]], object]


def answering(folder: Path, threads: int) -> Answer:
    """What answers one request, the arguments of `recommend`."""
    model: Any
    if (folder / DESCRIPTION).is_file():
        from lwa_core.runtime.served import open_bundle

        model = open_bundle(folder, threads=threads)
    else:
        import torch

        from lwa_core.recommendation.loading import load_ranker

        torch.set_num_threads(threads)
        model = load_ranker(folder)
    return lambda request: model.recommend(**request, k=K)


def measure(folder: Path, requests: Sequence[Mapping[str, Any]], count: int, threads: int) -> dict[str, Any]:
    """Answer so many requests, from the beginning again where there are fewer.

    Returns:
        `before`: resident bytes before the model is there, its libraries imported; `peak`: the highest from then on,
        `peak_of_process`: the highest at all; None where the system does not tell. `times`: milliseconds of each
        request but the first.
    """
    _import_libraries(folder)
    before, highest = resident("VmRSS"), peak()
    reset_peak()
    answer = answering(folder, threads)
    answer(requests[0])
    print(ANSWERED, flush=True)
    times = []
    for place in range(1, count):
        begin = time.perf_counter_ns()
        answer(requests[place % len(requests)])
        times.append((time.perf_counter_ns() - begin) / 1e6)
    return {"before": before, "peak": peak(), "peak_of_process": max(peak(), highest), "times": times}


def _import_libraries(folder: Path) -> None:
    """What the model needs in any case, so that it is not counted as its share."""
    if (folder / DESCRIPTION).is_file():
        import numpy  # noqa: F401
        import onnxruntime  # noqa: F401

        import lwa_core.runtime.served  # noqa: F401


def use_processors(count: int) -> None:
    """Let this process run on so many processors and no more, where the system can do that."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[-count:])


def main(arguments: list[str]) -> None:
    """See the top of the module. The process ends when the one whose id the last argument is ends."""
    folder, requests, count, threads, *parent = arguments
    if parent:
        end_with(int(parent[0]))
    use_processors(int(threads))
    asked = json.loads(Path(requests).read_text("utf-8"))
    try:
        print(json.dumps(measure(Path(folder), asked, int(count), int(threads))))
    except LwaError as error:
        print(" ".join(error.message.split()), file=sys.stderr)
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main(sys.argv[1:])
