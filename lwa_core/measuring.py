"""Measure time and memory of a run's models, as they answer requests."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lwa_core.data import PreparedData, TimedHistory
from lwa_core.errors import ModelError
from lwa_core.evaluation.performance import measure_latency, measure_memory
from lwa_core.evaluation.ranking import top_items
from lwa_core.protocols import History, Reporter
from lwa_core.ranker import Ranker, load_ranker
from lwa_core.recipe import Recipe


def measure_models(folders: Mapping[str, Path], recipe: Recipe, data: PreparedData, report: Reporter) -> dict[str, Any]:
    """Latency, throughput and memory of every model, on histories of test users.

    A request is everything from item indices to the ten best items, seen items filtered as the recipe says.
    """
    asked = recipe.evaluate
    rows = np.random.default_rng(recipe.seed).permutation(len(data.test))[: max(asked.requests, asked.batch)]
    histories = data.histories(data.test.take(rows))
    latency = None
    if asked.requests:
        answer = {name: _answer(load_ranker(path, recipe.registry)) for name, path in folders.items()}
        single = {name: _single(many) for name, many in answer.items()}
        latency = measure_latency(single, answer, histories, requests=asked.requests, batch=asked.batch, report=report)
    memory = {}
    if asked.memory:
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "requests.json"
            file.write_text(json.dumps([_request(history, data) for history in histories[:20]]), "utf-8")
            for done, (name, path) in enumerate(folders.items()):
                report.progress(done, len(folders), f"memory of {name}")
                try:
                    memory[name] = measure_memory(path, file)
                except ModelError as error:  # a recommender from a local file is unknown to a fresh process
                    report.warn("memory-not-measured", f"memory of {name} was not measured: {error.message}")
    return {"latency": latency, "memory": memory}


def _request(history: History, data: PreparedData) -> dict[str, Any]:
    """The arguments of `Ranker.recommend`."""
    asked: dict[str, Any] = {"history": [data.catalogue.ids[item] for item in history]}
    if isinstance(history, TimedHistory) and history.times is not None:
        asked["times"] = history.times.tolist()
    return asked


def _answer(ranker: Ranker) -> Callable[[Sequence[History]], object]:
    def answer(histories: Sequence[History]) -> object:
        return top_items(ranker.scores(histories), histories if ranker.filter_seen else None, 10)

    return answer


def _single(many: Callable[[Sequence[History]], object]) -> Callable[[History], object]:
    return lambda history: many([history])
